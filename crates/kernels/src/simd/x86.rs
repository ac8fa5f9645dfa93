//! AVX2 with FMA, and AVX-512.

use core::arch::x86_64::*;

use super::{Job, Simd};

/// 32 registers of 16 floats.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// 16 registers of 8 floats.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Runs a job on AVX-512.
///
/// # Safety
///
/// The processor must have AVX-512 F, BW, DQ and VL, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) unsafe fn on_avx512<J: Job>(job: J) -> J::Output {
    // SAFETY: the caller has checked the features.
    unsafe { job.run::<Avx512>() }
}

/// Runs a job on AVX2.
///
/// # Safety
///
/// The processor must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn on_avx2<J: Job>(job: J) -> J::Output {
    // SAFETY: the caller has checked the features.
    unsafe { job.run::<Avx2>() }
}

// SAFETY, of every block: the trait's caller has AVX-512, and gives pointers to the floats.
impl Simd for Avx512 {
    type Vector = __m512;
    const LANES: usize = 16;
    const ROWS: usize = 7;
    const VECTORS: usize = 4;
    const DOT_ROWS: usize = 5;
    const DOT_COLUMNS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> __m512 {
        // SAFETY: see above; lanes without their bit are not read.
        unsafe { _mm512_maskz_loadu_ps(first_bits(count), from) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(*from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, vector: __m512, count: usize) {
        // SAFETY: see above; lanes without their bit are not written.
        unsafe { _mm512_mask_storeu_ps(to, first_bits(count), vector) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn sum(vector: __m512) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(vector) }
    }

    tiles!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
}

#[inline(always)]
fn first_bits(count: usize) -> __mmask16 {
    (1 << count) - 1
}

// SAFETY, of every block: the trait's caller has AVX2 and FMA, and gives pointers to the
// floats.
impl Simd for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;
    const ROWS: usize = 6;
    const VECTORS: usize = 2;
    const DOT_ROWS: usize = 5;
    const DOT_COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> __m256 {
        // SAFETY: see above; lanes without their mask are not read.
        unsafe { _mm256_maskload_ps(from, first_lanes(count)) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_broadcast_ss(&*from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: __m256) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, vector: __m256, count: usize) {
        // SAFETY: see above; lanes without their mask are not written.
        unsafe { _mm256_maskstore_ps(to, first_lanes(count), vector) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn sum(vector: __m256) -> f32 {
        // SAFETY: see above.
        unsafe {
            let half = _mm_add_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps(vector, 1));
            let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1)))
        }
    }

    tiles!(Avx2, "avx2,fma");
}

#[inline(always)]
unsafe fn first_lanes(count: usize) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
    }
}
