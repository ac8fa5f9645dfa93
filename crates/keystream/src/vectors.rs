//! Keystream by vectors of four 32-bit lanes: one vector for each word of the state, one
//! lane for each of four blocks (RFC 8439, section 2.3).

use core::fmt;

use zeroize::Zeroizing;

#[cfg_attr(not(all(target_arch = "wasm32", target_feature = "simd128")), path = "vectors/array.rs")]
#[cfg_attr(all(target_arch = "wasm32", target_feature = "simd128"), path = "vectors/simd128.rs")]
mod lanes;

use lanes::Lanes;

/// Bytes of the four blocks that are computed together.
const GROUP: usize = 4 * 64;

/// Bytes of a keystream: its counter has 32 bits.
const END: u64 = 64 << 32;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Keystream of one key, from any position on. Zeroised when dropped.
pub struct Keystream {
    key: Zeroizing<[u32; 8]>,
    /// Of the next byte.
    position: u64,
}

impl Keystream {
    /// Keystream of `key`, from its first byte on.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let mut words = Zeroizing::new([0; 8]);
        for (word, bytes) in words.iter_mut().zip(key.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { key: words, position: 0 }
    }

    /// Continues at byte `position`.
    ///
    /// # Panics
    ///
    /// If the keystream ends before it.
    pub fn seek(&mut self, position: u64) {
        assert!(position < END, "the keystream has {END} bytes");
        self.position = position;
    }

    /// Overwrites `bytes` with the next bytes of the keystream.
    ///
    /// # Panics
    ///
    /// If the keystream ends before them.
    pub fn write(&mut self, bytes: &mut [u8]) {
        assert!(bytes.len() as u64 <= END - self.position, "the keystream has {END} bytes");
        let begun = (self.position % GROUP as u64) as usize;
        let mut rest = bytes;
        if begun > 0 {
            let (head, after) = rest.split_at_mut(rest.len().min(GROUP - begun));
            self.write_part(begun, head);
            rest = after;
        }
        // From here on at the start of a group.
        let (groups, tail) = rest.as_chunks_mut();
        for group in groups {
            group_at(&self.key, (self.position / 64) as u32, group);
            self.position += GROUP as u64;
        }
        if !tail.is_empty() {
            self.write_part(0, tail);
        }
    }

    /// Writes a part of the group at the position, from byte `begun` of the group on.
    fn write_part(&mut self, begun: usize, part: &mut [u8]) {
        let mut group = Zeroizing::new([0; GROUP]);
        group_at(&self.key, (self.position / GROUP as u64 * 4) as u32, &mut group);
        part.copy_from_slice(&group[begun..begun + part.len()]);
        self.position += part.len() as u64;
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystream").finish_non_exhaustive()
    }
}

/// Blocks `counter` to `counter` + 3.
#[inline(never)]
fn group_at(key: &[u32; 8], counter: u32, group: &mut [u8; GROUP]) {
    let initial = initial_state(key, counter);
    let mut state = initial;
    for _ in 0..10 {
        // Columns, then diagonals. One by one, because the compiler would not keep the
        // state in registers over a loop.
        quarter_round::<0, 4, 8, 12>(&mut state);
        quarter_round::<1, 5, 9, 13>(&mut state);
        quarter_round::<2, 6, 10, 14>(&mut state);
        quarter_round::<3, 7, 11, 15>(&mut state);
        quarter_round::<0, 5, 10, 15>(&mut state);
        quarter_round::<1, 6, 11, 12>(&mut state);
        quarter_round::<2, 7, 8, 13>(&mut state);
        quarter_round::<3, 4, 9, 14>(&mut state);
    }
    for (word, initial) in state.iter_mut().zip(initial) {
        *word = word.add(initial);
    }
    // Four words of four blocks at a time.
    for (row, words) in state.as_chunks::<4>().0.iter().enumerate() {
        for (block, words) in Lanes::transpose(*words).into_iter().enumerate() {
            let first = 64 * block + 16 * row;
            group[first..first + 16].copy_from_slice(&words.to_le_bytes());
        }
    }
}

#[inline(always)]
fn initial_state(key: &[u32; 8], counter: u32) -> [Lanes; 16] {
    let mut state = [Lanes::all(0); 16];
    for (lanes, word) in state.iter_mut().zip(CONSTANTS.iter().chain(key)) {
        *lanes = Lanes::all(*word);
    }
    // The counter is a multiple of 4.
    state[12] = Lanes::new([0, 1, 2, 3].map(|block| counter | block));
    state
}

#[inline(always)]
fn quarter_round<const A: usize, const B: usize, const C: usize, const D: usize>(
    state: &mut [Lanes; 16],
) {
    state[A] = state[A].add(state[B]);
    state[D] = state[D].xor(state[A]).rotated_16();
    state[C] = state[C].add(state[D]);
    state[B] = state[B].xor(state[C]).rotated::<12>();
    state[A] = state[A].add(state[B]);
    state[D] = state[D].xor(state[A]).rotated_8();
    state[C] = state[C].add(state[D]);
    state[B] = state[B].xor(state[C]).rotated::<7>();
}
