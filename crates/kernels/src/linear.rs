//! Fully connected layers.

use crate::instruction_set::Kernels;
use crate::simd::{Job, Simd};
use crate::tile::{DotProducts, Ends, Left, MAX_ROWS, Matrix, Walk, ZEROS, blocks, parts};
use crate::{Activation, Sgd, add_rows};

/// Most floats of an operand that a part of a sum takes: they stay in the cache while all rows
/// of the other operand pass.
const AT_ONCE: usize = 24 << 10;

/// Rows of a batch from which on it pays to transpose the weights for the gradient of the input.
const MANY_ROWS: usize = 128;

/// Length of a part of a sum, along an operand with rows of `width` floats.
fn part_of_sum(width: usize) -> usize {
    (AT_ONCE / width.max(1)).clamp(16, 256)
}

/// Fully connected layer, `y = activation(x W + b)`, on a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Rows of x.
    pub batch: usize,
    /// Columns of x, rows of W.
    pub inputs: usize,
    /// Columns of W.
    pub outputs: usize,
    /// Activation of the outputs.
    pub activation: Activation,
}

/// Gradients of a linear layer. That of the weights is the product of the input, transposed,
/// with [`Self::sums`]: see [`Kernels::weight_gradient`] and [`Kernels::weight_step`].
#[derive(Clone, Debug, PartialEq)]
pub struct LinearGradient {
    /// Of the input, `[batch][inputs]`; `None` if it was not asked for.
    pub input: Option<Vec<f32>>,
    /// Of the sums before the activation, `[batch][outputs]`; `None` without an activation,
    /// where it is that of the output.
    pub sums: Option<Vec<f32>>,
    /// Of the bias, `[outputs]`.
    pub bias: Vec<f32>,
}

impl Linear {
    fn check_input(&self, x: &[f32]) {
        assert_eq!(x.len(), self.batch * self.inputs, "the input's length");
    }

    fn check_weight(&self, weight: &[f32]) {
        assert_eq!(weight.len(), self.inputs * self.outputs, "the weights' length");
    }

    fn check_output(&self, output: &[f32]) {
        assert_eq!(output.len(), self.batch * self.outputs, "the output's length");
    }
}

impl Kernels {
    /// The layer's output, `[batch][outputs]`, from `x: [batch][inputs]`,
    /// `weight: [inputs][outputs]` and `bias: [outputs]`.
    pub fn linear(self, layer: Linear, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        layer.check_input(x);
        layer.check_weight(weight);
        assert_eq!(bias.len(), layer.outputs, "the bias's length");
        self.run(Forward { layer, x, weight, bias })
    }

    /// The layer's gradients, from the forward pass's `weight` and `output`, and `gradient`,
    /// which is the output's: `[batch][outputs]`. The input's gradient is computed where
    /// `of_input` asks for it.
    pub fn linear_gradient(
        self,
        layer: Linear,
        weight: &[f32],
        output: &[f32],
        gradient: &[f32],
        of_input: bool,
    ) -> LinearGradient {
        layer.check_weight(weight);
        layer.check_output(output);
        assert_eq!(gradient.len(), output.len(), "the gradient's length");
        let Linear { batch, inputs, outputs, .. } = layer;
        let mut found = self.run(Backward { layer, output, gradient });
        if of_input {
            let sums = found.sums.as_deref().unwrap_or(gradient);
            found.input = Some(if batch < MANY_ROWS {
                self.run(InputGradient { layer, weight, sums })
            } else {
                let activation = Activation::Identity;
                let layer = Linear { batch, inputs: outputs, outputs: inputs, activation };
                self.linear(layer, sums, &transposed(weight, outputs), &vec![0.0; inputs])
            });
        }
        found
    }

    /// The gradient of the weights, `[inputs][outputs]`, from the input and
    /// [`LinearGradient::sums`].
    pub fn weight_gradient(self, layer: Linear, x: &[f32], sums: &[f32]) -> Vec<f32> {
        layer.check_input(x);
        layer.check_output(sums);
        self.run(WeightGradient(Product { layer, x, sums }))
    }

