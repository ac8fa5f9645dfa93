//! Micro-kernels: a tile of a product, a few rows by a few vectors, in registers.

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
    /// So many vectors.
    Vectors(usize),
    /// So many floats, fewer than a vector has.
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
        ($rows:literal, $vectors:literal, $part:expr) => {
            // SAFETY: as the caller promises; `rows` pointers are valid.
            unsafe {
                match left {
                    Left::Rows(left) => {
                        let left = left.first_chunk::<$rows>().unwrap_unchecked();
                        rows_tile::<S, $rows, $vectors>(*left, right, *walk, *ends, $part);
                    }
                    Left::Columns(left) => {
                        columns_tile::<S, $rows, $vectors>(*left, right, *walk, *ends, $part);
                    }
                }
            }
        };
    }
    macro_rules! each_row {
        ($vectors:literal, $part:expr) => {
            match rows {
                1 => run!(1, $vectors, $part),
                2 => run!(2, $vectors, $part),
                3 => run!(3, $vectors, $part),
                4 => run!(4, $vectors, $part),
                5 if S::ROWS >= 5 => run!(5, $vectors, $part),
                6 if S::ROWS >= 6 => run!(6, $vectors, $part),
                7 if S::ROWS >= 7 => run!(7, $vectors, $part),
                _ => unreachable!("a tile has 1 to {} rows", S::ROWS),
            }
        };
    }
    match columns {
        // A vector that is not full is the vector number 0.
        Columns::Part(floats) => each_row!(0, floats),
        Columns::Vectors(1) => each_row!(1, 0),
        Columns::Vectors(2) => each_row!(2, 0),
        Columns::Vectors(3) if S::VECTORS >= 3 => each_row!(3, 0),
        Columns::Vectors(4) if S::VECTORS >= 4 => each_row!(4, 0),
        Columns::Vectors(_) => unreachable!("a tile has 1 to {} vectors", S::VECTORS),
    }
}

/// Vectors of one row: `VECTORS` full ones or, for 0, one of `part` floats.
type Row<S> = [<S as Simd>::Vector; 4];

#[inline(always)]
unsafe fn load<S: Simd, const VECTORS: usize>(from: *const f32, part: usize) -> Row<S> {
    // SAFETY: as the caller promises.
    unsafe {
        let mut row = [S::zero(); 4];
        if VECTORS == 0 {
            row[0] = S::load_part(from, part);
        }
        for (vector, value) in row.iter_mut().enumerate().take(VECTORS) {
            *value = S::load(from.add(vector * S::LANES));
        }
        row
    }
}

#[inline(always)]
unsafe fn begin<S: Simd, const ROWS: usize, const VECTORS: usize>(
    ends: Ends,
    part: usize,
) -> [Row<S>; ROWS] {
    // SAFETY: as the caller promises.
    unsafe {
        let mut sums = [[S::zero(); 4]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            *sums = load::<S, VECTORS>(ends.start.add(row * ends.start_pitch), part);
        }
        sums
    }
}

#[inline(always)]
unsafe fn finish<S: Simd, const ROWS: usize, const VECTORS: usize>(
    sums: [Row<S>; ROWS],
    ends: Ends,
    part: usize,
) {
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: as the caller promises.
        unsafe {
            let to = ends.result.add(row * ends.pitch);
            if VECTORS == 0 {
                S::store_part(to, sums[0], part);
            }
            for (vector, sum) in sums.iter().enumerate().take(VECTORS) {
                S::store(to.add(vector * S::LANES), *sum);
            }
        }
    }
}

/// One product of a tile: a value of each row with the vectors at `right`.
macro_rules! product {
    ($sums:ident, $right:expr, $part:ident, $left:expr) => {
        let vectors = load::<S, VECTORS>($right, $part);
        for (row, sums) in $sums.iter_mut().enumerate() {
            let value = S::splat($left(row));
            for (sum, vector) in sums.iter_mut().zip(vectors).take(VECTORS.max(1)) {
                *sum = S::multiply_add(value, vector, *sum);
            }
        }
    };
}

/// The tile of [`Left::Rows`].
#[cfg_attr(target_arch = "wasm32", inline(never))]
#[cfg_attr(not(target_arch = "wasm32"), inline(always))]
unsafe fn rows_tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    mut left: [*const f32; ROWS],
    mut right: *const f32,
    walk: Walk,
    ends: Ends,
    part: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let mut sums = begin::<S, ROWS, VECTORS>(ends, part);
        for _ in 0..walk.segments {
            let (mut at, mut from) = (left, right);
            for _ in 0..walk.depth / 4 {
                for step in 0..4 {
                    product!(sums, from, part, |row: usize| at[row].add(step));
                    from = from.add(walk.right_step);
                }
                at.iter_mut().for_each(|at| *at = at.add(4));
            }
            for _ in 0..walk.depth % 4 {
                product!(sums, from, part, |row: usize| at[row]);
                from = from.add(walk.right_step);
                at.iter_mut().for_each(|at| *at = at.add(1));
            }
            left.iter_mut().for_each(|left| *left = left.wrapping_add(walk.left_segment));
            right = right.wrapping_add(walk.right_segment);
        }
        finish::<S, ROWS, VECTORS>(sums, ends, part);
    }
}

/// The tile of [`Left::Columns`].
#[cfg_attr(target_arch = "wasm32", inline(never))]
#[cfg_attr(not(target_arch = "wasm32"), inline(always))]
unsafe fn columns_tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    mut left: *const f32,
    mut right: *const f32,
    walk: Walk,
    ends: Ends,
    part: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let mut sums = begin::<S, ROWS, VECTORS>(ends, part);
        for _ in 0..walk.segments {
            let (mut at, mut from) = (left, right);
            for _ in 0..walk.depth / 2 {
                product!(sums, from, part, |row: usize| at.add(row));
                (at, from) = (at.wrapping_add(walk.left_step), from.wrapping_add(walk.right_step));
                product!(sums, from, part, |row: usize| at.add(row));
                (at, from) = (at.wrapping_add(walk.left_step), from.wrapping_add(walk.right_step));
            }
            if walk.depth % 2 == 1 {
                product!(sums, from, part, |row: usize| at.add(row));
            }
            left = left.wrapping_add(walk.left_segment);
            right = right.wrapping_add(walk.right_segment);
        }
        finish::<S, ROWS, VECTORS>(sums, ends, part);
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
            ($load:expr) => {
                let mut vectors = [S::zero(); COLUMNS];
                for (column, vector) in vectors.iter_mut().enumerate() {
                    *vector = $load(right.add(column * right_pitch));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = $load(left.add(row * left_pitch));
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = S::multiply_add(value, vector, *sum);
                    }
                }
            };
        }
        let full = depth / S::LANES * S::LANES;
        for at in (0..full).step_by(S::LANES) {
            products!(|from: *const f32| S::load(from.add(at)));
        }
        if full < depth {
            products!(|from: *const f32| S::load_part(from.add(full), depth - full));
        }
        for (row, sums) in sums.iter().enumerate() {
            for (column, sum) in sums.iter().enumerate() {
                *result.add(row * pitch + column) = S::sum(*sum);
            }
        }
    }
}
