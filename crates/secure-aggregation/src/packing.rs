//! Words of 1 to 32 bits as bytes for the wire: one little-endian stream of
//! bits, the first word in the lowest bits of the first byte. The last byte is
//! filled up with zeros.

use thiserror::Error;

/// Reason that bytes are not packed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PackingError {
    /// Not the length that the expected words take.
    #[error("{words} words of {bits} bits take {expected} bytes, not {actual}")]
    Length {
        /// Words expected.
        words: usize,
        /// Bits of each.
        bits: u32,
        /// Bytes these take.
        expected: usize,
        /// Bytes there were.
        actual: usize,
    },
    /// The bits after the last word are not zero.
    #[error("the bits after the last word are not zero")]
    Padding,
}

/// Bytes that `words` words of `bits` bits take.
#[must_use]
pub const fn packed_len(words: usize, bits: u32) -> usize {
    let bytes = (words as u128 * bits as u128).div_ceil(8);
    if bytes > usize::MAX as u128 { usize::MAX } else { bytes as usize }
}

/// Packs words, each below 2^`bits` (1 to 32); higher bits are cut off.
///
/// # Panics
///
/// If `bits` is not in `1..=32`.
#[must_use]
pub fn pack(words: &[u32], bits: u32) -> Vec<u8> {
    let largest = largest_word(bits);
    let mut packed = Vec::with_capacity(packed_len(words.len(), bits) + 4);
    match bits {
        8 => packed.extend(words.iter().map(|&word| word as u8)),
        16 => packed.extend(words.iter().flat_map(|&word| (word as u16).to_le_bytes())),
        32 => packed.extend(words.iter().flat_map(|word| word.to_le_bytes())),
        _ => {
            // Fewer than 32 bits wait in `pending`.
            let (mut pending, mut waiting) = (0_u64, 0);
            for &word in words {
                pending |= u64::from(word & largest) << waiting;
                waiting += bits;
                if waiting >= 32 {
                    packed.extend_from_slice(&(pending as u32).to_le_bytes());
                    pending >>= 32;
                    waiting -= 32;
                }
            }
            packed.extend_from_slice(&pending.to_le_bytes()[..waiting.div_ceil(8) as usize]);
        }
    }
    packed
}

/// Unpacks exactly `words` words of `bits` bits (1 to 32).
///
/// # Errors
///
/// [`PackingError`] for another length or bits set after the last word. Nothing
/// is allocated before the length is checked.
///
/// # Panics
///
/// If `bits` is not in `1..=32`.
pub fn unpack(packed: &[u8], words: usize, bits: u32) -> Result<Vec<u32>, PackingError> {
    check_packed(packed, words, bits)?;
    let mut unpacked = vec![0; words];
    unpack_with(packed, bits, &mut unpacked, |word, value| *word = value);
    Ok(unpacked)
}

/// Checks packed words of `bits` bits (1 to 32) and adds them to a sum of as
/// many words, modulo 2^32, without unpacking them into memory of their own. An
/// error leaves the sum as it was.
///
/// # Errors
///
/// Errors of [`unpack`].
///
/// # Panics
///
/// If `bits` is not in `1..=32`.
pub fn add_packed(packed: &[u8], bits: u32, sum: &mut [u32]) -> Result<(), PackingError> {
    check_packed(packed, sum.len(), bits)?;
    unpack_with(packed, bits, sum, |word, value| *word = word.wrapping_add(value));
    Ok(())
}

/// Checks that bytes are `words` packed words of `bits` bits (1 to 32).
///
/// # Errors
///
/// Errors of [`unpack`].
///
/// # Panics
///
/// If `bits` is not in `1..=32`.
pub fn check_packed(packed: &[u8], words: usize, bits: u32) -> Result<(), PackingError> {
    assert_bits(bits);
    let (expected, actual) = (packed_len(words, bits), packed.len());
    if actual != expected {
        return Err(PackingError::Length { words, bits, expected, actual });
    }
    let used = (words as u64 * u64::from(bits)) % 8;
    match packed.last() {
        Some(last) if used != 0 && last >> used != 0 => Err(PackingError::Padding),
        _ => Ok(()),
    }
}

/// Hands each word to `put`, with its place in `words`.
fn unpack_with(packed: &[u8], bits: u32, words: &mut [u32], put: impl Fn(&mut u32, u32)) {
    match bits {
        8 => words.iter_mut().zip(packed).for_each(|(word, &byte)| put(word, byte.into())),
        16 => {
            let halves = packed.as_chunks().0.iter();
            words
                .iter_mut()
                .zip(halves)
                .for_each(|(word, &two)| put(word, u16::from_le_bytes(two).into()));
        }
        32 => {
            let wholes = packed.as_chunks().0.iter();
            words
                .iter_mut()
                .zip(wholes)
                .for_each(|(word, &four)| put(word, u32::from_le_bytes(four)));
        }
        _ => unpack_odd(packed, bits, words, put),
    }
}

/// A word of any number of bits lies within the eight bytes from its first one.
fn unpack_odd(packed: &[u8], bits: u32, words: &mut [u32], put: impl Fn(&mut u32, u32)) {
    let largest = u64::from(largest_word(bits));
    let mut position = 0_u64;
    for word in words {
        let rest = &packed[(position / 8) as usize..];
        let eight = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut end = [0; 8];
            end[..rest.len()].copy_from_slice(rest);
            end
        });
        put(word, (u64::from_le_bytes(eight) >> (position % 8) & largest) as u32);
        position += u64::from(bits);
    }
}

fn largest_word(bits: u32) -> u32 {
    assert_bits(bits);
    u32::MAX >> (32 - bits)
}

fn assert_bits(bits: u32) {
    assert!((1..=32).contains(&bits), "a word has 1 to 32 bits, not {bits}");
}

#[cfg(test)]
mod tests;
