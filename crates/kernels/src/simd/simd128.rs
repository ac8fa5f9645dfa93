//! SIMD of WebAssembly.

use core::arch::wasm32::*;

use super::Simd;

/// Vectors of 4 floats. V8 keeps 15 of them in registers on x86-64, which a tile of 5 rows
/// by 2 vectors fills; one of 3 rows by 4 vectors spills.
#[derive(Clone, Copy)]
pub(crate) struct Simd128;

// SAFETY, of every block: the trait's caller gives pointers to the floats.
impl Simd for Simd128 {
    type Vector = v128;
    const LANES: usize = 4;
    const ROWS: usize = 5;
    const VECTORS: usize = 2;
    const DOT_ROWS: usize = 5;
    const DOT_COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> v128 {
        f32x4_splat(0.0)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> v128 {
        // SAFETY: see above.
        unsafe { v128_load(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> v128 {
        // SAFETY: see above.
        unsafe {
            match count {
                1 => v128_load32_zero(from.cast()),
                2 => v128_load64_zero(from.cast()),
                _ => v128_load32_lane::<2>(v128_load64_zero(from.cast()), from.add(2).cast()),
            }
        }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> v128 {
        // SAFETY: see above.
        unsafe { v128_load32_splat(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: v128) {
        // SAFETY: see above.
        unsafe { v128_store(to.cast(), vector) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, vector: v128, count: usize) {
        // SAFETY: see above.
        unsafe {
            v128_store32_lane::<0>(vector, to.cast());
            if count > 1 {
                v128_store32_lane::<1>(vector, to.add(1).cast());
            }
            if count > 2 {
                v128_store32_lane::<2>(vector, to.add(2).cast());
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: v128, b: v128, c: v128) -> v128 {
        f32x4_add(c, f32x4_mul(a, b))
    }

    #[inline(always)]
    unsafe fn sum(vector: v128) -> f32 {
        let half = f32x4_add(vector, i32x4_shuffle::<2, 3, 2, 3>(vector, vector));
        f32x4_extract_lane::<0>(half) + f32x4_extract_lane::<1>(half)
    }

    tiles!(Simd128);
}
