//! Four lanes in an array, for the tests on targets without SIMD128.

use core::array::from_fn;

#[derive(Clone, Copy)]
pub(super) struct Lanes([u32; 4]);

impl Lanes {
    pub(super) fn new(lanes: [u32; 4]) -> Self {
        Self(lanes)
    }

    pub(super) fn all(word: u32) -> Self {
        Self([word; 4])
    }

    pub(super) fn add(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }

    pub(super) fn xor(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] ^ other.0[lane]))
    }

    /// Rotated left by `BITS`.
    pub(super) fn rotated<const BITS: u32>(self) -> Self {
        Self(self.0.map(|word| word.rotate_left(BITS)))
    }

    pub(super) fn rotated_16(self) -> Self {
        self.rotated::<16>()
    }

    pub(super) fn rotated_8(self) -> Self {
        self.rotated::<8>()
    }

    /// Lane i of `rows[j]` becomes lane j of the result's i-th.
    pub(super) fn transpose(rows: [Self; 4]) -> [Self; 4] {
        from_fn(|column| Self(rows.map(|row| row.0[column])))
    }

    pub(super) fn to_le_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.0) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }
}
