//! Convolutions as implicit matrix products over padded images, without a copy of their
//! windows.
//!
//! A pixel of the output is a row of the left operand: a pointer into the padded image, from
//! where the values of one row of the kernel lie side by side. Weights are packed once a
//! call. Image by image, so that everything but the weights stays in the cache.

mod backward;

use crate::Activation;
use crate::instruction_set::Kernels;
use crate::pooling::MaxPool;
use crate::simd::{Job, Simd};
use crate::tile::{Ends, Left, MAX_ROWS, Walk, blocks, parts};

pub use backward::BlockGradient;

/// Two-dimensional cross-correlation of images `[height][width][inputs]`, zeros around them.
///
/// One dimension is the case of height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels that come in.
    pub inputs: usize,
    /// Channels that come out.
    pub outputs: usize,
    /// Height and width of an image.
    pub size: [usize; 2],
    /// Height and width of the kernel, no larger than the padded image.
    pub kernel: [usize; 2],
    /// Steps between windows, at least 1.
    pub stride: [usize; 2],
    /// Zeros added on each side, fewer than the kernel is long.
    pub padding: [usize; 2],
}

/// A convolution with what follows it: the maximum over windows, and the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionBlock {
    /// The convolution.
    pub convolution: Convolution,
    /// Pooling, before or after the activation: that makes no difference.
    pub pool: Option<MaxPool>,
    /// The activation.
    pub activation: Activation,
}

/// Output of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockOutput {
    /// `[batch][rows][columns][outputs]`.
    pub values: Vec<f32>,
    /// For each of the values the pixel of its window that it comes from; empty without
    /// pooling.
    pub chosen: Vec<u32>,
}

impl Convolution {
    /// Height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        let padded = self.padded();
        core::array::from_fn(|axis| (padded[axis] - self.kernel[axis]) / self.stride[axis] + 1)
    }

    fn padded(&self) -> [usize; 2] {
        core::array::from_fn(|axis| self.size[axis] + 2 * self.padding[axis])
    }

    /// Floats of an image.
    fn image(&self) -> usize {
        self.size[0] * self.size[1] * self.inputs
    }

    /// Floats of a padded image.
    fn padded_image(&self) -> usize {
        let [rows, columns] = self.padded();
        rows * columns * self.inputs
    }

    /// Floats of the weights.
    fn weights(&self) -> usize {
        self.outputs * self.inputs * self.kernel[0] * self.kernel[1]
    }

    fn check(&self, weight: &[f32]) {
        assert!(self.inputs > 0 && self.outputs > 0, "a convolution has channels");
        assert!(self.stride.iter().all(|&stride| stride > 0), "windows move");
        let padded = self.padded();
        for (axis, &padded) in padded.iter().enumerate() {
            assert!(self.padding[axis] < self.kernel[axis], "padding is less than the kernel");
            assert!(self.kernel[axis] <= padded, "the kernel is inside the padded image");
        }
        assert_eq!(weight.len(), self.weights(), "the weights' length");
    }

    /// Copies an image into the middle of a padded one, whose border is already zero.
    #[inline(always)]
    fn pad(&self, image: &[f32], padded: &mut [f32]) {
        let ([_, columns], row) = (self.padded(), self.size[1] * self.inputs);
        let [top, left] = self.padding;
        for (index, image) in image.chunks_exact(row).enumerate() {
            let to = ((top + index) * columns + left) * self.inputs;
            padded[to..][..row].copy_from_slice(image);
        }
    }
}

impl ConvolutionBlock {
    /// Height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        let size = self.convolution.output();
        self.pool.map_or(size, |pool| pool.output(size))
    }

    /// Floats of the output of one image.
    fn values(&self) -> usize {
        let [rows, columns] = self.output();
        rows * columns * self.convolution.outputs
    }

    fn check(&self, x: &[f32], weight: &[f32]) {
        self.convolution.check(weight);
        assert!(x.len().is_multiple_of(self.convolution.image()), "whole images");
    }
}

impl Kernels {
    /// The block's output for `x: [batch][height][width][inputs]`,
    /// `weight: [outputs][inputs][height][width]` and `bias: [outputs]`.
    pub fn convolution(
        self,
        block: ConvolutionBlock,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
    ) -> BlockOutput {
        block.check(x, weight);
        assert_eq!(bias.len(), block.convolution.outputs, "the bias's length");
        self.run(Forward { block, x, weight, bias })
    }
}

struct Forward<'a> {
    block: ConvolutionBlock,
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
}

