//! Micro-kernels: a tile of a product, a few rows by a few vectors, in registers.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of vectors keep these in memory instead of registers"
)]

use crate::simd::Simd;

/// Most rows of a tile on any instruction set.
pub(crate) const MAX_ROWS: usize = 8;

/// Start of a tile that begins at zero.
pub(crate) static ZEROS: [f32; 64] = [0.0; 64];

/// Path of a sum through its two operands, all strides in floats.
///
/// The sum has `segments` parts of `depth` products each. A value of the left operand is
/// multiplied with vectors of the right one.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub segments: usize,
    pub left_segment: usize,
    pub right_segment: usize,
    pub depth: usize,
    /// Stride of the left operand inside a segment. Only [`Left::Columns`] reads it; rows are
    /// contiguous.
    pub left_step: usize,
    pub right_step: usize,
}

/// Left operand of a tile.
#[derive(Clone, Copy)]
pub(crate) enum Left {
    /// One pointer for each row, whose values are contiguous along the sum.
    Rows([*const f32; MAX_ROWS]),
    /// One pointer: the values of all rows at one product are contiguous.
    Columns(*const f32),
}

/// Columns of a tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Columns {
    /// A number of vectors.
    Vectors(usize),
    /// A number of floats, fewer than a vector has.
    Part(usize),
}

impl Columns {
    /// Number of floats.
    #[inline(always)]
    pub fn floats<S: Simd>(self) -> usize {
        match self {
            Self::Vectors(vectors) => vectors * S::LANES,
            Self::Part(floats) => floats,
        }
    }
}

/// First column and width of each tile of a row of `total` floats.
#[inline(always)]
pub(crate) fn blocks<S: Simd>(total: usize) -> impl Iterator<Item = (usize, Columns)> {
    let mut first = 0;
    core::iter::from_fn(move || {
        let left = total - first;
        let columns = match left / S::LANES {
            0 if left == 0 => return None,
            0 => Columns::Part(left),
            vectors => Columns::Vectors(vectors.min(S::VECTORS)),
        };
        let block = (first, columns);
        first += columns.floats::<S>();
        Some(block)
    })
}

/// First index and length of balanced parts of `total`, none longer than `most`.
#[inline(always)]
pub(crate) fn parts(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = total.div_ceil(most);
    (0..count).map(move |part| {
        let (start, end) = (part * total / count, (part + 1) * total / count);
        (start, end - start)
    })
}

/// Start and result of a tile.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    /// Values to begin with, and the distance of two rows of them; 0 repeats one row.
    pub start: *const f32,
    pub start_pitch: usize,
    /// Result, and the distance of two of its rows.
    pub result: *mut f32,
    pub pitch: usize,
}

/// Computes `rows` rows of a tile: the start and the sum along the walk.
///
/// # Safety
///
/// The instruction set must be there, `rows` be 1 to `S::ROWS`, `columns` no wider than
/// `S::VECTORS`, and everything that the walk and the ends reach be floats of the operands.
#[inline(always)]
pub(crate) unsafe fn compute<S: Simd>(
    rows: usize,
    columns: Columns,
    left: &Left,
    right: *const f32,
    walk: &Walk,
    ends: &Ends,
) {
    macro_rules! run {
        ($rows:literal, $vectors:literal, $is_part:literal, $part:expr) => {
            // SAFETY: as the caller promises; `rows` pointers are valid.
            unsafe {
                match left {
                    Left::Rows(left) => {
                        let left = left.first_chunk::<$rows>().unwrap_unchecked();
                        rows_tile::<S, $rows, $vectors, $is_part>(
                            *left, right, *walk, *ends, $part,
                        );
                    }
                    Left::Columns(left) => {
                        columns_tile::<S, $rows, $vectors, $is_part>(
                            *left, right, *walk, *ends, $part,
                        );
                    }
                }
            }
        };
    }
    macro_rules! each_row {
        ($vectors:literal, $is_part:literal, $part:expr) => {
            match rows {
                1 => run!(1, $vectors, $is_part, $part),
                2 => run!(2, $vectors, $is_part, $part),
                3 => run!(3, $vectors, $is_part, $part),
                4 => run!(4, $vectors, $is_part, $part),
                5 if S::ROWS >= 5 => run!(5, $vectors, $is_part, $part),
                6 if S::ROWS >= 6 => run!(6, $vectors, $is_part, $part),
                7 if S::ROWS >= 7 => run!(7, $vectors, $is_part, $part),
                _ => unreachable!("a tile has 1 to {} rows", S::ROWS),
            }
        };
    }
    match columns {
        Columns::Part(floats) => each_row!(1, true, floats),
        Columns::Vectors(1) => each_row!(1, false, 0),
        Columns::Vectors(2) => each_row!(2, false, 0),
        Columns::Vectors(3) if S::VECTORS >= 3 => each_row!(3, false, 0),
        Columns::Vectors(4) if S::VECTORS >= 4 => each_row!(4, false, 0),
        Columns::Vectors(_) => unreachable!("a tile has 1 to {} vectors", S::VECTORS),
    }
}