    /// Moves the weights, and the velocity if there is one, along [`Self::weight_gradient`]:
    /// the same values as by [`Self::sgd`], but the gradient is not written to memory.
    pub fn weight_step(
        self,
        layer: Linear,
        step: Sgd,
        x: &[f32],
        sums: &[f32],
        weight: &mut [f32],
        velocity: Option<&mut [f32]>,
    ) {
        layer.check_input(x);
        layer.check_output(sums);
        layer.check_weight(weight);
        if let Some(velocity) = &velocity {
            layer.check_weight(velocity);
        }
        self.run(WeightStep { product: Product { layer, x, sums }, step, weight, velocity });
    }
}

struct Forward<'a> {
    layer: Linear,
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
}

impl Job for Forward<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let Self { layer: Linear { batch, inputs, outputs, activation }, x, weight, bias } = self;
        let mut y: Vec<f32> = Vec::with_capacity(batch * outputs);
        let depth = part_of_sum(outputs);
        for begin in (0..inputs.max(1)).step_by(depth) {
            let walk = Walk {
                segments: 1,
                left_segment: 0,
                right_segment: 0,
                depth: depth.min(inputs - begin),
                left_step: 1,
                right_step: outputs,
            };
            for (row, rows) in parts(batch, S::ROWS) {
                let mut left = [x.as_ptr(); MAX_ROWS];
                for (index, left) in left.iter_mut().enumerate().take(rows) {
                    *left = x[(row + index) * inputs + begin..].as_ptr();
                }
                for (column, columns) in blocks::<S>(outputs) {
                    // SAFETY: the lengths are checked. The first part of the sum begins
                    // with the bias, and so writes every value of y before one is read.
                    unsafe {
                        let result = y.as_mut_ptr().add(row * outputs + column);
                        let (start, start_pitch) = match begin {
                            0 => (bias.as_ptr().add(column), 0),
                            _ => (result.cast_const(), outputs),
                        };
                        let right = weight.as_ptr().add(begin * outputs + column);
                        let ends = Ends { start, start_pitch, result, pitch: outputs };
                        S::tile(rows, columns, &Left::Rows(left), right, &walk, &ends);
                    }
                }
            }
        }
        // SAFETY: every value was written.
        unsafe { y.set_len(batch * outputs) }
        activation.apply(&mut y);
        y
    }
}

/// The rows of a matrix of so many columns as columns.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(matrix.len());
    for column in 0..columns {
        values.extend(matrix.iter().skip(column).step_by(columns));
    }
    values
}

struct Backward<'a> {
    layer: Linear,
    output: &'a [f32],
    gradient: &'a [f32],
}

impl Job for Backward<'_> {
    type Output = LinearGradient;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> LinearGradient {
        let Self { layer: Linear { outputs, activation, .. }, output, gradient } = self;
        let sums = (activation != Activation::Identity).then(|| {
            let mut sums = vec![0.0; gradient.len()];
            activation.backward(output, gradient, &mut sums);
            sums
        });
        let mut bias = vec![0.0; outputs];
        if outputs > 0 {
            add_rows(&mut bias, sums.as_deref().unwrap_or(gradient));
        }
        LinearGradient { input: None, sums, bias }
    }
}

/// The gradient of the input, of few rows.
struct InputGradient<'a> {
    layer: Linear,
    weight: &'a [f32],
    sums: &'a [f32],
}

impl Job for InputGradient<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let Self { layer: Linear { batch, inputs, outputs, .. }, weight, sums } = self;
        let mut dx = Vec::with_capacity(batch * inputs);
        let left = Matrix { values: sums.as_ptr(), pitch: outputs, rows: batch };
        let right = Matrix { values: weight.as_ptr(), pitch: outputs, rows: inputs };
        let result = dx.as_mut_ptr();
        // SAFETY: the lengths are checked, and every value of dx is written.
        unsafe {
            S::dot_products(&DotProducts { left, right, depth: outputs, result, pitch: inputs });
            dx.set_len(batch * inputs);
        }
        dx
    }
}

