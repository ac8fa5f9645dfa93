//! Gradients of a convolution block.
//!
//! Of the weights: pixels of the padded image times the gradient of the output, summed over
//! the pixels of every image. Of the input: again a convolution, of the output's gradient
//! with the mirrored kernel. A stride divides the pixels of the input into phases, each of
//! which meets its own part of the kernel; together they cost what the forward pass does.

use super::{Convolution, ConvolutionBlock, Grid, Sum, product};
use crate::add_rows;
use crate::instruction_set::Kernels;
use crate::simd::{Job, Simd};
use crate::tile::{Ends, Left, Walk, ZEROS, blocks, parts};

/// Gradients of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockGradient {
    /// Of the input, `[batch][height][width][inputs]`; `None` if it was not asked for.
    pub input: Option<Vec<f32>>,
    /// Of the weights, `[outputs][inputs][height][width]`.
    pub weight: Vec<f32>,
    /// Of the bias, `[outputs]`.
    pub bias: Vec<f32>,
}

impl Kernels {
    /// The block's gradients, from the forward pass's `x`, `weight`, output `values` and
    /// `chosen` pixels, and `gradient`, which is the output's. The input's gradient is
    /// computed where `of_input` asks for it.
    #[allow(clippy::too_many_arguments, reason = "everything that a gradient depends on")]
    pub fn convolution_gradient(
        self,
        block: ConvolutionBlock,
        x: &[f32],
        weight: &[f32],
        values: &[f32],
        chosen: &[u32],
        gradient: &[f32],
        of_input: bool,
    ) -> BlockGradient {
        block.check(x, weight);
        let batch = x.len() / block.convolution.image();
        assert_eq!(values.len(), batch * block.values(), "the output's length");
        assert_eq!(gradient.len(), values.len(), "the gradient's length");
        if block.pool.is_some() {
            assert_eq!(chosen.len(), values.len(), "a pixel for every value");
        }
        self.run(Backward { block, x, weight, values, chosen, gradient, of_input })
    }
}

struct Backward<'a> {
    block: ConvolutionBlock,
    x: &'a [f32],
    weight: &'a [f32],
    values: &'a [f32],
    chosen: &'a [u32],
    gradient: &'a [f32],
    of_input: bool,
}

impl Job for Backward<'_> {
    type Output = BlockGradient;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> BlockGradient {
        let Self { block, x, weight, values, chosen, gradient, of_input } = self;
        let ConvolutionBlock { convolution, pool, activation } = block;
        let (size, outputs) = (convolution.output(), convolution.outputs);
        let surroundings = Surroundings::new(&convolution, of_input);
        let mut dy = vec![0.0; surroundings.floats(outputs)];
        let inside = surroundings.first(outputs);
        let pitch = surroundings.columns * outputs;
        let mut phases = Vec::new();
        if of_input {
            phases = Phase::all::<S>(&convolution, &surroundings, weight);
        }
        let image = convolution.image();
        let mut input = vec![0.0; if of_input { x.len() } else { 0 }];
        let mut scratch = vec![0.0; if convolution.stride == [1, 1] { 0 } else { image }];
        let mut padded = vec![0.0; convolution.padded_image()];
        let mut panel = vec![0.0; size[0] * size[1] * S::VECTORS * S::LANES];
        let mut sums = vec![0.0; weight.len()];
        let mut bias = vec![0.0; outputs];
        let mut before = vec![0.0; block.values()];
        for (index, x) in x.chunks_exact(image).enumerate() {
            let range = index * block.values()..(index + 1) * block.values();
            activation.backward(&values[range.clone()], &gradient[range.clone()], &mut before);
            add_rows(&mut bias, &before);
            let to = &mut dy[inside..];
            match pool {
                Some(pool) => {
                    pool.backward(size, outputs, &before, &chosen[range], to, pitch);
                }
                None => {
                    let row = size[1] * outputs;
                    for (index, before) in before.chunks_exact(row).enumerate() {
                        to[index * pitch..][..row].copy_from_slice(before);
                    }
                }
            }
            convolution.pad(x, &mut padded);
            add_weight_gradient::<S>(&convolution, &padded, to, pitch, &mut panel, &mut sums);
            if of_input {
                let input = &mut input[index * image..][..image];
                for phase in &phases {
                    phase.add_to::<S>(&convolution, &dy, &mut scratch, input);
                }
            }
        }
        let input = of_input.then_some(input);
        BlockGradient { input, weight: unpacked(&convolution, &sums), bias }
    }
}

