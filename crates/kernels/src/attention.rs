//! Causal self-attention: what is between the two projections of its layer.
//!
//! The shares of the positions are computed again for the gradient, because to keep them for
//! every head of every sequence takes memory that grows with the square of the positions.

use crate::functions::{LANES, exp, largest, sum};
use crate::instruction_set::Kernels;
use crate::simd::{Job, Simd};
use crate::tile::{Ends, Left, MAX_ROWS, Matrix, Walk, ZEROS, blocks, parts};

/// Causal self-attention of several heads (Vaswani et al. 2017) on a batch of sequences.
///
/// At each position a head gives the mean of the values of this position and of those before
/// it. Their shares are the softmax of the products of the position's query with their keys,
/// divided by the square root of [`Self::size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Sequences.
    pub batch: usize,
    /// Positions of each.
    pub positions: usize,
    /// Heads.
    pub heads: usize,
    /// Values of a head.
    pub size: usize,
}

impl Attention {
    /// Values of all heads at all positions of the batch.
    fn len(&self) -> usize {
        self.batch * self.positions * self.heads * self.size
    }

    fn check_projected(&self, projected: &[f32]) {
        assert_eq!(projected.len(), 3 * self.len(), "the projections' length");
    }

    /// Factor of a product of a query with a key.
    fn scale(&self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

    /// First value of each head, of each sequence: in the output, and of the query in the
    /// projections.
    fn heads(self) -> impl Iterator<Item = (usize, usize)> {
        let Self { batch, positions, heads, size } = self;
        let sequence = positions * heads * size;
        let places = (0..batch).flat_map(move |row| (0..heads).map(move |head| (row, head)));
        places.filter(move |_| sequence > 0).map(move |(row, head)| {
            (row * sequence + head * size, 3 * row * sequence + head * size)
        })
    }
}

impl Kernels {
    /// Output of the heads, `[batch][positions][heads][size]`, from queries, keys and values:
    /// `projected: [batch][positions][3][heads][size]`.
    pub fn attention(self, layer: Attention, projected: &[f32]) -> Vec<f32> {
        layer.check_projected(projected);
        self.run(Forward { layer, projected })
    }

    /// The gradient of `projected` from the output's: `[batch][positions][heads][size]`.
    pub fn attention_gradient(
        self,
        layer: Attention,
        projected: &[f32],
        gradient: &[f32],
    ) -> Vec<f32> {
        layer.check_projected(projected);
        assert_eq!(gradient.len(), layer.len(), "the gradient's length");
        self.run(Backward { layer, projected, gradient })
    }
}

/// Queries, keys and values of one head: a row for each position.
fn parts_of(layer: Attention, projected: *const f32) -> [Matrix; 3] {
    let width = layer.heads * layer.size;
    let part = |index: usize| projected.wrapping_add(index * width);
    [0, 1, 2].map(|index| Matrix { values: part(index), pitch: 3 * width, rows: layer.positions })
}

/// A value for each pair of positions of one head. A row consists of whole vectors.
struct Pairs {
    pitch: usize,
    values: Vec<f32>,
}

impl Pairs {
    fn of(layer: Attention) -> Self {
        let pitch = layer.positions.next_multiple_of(LANES);
        Self { pitch, values: vec![0.0; layer.positions * pitch] }
    }

    fn matrix(&self) -> Matrix {
        let rows = self.values.len().checked_div(self.pitch).unwrap_or(0);
        Matrix { values: self.values.as_ptr(), pitch: self.pitch, rows }
    }

    /// Positions, and for each its row up to it, in whole vectors. What a tile may read after
    /// these becomes zeros.
    #[inline(always)]
    fn rows(&mut self) -> impl Iterator<Item = (usize, &mut [f32])> {
        let rows = self.values.chunks_exact_mut(self.pitch.max(1)).enumerate();
        rows.map(|(at, row)| {
            let (row, later) = row.split_at_mut((at + 1).next_multiple_of(LANES));
            later.iter_mut().take(MAX_ROWS).for_each(|value| *value = 0.0);
            (at, row)
        })
    }

    /// Computes the dot products of each row of `left` with those of `right` up to its
    /// position. `transposed` is memory for `right`.
    ///
    /// # Safety
    ///
    /// The instruction set must be there, and the matrices have `size` columns and a row for
    /// each position.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(
        &mut self,
        [left, right]: [Matrix; 2],
        size: usize,
        transposed: &mut [f32],
    ) {
        let pitch = self.pitch;
        for position in 0..right.rows {
            for column in 0..size {
                // SAFETY: as the caller promises.
                let value = unsafe { *right.values.add(position * right.pitch + column) };
                transposed[column * pitch + position] = value;
            }
        }
        let right = Matrix { values: transposed.as_ptr(), pitch, rows: size };
        for (first, rows) in parts(left.rows, S::ROWS) {
            let columns = (first + rows).next_multiple_of(LANES);
            let result = self.values[first * pitch..].as_mut_ptr();
            // SAFETY: there is room for whole vectors in the rows of both.
            unsafe { product::<S>(rows, left.rows_at(first), right, columns, result, pitch) }
        }
    }

    /// Makes products of queries and keys shares. Those of later positions are zero.
    #[inline(always)]
    fn softmax(&mut self, scale: f32) {
        for (position, row) in self.rows() {
            row[position + 1..].fill(f32::NEG_INFINITY);
            // NaN is passed over here, and comes back by the exponentials.
            let most = largest(row);
            for value in &mut *row {
                *value = exp((*value - most) * scale);
            }
            let factor = 1.0 / sum([row], |[value]| value);
            for value in row {
                *value *= factor;
            }
        }
    }