/// Product of the input, transposed, with the gradient of the sums.
#[derive(Clone, Copy)]
struct Product<'a> {
    layer: Linear,
    x: &'a [f32],
    sums: &'a [f32],
}

impl Product<'_> {
    /// First row of the batch and length of each part of the sum.
    fn parts(self) -> impl Iterator<Item = (usize, usize)> {
        parts(self.layer.batch, part_of_sum(self.layer.outputs))
    }

    /// Computes `rows` rows of the product from `row` on, or adds to them a part of the sum that
    /// is not the first.
    ///
    /// # Safety
    ///
    /// The instruction set must be there, the lengths be checked, `rows` be 1 to `S::ROWS`,
    /// the rows and the part exist, and `result` have room for the rows.
    #[inline(always)]
    unsafe fn rows<S: Simd>(
        self,
        (row, rows): (usize, usize),
        (begin, depth): (usize, usize),
        result: *mut f32,
    ) {
        let Linear { inputs, outputs, .. } = self.layer;
        let walk = Walk {
            segments: 1,
            left_segment: 0,
            right_segment: 0,
            depth,
            left_step: inputs,
            right_step: outputs,
        };
        for (column, columns) in blocks::<S>(outputs) {
            // SAFETY: as the caller promises.
            unsafe {
                let left = Left::Columns(self.x.as_ptr().add(begin * inputs + row));
                let right = self.sums.as_ptr().add(begin * outputs + column);
                let result = result.add(column);
                let (start, start_pitch) = match begin {
                    0 => (ZEROS.as_ptr(), 0),
                    _ => (result.cast_const(), outputs),
                };
                let ends = Ends { start, start_pitch, result, pitch: outputs };
                S::tile(rows, columns, &left, right, &walk, &ends);
            }
        }
    }
}

struct WeightGradient<'a>(Product<'a>);

impl Job for WeightGradient<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let Linear { batch, inputs, outputs, .. } = self.0.layer;
        if batch == 0 {
            return vec![0.0; inputs * outputs];
        }
        let mut values: Vec<f32> = Vec::with_capacity(inputs * outputs);
        for part in self.0.parts() {
            for (row, rows) in parts(inputs, S::ROWS) {
                // SAFETY: the lengths are checked, and there is room for every row. The first
                // part writes every value before another one reads it.
                unsafe {
                    let result = values.as_mut_ptr().add(row * outputs);
                    self.0.rows::<S>((row, rows), part, result);
                }
            }
        }
        // SAFETY: every value was written.
        unsafe { values.set_len(inputs * outputs) }
        values
    }
}

struct WeightStep<'a> {
    product: Product<'a>,
    step: Sgd,
    weight: &'a mut [f32],
    velocity: Option<&'a mut [f32]>,
}

impl Job for WeightStep<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { product, step, weight, mut velocity } = self;
        let Linear { batch, inputs, outputs, .. } = product.layer;
        if product.parts().nth(1).is_some() {
            // SAFETY: as the caller promises.
            let gradient = unsafe { WeightGradient(product).run::<S>() };
            return step.apply(weight, &gradient, velocity);
        }
        // A few rows of the gradient, which do not leave the cache.
        let mut gradient = vec![0.0; S::ROWS * outputs];
        for (row, rows) in parts(inputs, S::ROWS) {
            // SAFETY: the lengths are checked, and there is room for as many rows.
            unsafe { product.rows::<S>((row, rows), (0, batch), gradient.as_mut_ptr()) }
            let part = row * outputs..(row + rows) * outputs;
            let velocity = velocity.as_deref_mut().map(|values| &mut values[part.clone()]);
            step.apply(&mut weight[part], &gradient[..rows * outputs], velocity);
        }
    }
}
