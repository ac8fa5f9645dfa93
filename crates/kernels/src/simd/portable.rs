//! Arrays of four floats, for processors without one of the other instruction sets.

use super::Simd;

/// Plain Rust. A compiler for a processor with vectors of four floats finds them.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

// SAFETY, of every block: the trait's caller gives pointers to the floats.
impl Simd for Portable {
    type Vector = [f32; 4];
    const LANES: usize = 4;
    const ROWS: usize = 4;
    const VECTORS: usize = 2;
    const DOT_ROWS: usize = 4;
    const DOT_COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> [f32; 4] {
        [0.0; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: see above.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> [f32; 4] {
        let mut lanes = [0.0; 4];
        for (index, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: see above; `count` is below 4.
            *lane = unsafe { *from.add(index) };
        }
        lanes
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> [f32; 4] {
        // SAFETY: see above.
        unsafe { [*from; 4] }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: [f32; 4]) {
        // SAFETY: see above.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(vector) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, vector: [f32; 4], count: usize) {
        for (index, lane) in vector.iter().enumerate().take(count) {
            // SAFETY: see above; `count` is below 4.
            unsafe { *to.add(index) = *lane }
        }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        [a[0] * b[0] + c[0], a[1] * b[1] + c[1], a[2] * b[2] + c[2], a[3] * b[3] + c[3]]
    }

    #[inline(always)]
    unsafe fn sum(vector: [f32; 4]) -> f32 {
        (vector[0] + vector[2]) + (vector[1] + vector[3])
    }

    tiles!(Portable);
}
