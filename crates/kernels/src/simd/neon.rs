//! NEON, which every 64-bit ARM processor has.

use core::arch::aarch64::*;

use super::Simd;

/// 32 registers of 4 floats.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

// SAFETY, of every block: every processor of this architecture has NEON, and the trait's
// caller gives pointers to the floats.
impl Simd for Neon {
    type Vector = float32x4_t;
    const LANES: usize = 4;
    const ROWS: usize = 6;
    const VECTORS: usize = 4;
    const DOT_ROWS: usize = 5;
    const DOT_COLUMNS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> float32x4_t {
        let mut lanes = [0.0; 4];
        // SAFETY: see above; `count` is below 4.
        unsafe {
            for (index, lane) in lanes.iter_mut().enumerate().take(count) {
                *lane = *from.add(index);
            }
            vld1q_f32(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_dup_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: float32x4_t) {
        // SAFETY: see above.
        unsafe { vst1q_f32(to, vector) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, vector: float32x4_t, count: usize) {
        let mut lanes = [0.0; 4];
        // SAFETY: see above; `count` is below 4.
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), vector);
            for (index, lane) in lanes.iter().enumerate().take(count) {
                *to.add(index) = *lane;
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    unsafe fn sum(vector: float32x4_t) -> f32 {
        // SAFETY: see above.
        unsafe { vaddvq_f32(vector) }
    }

    tiles!(Neon);
}