/// A full vector or, for `PART`, one of `part` floats.
#[inline(always)]
unsafe fn load<S: Simd, const PART: bool>(from: *const f32, part: usize) -> S::Vector {
    // SAFETY: as the caller promises.
    unsafe { if PART { S::load_part(from, part) } else { S::load(from) } }
}

#[inline(always)]
unsafe fn begin<S: Simd, const ROWS: usize, const VECTORS: usize, const PART: bool>(
    ends: Ends,
    part: usize,
) -> [[S::Vector; VECTORS]; ROWS] {
    // SAFETY: as the caller promises.
    unsafe {
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        for row in 0..ROWS {
            let from = ends.start.add(row * ends.start_pitch);
            for vector in 0..VECTORS {
                sums[row][vector] = load::<S, PART>(from.add(vector * S::LANES), part);
            }
        }
        sums
    }
}

#[inline(always)]
unsafe fn finish<S: Simd, const ROWS: usize, const VECTORS: usize, const PART: bool>(
    sums: [[S::Vector; VECTORS]; ROWS],
    ends: Ends,
    part: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        for row in 0..ROWS {
            let to = ends.result.add(row * ends.pitch);
            for vector in 0..VECTORS {
                let (to, sum) = (to.add(vector * S::LANES), sums[row][vector]);
                if PART {
                    S::store_part(to, sum, part);
                } else {
                    S::store(to, sum);
                }
            }
        }
    }
}

/// One product of a tile: the value of each row at `$left` with the vectors at `$right`.
macro_rules! product {
    ($sums:ident, $right:expr, $part:ident, $row:ident => $left:expr) => {
        let mut vectors = [S::zero(); VECTORS];
        for vector in 0..VECTORS {
            vectors[vector] = load::<S, PART>($right.add(vector * S::LANES), $part);
        }
        for $row in 0..ROWS {
            let value = S::splat($left);
            for vector in 0..VECTORS {
                $sums[$row][vector] = S::multiply_add(value, vectors[vector], $sums[$row][vector]);
            }
        }
    };
}

/// The tile of [`Left::Rows`].
#[cfg_attr(target_arch = "wasm32", inline(never))]
#[cfg_attr(not(target_arch = "wasm32"), inline(always))]
unsafe fn rows_tile<S: Simd, const ROWS: usize, const VECTORS: usize, const PART: bool>(
    mut left: [*const f32; ROWS],
    mut right: *const f32,
    walk: Walk,
    ends: Ends,
    part: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let mut sums = begin::<S, ROWS, VECTORS, PART>(ends, part);
        for _ in 0..walk.segments {
            let (mut at, mut from) = (left, right);
            for _ in 0..walk.depth / 4 {
                for step in 0..4 {
                    product!(sums, from, part, row => at[row].add(step));
                    from = from.add(walk.right_step);
                }
                for row in 0..ROWS {
                    at[row] = at[row].add(4);
                }
            }
            for _ in 0..walk.depth % 4 {
                product!(sums, from, part, row => at[row]);
                from = from.add(walk.right_step);
                for row in 0..ROWS {
                    at[row] = at[row].add(1);
                }
            }
            for row in 0..ROWS {
                left[row] = left[row].wrapping_add(walk.left_segment);
            }
            right = right.wrapping_add(walk.right_segment);
        }
        finish::<S, ROWS, VECTORS, PART>(sums, ends, part);
    }
}