/// Adds one image's gradient of the weights to `sums: [row][column][input][output]`. Rows of
/// `dy` are `pitch` floats apart; `panel` has room for a block of its channels.
#[inline(always)]
fn add_weight_gradient<S: Simd>(
    convolution: &Convolution,
    padded: &[f32],
    dy: &[f32],
    pitch: usize,
    panel: &mut [f32],
    sums: &mut [f32],
) {
    let Convolution { inputs, outputs, kernel, stride, .. } = *convolution;
    let [rows, columns] = convolution.output();
    let across = convolution.padded()[1] * inputs;
    assert!(dy.len() >= (rows - 1) * pitch + columns * outputs);
    for (column, width) in blocks::<S>(outputs) {
        let floats = width.floats::<S>();
        // One block is all of dy, or it is copied, so that it lies together in the cache.
        let (right, right_segment, right_step) = if floats == outputs {
            (dy.as_ptr(), pitch, outputs)
        } else {
            let mut to = panel.chunks_exact_mut(floats);
            for row in 0..rows {
                for (pixel, to) in to.by_ref().take(columns).enumerate() {
                    let from = row * pitch + pixel * outputs + column;
                    copy(&dy[from..][..floats], to);
                }
            }
            (panel.as_ptr(), columns * floats, floats)
        };
        let walk = Walk {
            segments: rows,
            left_segment: stride[0] * across,
            right_segment,
            depth: columns,
            left_step: stride[1] * inputs,
            right_step,
        };
        for row in 0..kernel[0] {
            for (first, count) in parts(kernel[1] * inputs, S::ROWS) {
                // SAFETY: the windows are inside the padded image, `right` has a row of
                // `columns` pixels for each segment, and `sums` is as long as the weights.
                unsafe {
                    let left = Left::Columns(padded[row * across + first..].as_ptr());
                    let at = (row * kernel[1] * inputs + first) * outputs + column;
                    let result = sums.as_mut_ptr().add(at);
                    let ends = Ends { start: result, start_pitch: outputs, result, pitch: outputs };
                    S::tile(count, width, &left, right, &walk, &ends);
                }
            }
        }
    }
}

/// A copy of few floats, without a call.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Sums `[row][column][input][output]` in the order of the weights.
#[inline(always)]
fn unpacked(convolution: &Convolution, sums: &[f32]) -> Vec<f32> {
    let Convolution { inputs, outputs, kernel, .. } = *convolution;
    let mut weight = Vec::with_capacity(sums.len());
    for output in 0..outputs {
        for input in 0..inputs {
            let from = sums[input * outputs + output..].iter();
            weight.extend(from.step_by(inputs * outputs).take(kernel[0] * kernel[1]));
        }
    }
    weight
}

/// Room around the gradient of an output, from which the input's gradient is computed.
struct Surroundings {
    rows: usize,
    columns: usize,
    /// Zeros before the first row and column.
    lead: [usize; 2],
}

impl Surroundings {
    fn new(convolution: &Convolution, of_input: bool) -> Self {
        let size = convolution.output();
        if !of_input {
            return Self { rows: size[0], columns: size[1], lead: [0; 2] };
        }
        let Convolution { kernel, stride, padding, .. } = *convolution;
        // Input pixel i has the taps k of which i + padding - k is a multiple of the stride,
        // and by these the output pixels from (i + padding) / stride backwards.
        let lead = core::array::from_fn(|axis| {
            (kernel[axis] - 1) / stride[axis] - padding[axis] / stride[axis]
        });
        let length = |axis: usize| {
            let last = (convolution.size[axis] - 1 + padding[axis]) / stride[axis];
            lead[axis] + size[axis].max(last + 1)
        };
        Self { rows: length(0), columns: length(1), lead }
    }

    fn floats(&self, channels: usize) -> usize {
        self.rows * self.columns * channels
    }

    /// Place of the first pixel of the output.
    fn first(&self, channels: usize) -> usize {
        (self.lead[0] * self.columns + self.lead[1]) * channels
    }
}

