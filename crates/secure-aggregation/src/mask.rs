//! Masks: ChaCha20 keystreams (RFC 8439) added to a vector or taken from it,
//! at the speed of the cipher.
//!
//! A word takes the fewest whole bytes of keystream that cover its bits (1, 2
//! or 4), little-endian. Sums run modulo 2^32 and are cut to the word's bits at
//! the end, which 2^bits divides. So a mask is the same on every platform and
//! however the work is divided.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread;

use fedra_keystream::Keystream;
use zeroize::Zeroizing;

use crate::keys::Secret;

/// Words masked at a time: with their keystream they stay in the first cache.
pub(crate) const BLOCK_WORDS: usize = 2048;

/// Addition or subtraction of a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Add,
    Subtract,
}

impl Sign {
    /// Sign of the mask that `own` and `peer` share, in the input that `own` sends:
    /// the two cancel.
    pub(crate) fn of_pair(own: u32, peer: u32) -> Self {
        if own < peer { Self::Add } else { Self::Subtract }
    }

    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::Add => Self::Subtract,
            Self::Subtract => Self::Add,
        }
    }
}

pub(crate) struct Mask {
    pub(crate) key: Secret,
    pub(crate) sign: Sign,
}

/// Applies all masks to `words`, modulo 2^`bits`, on up to `threads` threads.
pub(crate) fn apply(masks: &[Mask], words: &mut [u32], bits: u32, threads: NonZeroUsize) {
    let blocks = words.len().div_ceil(BLOCK_WORDS);
    let share = blocks.div_ceil(threads.get()).max(1) * BLOCK_WORDS;
    if share >= words.len() {
        return apply_from(0, masks, words, bits);
    }
    thread::scope(|scope| {
        for (i, part) in words.chunks_mut(share).enumerate() {
            scope.spawn(move || apply_from(i * share, masks, part, bits));
        }
    });
}

/// Bytes of keystream a word takes.
fn bytes_per_word(bits: u32) -> usize {
    match bits {
        ..=8 => 1,
        9..=16 => 2,
        _ => 4,
    }
}

/// Applies all masks to the words that begin at `first` of the whole vector.
fn apply_from(first: usize, masks: &[Mask], words: &mut [u32], bits: u32) {
    let width = bytes_per_word(bits);
    let mut streams: Vec<(Keystream, Sign)> = masks
        .iter()
        .map(|mask| {
            let mut stream = Keystream::new(&mask.key);
            stream.seek(first as u64 * width as u64);
            (stream, mask.sign)
        })
        .collect();
    let mut buffer = Zeroizing::new([0; 4 * BLOCK_WORDS]);
    for block in words.chunks_mut(BLOCK_WORDS) {
        for (stream, sign) in &mut streams {
            mask_block(stream, *sign, block, &mut buffer[..block.len() * width]);
        }
        for word in block {
            *word &= u32::MAX >> (32 - bits);
        }
    }
}

/// A function of its own: a browser goes over to a function's optimised code when
/// it is called next, so a loop over megabytes must not be within one call.
#[inline(never)]
fn mask_block(stream: &mut Keystream, sign: Sign, words: &mut [u32], keystream: &mut [u8]) {
    stream.write(keystream);
    combine(words, keystream, sign);
}

/// The keystream has a word's bytes for each word.
fn combine(words: &mut [u32], keystream: &[u8], sign: Sign) {
    match keystream.len() / words.len() {
        1 => combine_words(words, keystream.as_chunks().0, |[byte]| byte.into(), sign),
        2 => combine_words(
            words,
            keystream.as_chunks().0,
            |two| u16::from_le_bytes(two).into(),
            sign,
        ),
        _ => combine_words(words, keystream.as_chunks().0, u32::from_le_bytes, sign),
    }
}

/// Two plain loops, which the compiler turns into SIMD.
#[inline]
fn combine_words<const WIDTH: usize>(
    words: &mut [u32],
    keystream: &[[u8; WIDTH]],
    read: impl Fn([u8; WIDTH]) -> u32,
    sign: Sign,
) {
    match sign {
        Sign::Add => {
            for (word, &mask) in words.iter_mut().zip(keystream) {
                *word = word.wrapping_add(read(mask));
            }
        }
        Sign::Subtract => {
            for (word, &mask) in words.iter_mut().zip(keystream) {
                *word = word.wrapping_sub(read(mask));
            }
        }
    }
}

/// Draws `bytes` of keystream and forgets them: masks cannot be faster. For
/// benches, here so that it is optimised as masks are.
#[doc(hidden)]
pub fn bare_keystream(bytes: usize) {
    let mut stream = Keystream::new(&[1; 32]);
    let mut buffer = [0; 4 * BLOCK_WORDS];
    for _ in 0..bytes.div_ceil(buffer.len()) {
        draw_block(&mut stream, &mut buffer);
    }
}

#[inline(never)]
fn draw_block(stream: &mut Keystream, keystream: &mut [u8]) {
    stream.write(keystream);
    black_box(keystream);
}

#[cfg(test)]
mod tests;