impl Job for Forward<'_> {
    type Output = BlockOutput;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> BlockOutput {
        let Self { block, x, weight, bias } = self;
        let ConvolutionBlock { convolution, pool, activation } = block;
        let packed = packed::<S>(&convolution, weight);
        let ([rows, columns], inputs) = (convolution.output(), convolution.inputs);
        let (pixels, outputs) = (rows * columns, convolution.outputs);
        let (_, across) = (convolution.padded()[0], convolution.padded()[1]);
        let batch = x.len() / convolution.image();
        let mut padded = vec![0.0; convolution.padded_image()];
        let mut before = vec![0.0; if pool.is_some() { pixels * outputs } else { 0 }];
        let mut values = vec![0.0; batch * block.values()];
        let mut chosen = vec![0; if pool.is_some() { values.len() } else { 0 }];
        let sum = Sum {
            rows: convolution.kernel[0],
            pitch: across * inputs,
            depth: convolution.kernel[1] * inputs,
        };
        let grid = Grid {
            size: [rows, columns],
            down: convolution.stride[0] * across * inputs,
            across: convolution.stride[1] * inputs,
        };
        for (index, image) in x.chunks_exact(convolution.image()).enumerate() {
            convolution.pad(image, &mut padded);
            let output = &mut values[index * block.values()..][..block.values()];
            let to = if pool.is_some() { &mut before } else { &mut *output };
            assert_eq!(to.len(), pixels * outputs);
            // SAFETY: windows are inside the padded image, because the kernel fits into it
            // and the output's size follows from that; `to` has a value for each of them.
            unsafe {
                let start = (bias.as_ptr(), 1);
                product::<S>(grid, sum, padded.as_ptr(), &packed, outputs, start, to.as_mut_ptr());
            }
            if let Some(pool) = pool {
                let chosen = &mut chosen[index * block.values()..][..block.values()];
                pool.forward([rows, columns], outputs, &before, output, chosen);
            }
            activation.apply(output);
        }
        BlockOutput { values, chosen }
    }
}

/// Weights of the forward pass by blocks of output channels, each
/// `[row][column][input][output]`.
#[inline(always)]
fn packed<S: Simd>(convolution: &Convolution, weight: &[f32]) -> Vec<f32> {
    let Convolution { inputs, outputs, kernel, .. } = *convolution;
    let taps = kernel[0] * kernel[1];
    let mut packed = Vec::with_capacity(weight.len());
    for (first, columns) in blocks::<S>(outputs) {
        for tap in 0..taps {
            for input in 0..inputs {
                let from = weight[(first * inputs + input) * taps + tap..].iter();
                packed.extend(from.step_by(inputs * taps).take(columns.floats::<S>()));
            }
        }
    }
    packed
}

/// Pixels of an output and their distances in the padded image.
#[derive(Clone, Copy)]
struct Grid {
    size: [usize; 2],
    /// Floats from a pixel to the one below.
    down: usize,
    /// Floats from a pixel to the next one.
    across: usize,
}

/// Sum of a pixel: so many rows, `pitch` apart, of `depth` products.
#[derive(Clone, Copy)]
struct Sum {
    rows: usize,
    pitch: usize,
    depth: usize,
}

/// Every pixel of the grid times the packed weights, `[pixel][outputs]`, from `start`: values
/// and 1, or zeros and 0, the distance of two columns' starts.
///
/// # Safety
///
/// The sum of every pixel of the grid must be inside the image at `image`, the packed weights
/// be as long as the sum for each output, and `result` have room for the pixels.
#[inline(always)]
unsafe fn product<S: Simd>(
    grid: Grid,
    sum: Sum,
    image: *const f32,
    packed: &[f32],
    outputs: usize,
    start: (*const f32, usize),
    result: *mut f32,
) {
    let [rows, columns] = grid.size;
    let length = sum.rows * sum.depth;
    for (column, width) in blocks::<S>(outputs) {
        let right = packed[column * length..].as_ptr();
        let floats = width.floats::<S>();
        let walk = Walk {
            segments: sum.rows,
            left_segment: sum.pitch,
            right_segment: sum.depth * floats,
            depth: sum.depth,
            left_step: 1,
            right_step: floats,
        };
        for (first, count) in parts(rows * columns, S::ROWS) {
            let mut left = [image; MAX_ROWS];
            let (mut y, mut x) = (first / columns, first % columns);
            // SAFETY: as the caller promises.
            unsafe {
                for left in left.iter_mut().take(count) {
                    *left = image.add(y * grid.down + x * grid.across);
                    x += 1;
                    if x == columns {
                        (y, x) = (y + 1, 0);
                    }
                }
                let ends = Ends {
                    start: start.0.add(column * start.1),
                    start_pitch: 0,
                    result: result.add(first * outputs + column),
                    pitch: outputs,
                };
                S::tile(count, width, &Left::Rows(left), right, &walk, &ends);
            }
        }
    }
}