/// Pixels of the input that meet the same taps of the kernel.
struct Phase {
    /// First pixel of the input.
    first: [usize; 2],
    /// Pixels of the surrounded gradient.
    grid: Grid,
    sum: Sum,
    /// Place of the first pixel's sum.
    start: usize,
    /// Mirrored weights by blocks of input channels, each `[row][column][output][input]`.
    packed: Vec<f32>,
}

impl Phase {
    fn all<S: Simd>(
        convolution: &Convolution,
        surroundings: &Surroundings,
        weight: &[f32],
    ) -> Vec<Self> {
        let [down, across] = convolution.stride;
        (0..down * across)
            .filter_map(|phase| {
                Self::new::<S>(convolution, surroundings, weight, [phase / across, phase % across])
            })
            .collect()
    }

    /// The phase of the taps `tap`, `tap + stride` and so on; `None` without a pixel.
    fn new<S: Simd>(
        convolution: &Convolution,
        surroundings: &Surroundings,
        weight: &[f32],
        tap: [usize; 2],
    ) -> Option<Self> {
        let Convolution { inputs, outputs, size, kernel, stride, padding } = *convolution;
        let taps: [usize; 2] = core::array::from_fn(|axis| {
            kernel[axis].saturating_sub(tap[axis]).div_ceil(stride[axis])
        });
        let first: [usize; 2] = core::array::from_fn(|axis| {
            (tap[axis] + stride[axis] - padding[axis] % stride[axis]) % stride[axis]
        });
        let pixels: [usize; 2] = core::array::from_fn(|axis| {
            size[axis].saturating_sub(first[axis]).div_ceil(stride[axis])
        });
        if taps.contains(&0) || pixels.contains(&0) {
            return None;
        }
        let pitch = surroundings.columns * outputs;
        let [row, column]: [usize; 2] = core::array::from_fn(|axis| {
            let last = (first[axis] + padding[axis]) / stride[axis];
            surroundings.lead[axis] + last - (taps[axis] - 1)
        });
        let mut packed = Vec::with_capacity(taps[0] * taps[1] * inputs * outputs);
        for (first, columns) in blocks::<S>(inputs) {
            for y in (0..taps[0]).rev() {
                for x in (0..taps[1]).rev() {
                    let at = (tap[0] + y * stride[0]) * kernel[1] + tap[1] + x * stride[1];
                    for output in 0..outputs {
                        let from = (output * inputs + first) * kernel[0] * kernel[1] + at;
                        let from = weight[from..].iter().step_by(kernel[0] * kernel[1]);
                        packed.extend(from.take(columns.floats::<S>()));
                    }
                }
            }
        }
        Some(Self {
            first,
            grid: Grid { size: pixels, down: pitch, across: outputs },
            sum: Sum { rows: taps[0], pitch, depth: taps[1] * outputs },
            start: row * pitch + column * outputs,
            packed,
        })
    }

    /// Writes the phase's pixels of one image's gradient.
    #[inline(always)]
    fn add_to<S: Simd>(
        &self,
        convolution: &Convolution,
        dy: &[f32],
        scratch: &mut [f32],
        image: &mut [f32],
    ) {
        let Convolution { inputs, size, stride, .. } = *convolution;
        let Self { grid, sum, .. } = *self;
        let [rows, columns] = grid.size;
        let direct = stride == [1, 1];
        let to = if direct { &mut *image } else { &mut *scratch };
        let last = self.start + (rows - 1 + sum.rows - 1) * sum.pitch;
        let last = last + (columns - 1) * grid.across + sum.depth;
        assert!(last <= dy.len() && rows * columns * inputs <= to.len());
        // SAFETY: that every pixel's sum is inside dy was just checked for the last one.
        unsafe {
            let from = dy.as_ptr().add(self.start);
            let start = (ZEROS.as_ptr(), 0);
            product::<S>(grid, sum, from, &self.packed, inputs, start, to.as_mut_ptr());
        }
        if direct {
            return;
        }
        let mut pixels = scratch.chunks_exact(inputs);
        for row in 0..rows {
            let y = self.first[0] + row * stride[0];
            for (column, pixel) in pixels.by_ref().take(columns).enumerate() {
                let x = self.first[1] + column * stride[1];
                copy(pixel, &mut image[(y * size[1] + x) * inputs..][..inputs]);
            }
        }
    }
}