/// The tile of [`Left::Columns`].
#[cfg_attr(target_arch = "wasm32", inline(never))]
#[cfg_attr(not(target_arch = "wasm32"), inline(always))]
unsafe fn columns_tile<S: Simd, const ROWS: usize, const VECTORS: usize, const PART: bool>(
    mut left: *const f32,
    mut right: *const f32,
    walk: Walk,
    ends: Ends,
    part: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let mut sums = begin::<S, ROWS, VECTORS, PART>(ends, part);
        for _ in 0..walk.segments {
            let (mut at, mut from) = (left, right);
            for _ in 0..walk.depth / 2 {
                product!(sums, from, part, row => at.add(row));
                (at, from) = (at.wrapping_add(walk.left_step), from.wrapping_add(walk.right_step));
                product!(sums, from, part, row => at.add(row));
                (at, from) = (at.wrapping_add(walk.left_step), from.wrapping_add(walk.right_step));
            }
            if walk.depth % 2 == 1 {
                product!(sums, from, part, row => at.add(row));
            }
            left = left.wrapping_add(walk.left_segment);
            right = right.wrapping_add(walk.right_segment);
        }
        finish::<S, ROWS, VECTORS, PART>(sums, ends, part);
    }
}

/// Matrix whose rows are contiguous.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub values: *const f32,
    /// Distance of two rows in floats.
    pub pitch: usize,
    pub rows: usize,
}

/// Dot products of every row of `left` with every row of `right`.
#[derive(Clone, Copy)]
pub(crate) struct DotProducts {
    pub left: Matrix,
    pub right: Matrix,
    /// Length of a row of either.
    pub depth: usize,
    /// Result, `left.rows` rows of `right.rows` floats, and the distance of two rows.
    pub result: *mut f32,
    pub pitch: usize,
}

/// Computes dot products.
///
/// # Safety
///
/// The instruction set must be there, and everything that the matrices and the result name
/// be floats.
#[inline(always)]
pub(crate) unsafe fn compute_dot_products<S: Simd>(products: &DotProducts) {
    let DotProducts { left, right, .. } = *products;
    for (column, columns) in parts(right.rows, S::DOT_COLUMNS) {
        for (row, rows) in parts(left.rows, S::DOT_ROWS) {
            macro_rules! run {
                ($rows:literal) => {
                    // SAFETY: as the caller promises; the parts are inside the matrices.
                    unsafe {
                        match columns {
                            1 => dot_tile::<S, $rows, 1>(products, row, column),
                            3 if S::DOT_COLUMNS >= 3 => {
                                dot_tile::<S, $rows, 3>(products, row, column);
                            }
                            4 if S::DOT_COLUMNS >= 4 => {
                                dot_tile::<S, $rows, 4>(products, row, column);
                            }
                            _ => dot_tile::<S, $rows, 2>(products, row, column),
                        }
                    }
                };
            }
            match rows {
                1 => run!(1),
                2 => run!(2),
                3 => run!(3),
                5 if S::DOT_ROWS >= 5 => run!(5),
                _ => run!(4),
            }
        }
    }
}

#[cfg_attr(target_arch = "wasm32", inline(never))]
#[cfg_attr(not(target_arch = "wasm32"), inline(always))]
unsafe fn dot_tile<S: Simd, const ROWS: usize, const COLUMNS: usize>(
    products: &DotProducts,
    row: usize,
    column: usize,
) {
    let DotProducts { left, right, depth, result, pitch } = *products;
    // SAFETY: as the caller promises.
    unsafe {
        let (left, left_pitch) = (left.values.add(row * left.pitch), left.pitch);
        let (right, right_pitch) = (right.values.add(column * right.pitch), right.pitch);
        let result = result.add(row * pitch + column);
        let mut sums = [[S::zero(); COLUMNS]; ROWS];
        macro_rules! products {
            ($from:ident => $load:expr) => {
                let mut vectors = [S::zero(); COLUMNS];
                for column in 0..COLUMNS {
                    let $from = right.add(column * right_pitch);
                    vectors[column] = $load;
                }
                for row in 0..ROWS {
                    let $from = left.add(row * left_pitch);
                    let value = $load;
                    for column in 0..COLUMNS {
                        sums[row][column] =
                            S::multiply_add(value, vectors[column], sums[row][column]);
                    }
                }
            };
        }
        let full = depth / S::LANES * S::LANES;
        for at in (0..full).step_by(S::LANES) {
            products!(from => S::load(from.add(at)));
        }
        if full < depth {
            products!(from => S::load_part(from.add(full), depth - full));
        }
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                *result.add(row * pitch + column) = S::sum(sums[row][column]);
            }
        }
    }
}
