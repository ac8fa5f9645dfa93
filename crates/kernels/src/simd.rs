//! Vector units behind one trait.
//!
//! Every method is inlined into a function that is compiled for the instruction set.

use crate::tile::{Columns, DotProducts, Ends, Left, Walk};

/// The two methods of [`Simd`] that hand on to functions of [`tile`](crate::tile), which are compiled here
/// with the features named.
macro_rules! tiles {
    ($Own:ty $(, $features:literal)?) => {
        #[inline(always)]
        unsafe fn tile(
            rows: usize,
            columns: $crate::tile::Columns,
            left: &$crate::tile::Left,
            right: *const f32,
            walk: &$crate::tile::Walk,
            ends: &$crate::tile::Ends,
        ) {
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            unsafe fn compiled(
                rows: usize,
                columns: $crate::tile::Columns,
                left: &$crate::tile::Left,
                right: *const f32,
                walk: &$crate::tile::Walk,
                ends: &$crate::tile::Ends,
            ) {
                // SAFETY: as the caller promises.
                unsafe { $crate::tile::compute::<$Own>(rows, columns, left, right, walk, ends) }
            }
            // SAFETY: as the caller promises.
            unsafe { compiled(rows, columns, left, right, walk, ends) }
        }

        #[inline(always)]
        unsafe fn dot_products(products: &$crate::tile::DotProducts) {
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            unsafe fn compiled(products: &$crate::tile::DotProducts) {
                // SAFETY: as the caller promises.
                unsafe { $crate::tile::compute_dot_products::<$Own>(products) }
            }
            // SAFETY: as the caller promises.
            unsafe { compiled(products) }
        }
    };
}

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(crate) mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) mod simd128;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

/// Vectors of one instruction set.
///
/// # Safety
///
/// Each method may be called only where the instruction set is there, and reads or writes
/// exactly the floats that it names; these need no alignment.
pub(crate) trait Simd: Copy + 'static {
    /// A register of [`Self::LANES`] floats.
    type Vector: Copy;
    /// Floats in a vector.
    const LANES: usize;
    /// Most rows of a tile: with [`Self::VECTORS`] as many as the registers hold.
    const ROWS: usize;
    /// Most vectors in a row of a tile.
    const VECTORS: usize;
    /// The same for a tile of dot products.
    const DOT_ROWS: usize;
    /// Most right-hand sides of a tile of dot products.
    const DOT_COLUMNS: usize;

    /// Zeros.
    unsafe fn zero() -> Self::Vector;
    /// [`Self::LANES`] floats.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// The first `count` floats, fewer than [`Self::LANES`], and zeros.
    unsafe fn load_part(from: *const f32, count: usize) -> Self::Vector;
    /// One float in every lane.
    unsafe fn splat(from: *const f32) -> Self::Vector;
    /// Writes [`Self::LANES`] floats.
    unsafe fn store(to: *mut f32, vector: Self::Vector);
    /// Writes the first `count` floats, fewer than [`Self::LANES`].
    unsafe fn store_part(to: *mut f32, vector: Self::Vector, count: usize);
    /// `a * b + c`, rounded once where the instruction set does that.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Sum of the lanes.
    unsafe fn sum(vector: Self::Vector) -> f32;

    /// [`compute`](crate::tile::compute), compiled once for the instruction set.
    unsafe fn tile(
        rows: usize,
        columns: Columns,
        left: &Left,
        right: *const f32,
        walk: &Walk,
        ends: &Ends,
    );
    /// [`compute_dot_products`](crate::tile::compute_dot_products), compiled once for the instruction set.
    unsafe fn dot_products(products: &DotProducts);
}

/// Work that is compiled once for each instruction set.
pub(crate) trait Job {
    /// Result of the work.
    type Output;

    /// Does the work. Implementations are `inline(always)`, because that is how they come to
    /// be compiled for the instruction set.
    ///
    /// # Safety
    ///
    /// The instruction set `S` must be there.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}