    /// Makes gradients of the shares those of the products.
    #[inline(always)]
    fn softmax_backward(&mut self, shares: &mut Self, scale: f32) {
        for ((_, row), (_, shares)) in self.rows().zip(shares.rows()) {
            let mean = sum([row, shares], |[value, share]| value * share);
            for (value, share) in row.iter_mut().zip(shares) {
                *value = *share * (*value - mean) * scale;
            }
        }
    }
}

impl Matrix {
    /// Rows from `first` on as the left operand of a product, with the stride of its columns.
    #[inline(always)]
    fn rows_at(self, first: usize) -> (Left, usize) {
        let row = |index| self.values.wrapping_add((first + index) * self.pitch);
        (Left::Rows(core::array::from_fn(row)), 1)
    }

    /// Columns from `first` on of the rows from `first` on, in the place of rows.
    #[inline(always)]
    fn columns_at(self, first: usize) -> (Left, usize) {
        (Left::Columns(self.values.wrapping_add(first * self.pitch + first)), self.pitch)
    }

    /// The first rows.
    #[inline(always)]
    fn until(self, end: usize) -> Self {
        Self { rows: end, ..self }
    }

    /// The other rows.
    #[inline(always)]
    fn from(self, first: usize) -> Self {
        let values = self.values.wrapping_add(first * self.pitch);
        Self { values, rows: self.rows - first, ..self }
    }
}

/// Computes `rows` rows of a product of two matrices. The left one comes with the stride of its
/// columns, of which there are as many as `right` has rows.
///
/// # Safety
///
/// The instruction set must be there, `rows` be 1 to `S::ROWS`, and the operands and the
/// result have as many rows and columns.
#[inline(always)]
unsafe fn product<S: Simd>(
    rows: usize,
    (left, left_step): (Left, usize),
    right: Matrix,
    columns: usize,
    result: *mut f32,
    pitch: usize,
) {
    let walk = Walk {
        segments: 1,
        left_segment: 0,
        right_segment: 0,
        depth: right.rows,
        left_step,
        right_step: right.pitch,
    };
    for (column, columns) in blocks::<S>(columns) {
        let (right, result) = (right.values.wrapping_add(column), result.wrapping_add(column));
        let ends = Ends { start: ZEROS.as_ptr(), start_pitch: 0, result, pitch };
        // SAFETY: as the caller promises.
        unsafe { S::tile(rows, columns, &left, right, &walk, &ends) }
    }
}

struct Forward<'a> {
    layer: Attention,
    projected: &'a [f32],
}

impl Job for Forward<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let Self { layer, projected } = self;
        let Attention { positions, heads, size, .. } = layer;
        let mut output = vec![0.0; layer.len()];
        let mut shares = Pairs::of(layer);
        let mut transposed = vec![0.0; size * shares.pitch];
        for (to, from) in layer.heads() {
            let [queries, keys, values] = parts_of(layer, projected[from..].as_ptr());
            // SAFETY: the lengths are checked.
            unsafe { shares.multiply::<S>([queries, keys], size, &mut transposed) }
            shares.softmax(layer.scale());
            for (first, rows) in parts(positions, S::ROWS) {
                let pitch = heads * size;
                let result = output[to + first * pitch..].as_mut_ptr();
                let (left, right) = (shares.matrix().rows_at(first), values.until(first + rows));
                // SAFETY: the lengths are checked.
                unsafe { product::<S>(rows, left, right, size, result, pitch) }
            }
        }
        output
    }
}

struct Backward<'a> {
    layer: Attention,
    projected: &'a [f32],
    gradient: &'a [f32],
}

impl Job for Backward<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let Self { layer, projected, gradient } = self;
        let Attention { positions, heads, size, .. } = layer;
        let width = heads * size;
        let mut found = vec![0.0; projected.len()];
        let (mut shares, mut slopes) = (Pairs::of(layer), Pairs::of(layer));
        let mut transposed = vec![0.0; size * shares.pitch];
        for (at, from) in layer.heads() {
            let [queries, keys, values] = parts_of(layer, projected[from..].as_ptr());
            let gradient = gradient[at..].as_ptr();
            let gradient = Matrix { values: gradient, pitch: width, rows: positions };
            // SAFETY: the lengths are checked.
            unsafe {
                shares.multiply::<S>([queries, keys], size, &mut transposed);
                shares.softmax(layer.scale());
                slopes.multiply::<S>([gradient, values], size, &mut transposed);
            }
            slopes.softmax_backward(&mut shares, layer.scale());
            let (shares, slopes) = (shares.matrix(), slopes.matrix());
            for (first, rows) in parts(positions, S::ROWS) {
                let products = [
                    (slopes.rows_at(first), keys.until(first + rows)),
                    (slopes.columns_at(first), queries.from(first)),
                    (shares.columns_at(first), gradient.from(first)),
                ];
                for (part, (left, right)) in products.into_iter().enumerate() {
                    let result = found[from + 3 * first * width + part * width..].as_mut_ptr();
                    // SAFETY: the lengths are checked.
                    unsafe { product::<S>(rows, left, right, size, result, 3 * width) }
                }
            }
        }
        found
    }
}
