//! Four lanes in one vector of SIMD128.

use core::arch::wasm32::{
    i8x16_shuffle, i32x4_add, i32x4_shl, i32x4_shuffle, i32x4_splat, i64x2_extract_lane,
    i64x2_shuffle, u32x4, u32x4_shr, v128, v128_or, v128_xor,
};

#[derive(Clone, Copy)]
pub(super) struct Lanes(v128);

impl Lanes {
    #[inline(always)]
    pub(super) fn new([a, b, c, d]: [u32; 4]) -> Self {
        Self(u32x4(a, b, c, d))
    }

    #[inline(always)]
    pub(super) fn all(word: u32) -> Self {
        Self(i32x4_splat(word.cast_signed()))
    }

    #[inline(always)]
    pub(super) fn add(self, other: Self) -> Self {
        Self(i32x4_add(self.0, other.0))
    }

    #[inline(always)]
    pub(super) fn xor(self, other: Self) -> Self {
        Self(v128_xor(self.0, other.0))
    }

    /// Rotated left by `BITS`.
    #[inline(always)]
    pub(super) fn rotated<const BITS: u32>(self) -> Self {
        Self(v128_or(i32x4_shl(self.0, BITS), u32x4_shr(self.0, 32 - BITS)))
    }

    /// Rotated left by 16 bits: one shuffle of bytes for two shifts and an or.
    #[inline(always)]
    pub(super) fn rotated_16(self) -> Self {
        let turned = i8x16_shuffle::<2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13>;
        Self(turned(self.0, self.0))
    }

    /// Rotated left by 8 bits.
    #[inline(always)]
    pub(super) fn rotated_8(self) -> Self {
        let turned = i8x16_shuffle::<3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14>;
        Self(turned(self.0, self.0))
    }

    /// Lane i of `rows[j]` becomes lane j of the result's i-th.
    #[inline(always)]
    pub(super) fn transpose(rows: [Self; 4]) -> [Self; 4] {
        let [a, b, c, d] = rows.map(|row| row.0);
        let low = [i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d)];
        let high = [i32x4_shuffle::<2, 6, 3, 7>(a, b), i32x4_shuffle::<2, 6, 3, 7>(c, d)];
        [
            Self(i64x2_shuffle::<0, 2>(low[0], low[1])),
            Self(i64x2_shuffle::<1, 3>(low[0], low[1])),
            Self(i64x2_shuffle::<0, 2>(high[0], high[1])),
            Self(i64x2_shuffle::<1, 3>(high[0], high[1])),
        ]
    }

    /// The lanes in order. The target is little-endian.
    #[inline(always)]
    pub(super) fn to_le_bytes(self) -> [u8; 16] {
        let halves = [i64x2_extract_lane::<0>(self.0), i64x2_extract_lane::<1>(self.0)];
        let mut bytes = [0; 16];
        for (bytes, half) in bytes.as_chunks_mut().0.iter_mut().zip(halves) {
            *bytes = half.to_le_bytes();
        }
        bytes
    }
}
