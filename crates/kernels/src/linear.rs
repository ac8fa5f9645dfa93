//! Fully connected layers.

use crate::instruction_set::Kernels;
use crate::simd::{Job, Simd};
use crate::tile::{DotProducts, Ends, Left, MAX_ROWS, Matrix, Walk, ZEROS, blocks, parts};
use crate::{Activation, add_rows};

/// Most floats of the weights that a part of the sum takes: they stay in the cache while all
/// rows of the batch pass.
const WEIGHTS_AT_ONCE: usize = 24 << 10;

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

/// Gradients of a linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearGradient {
    /// Of the input, `[batch][inputs]`; `None` if it was not asked for.
    pub input: Option<Vec<f32>>,
    /// Of the weights, `[inputs][outputs]`.
    pub weight: Vec<f32>,
    /// Of the bias, `[outputs]`.
    pub bias: Vec<f32>,
}

impl Linear {
    fn check(&self, x: &[f32], weight: &[f32]) {
        assert_eq!(x.len(), self.batch * self.inputs, "the input's length");
        assert_eq!(weight.len(), self.inputs * self.outputs, "the weights' length");
    }
}

impl Kernels {
    /// The layer's output, `[batch][outputs]`, from `x: [batch][inputs]`,
    /// `weight: [inputs][outputs]` and `bias: [outputs]`.
    pub fn linear(self, layer: Linear, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        layer.check(x, weight);
        assert_eq!(bias.len(), layer.outputs, "the bias's length");
        self.run(Forward { layer, x, weight, bias })
    }

    /// The layer's gradients, from the forward pass's `x`, `weight` and `output`, and
    /// `gradient`, which is the output's: `[batch][outputs]`. The input's gradient is
    /// computed where `of_input` asks for it.
    pub fn linear_gradient(
        self,
        layer: Linear,
        x: &[f32],
        weight: &[f32],
        output: &[f32],
        gradient: &[f32],
        of_input: bool,
    ) -> LinearGradient {
        layer.check(x, weight);
        assert_eq!(output.len(), layer.batch * layer.outputs, "the output's length");
        assert_eq!(gradient.len(), output.len(), "the gradient's length");
        self.run(Backward { layer, x, weight, output, gradient, of_input })
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
        let depth = (WEIGHTS_AT_ONCE / outputs.max(1)).clamp(16, 256);
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

struct Backward<'a> {
    layer: Linear,
    x: &'a [f32],
    weight: &'a [f32],
    output: &'a [f32],
    gradient: &'a [f32],
    of_input: bool,
}

impl Job for Backward<'_> {
    type Output = LinearGradient;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> LinearGradient {
        let Self { layer, x, weight, output, gradient, of_input } = self;
        let Linear { batch, inputs, outputs, activation } = layer;
        let mut before = Vec::new();
        let dy = match activation {
            Activation::Identity => gradient,
            Activation::Relu => {
                before.resize(gradient.len(), 0.0);
                activation.backward(output, gradient, &mut before);
                &before
            }
        };
        let mut bias = vec![0.0; outputs];
        if outputs > 0 {
            add_rows(&mut bias, dy);
        }
        let input = of_input.then(|| {
            let mut dx = Vec::with_capacity(batch * inputs);
            let left = Matrix { values: dy.as_ptr(), pitch: outputs, rows: batch };
            let right = Matrix { values: weight.as_ptr(), pitch: outputs, rows: inputs };
            // SAFETY: the lengths are checked, and every value of dx is written.
            unsafe {
                let result = dx.as_mut_ptr();
                S::dot_products(&DotProducts {
                    left,
                    right,
                    depth: outputs,
                    result,
                    pitch: inputs,
                });
                dx.set_len(batch * inputs);
            }
            dx
        });
        let mut dw = Vec::with_capacity(inputs * outputs);
        let walk = Walk {
            segments: 1,
            left_segment: 0,
            right_segment: 0,
            depth: batch,
            left_step: inputs,
            right_step: outputs,
        };
        for (row, rows) in parts(inputs, S::ROWS) {
            for (column, columns) in blocks::<S>(outputs) {
                // SAFETY: the lengths are checked, and every value of dw is written.
                unsafe {
                    let result: *mut f32 = dw.as_mut_ptr();
                    let result = result.add(row * outputs + column);
                    let left = Left::Columns(x.as_ptr().add(row));
                    let right = dy.as_ptr().add(column);
                    let ends =
                        Ends { start: ZEROS.as_ptr(), start_pitch: 0, result, pitch: outputs };
                    S::tile(rows, columns, &left, right, &walk, &ends);
                }
            }
        }
        // SAFETY: every value was written.
        unsafe { dw.set_len(inputs * outputs) }
        LinearGradient { input, weight: dw, bias }
    }
}
