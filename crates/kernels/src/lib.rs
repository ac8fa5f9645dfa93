//! Kernels of training on the CPU: convolutions with pooling, pooling, linear and recurrent
//! layers, causal self-attention, layer normalisation, GELU, softmax cross-entropy, each forward
//! and backward, and the steps of SGD and Adam, in single precision on one thread.
//!
//! Tensors are slices: images `[batch][row][column][channel]`, weights of a convolution
//! `[output][input][row][column]`, matrices row by row. A slice of another length than the
//! shape asks for is a panic. NaN and infinity go through every kernel as through plain
//! loops, so a model that diverges is seen to diverge.
//!
//! The only crate of the workspace with `unsafe` code. It must not know of models, tensors
//! with gradients, or training.

#![allow(unsafe_code, reason = "vector instructions and loops without bounds checks")]
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod adam;
mod attention;
mod convolution;
mod cross_entropy;
mod functions;
mod gelu;
mod instruction_set;
mod layer_norm;
mod linear;
mod pooling;
mod recurrent;
mod sgd;
mod simd;
mod tile;

pub use adam::Adam;
pub use attention::Attention;
pub use convolution::{BlockGradient, BlockOutput, Convolution, ConvolutionBlock};
pub use cross_entropy::CrossEntropy;
pub use instruction_set::{InstructionSet, Kernels};
pub use layer_norm::LayerNormGradient;
pub use linear::{Linear, LinearGradient};
pub use pooling::{MaxPool, MeanPool};
pub use recurrent::{Cell, Recurrent, RecurrentGradient, States};
pub use sgd::Sgd;

/// Activation after a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Identity,
    /// Rectified linear unit: zero in place of a value below zero; NaN stays.
    Relu,
}

impl Activation {
    #[inline(always)]
    fn apply(self, values: &mut [f32]) {
        if self == Self::Relu {
            for value in values {
                *value = if *value <= 0.0 { 0.0 } else { *value };
            }
        }
    }

    /// Writes the gradient before the activation, given the one after it and the activation's
    /// output.
    #[inline(always)]
    fn backward(self, output: &[f32], gradient: &[f32], before: &mut [f32]) {
        match self {
            Self::Identity => before.copy_from_slice(gradient),
            Self::Relu => {
                for ((before, &output), &gradient) in before.iter_mut().zip(output).zip(gradient) {
                    *before = if output <= 0.0 { 0.0 } else { gradient };
                }
            }
        }
    }
}

/// Adds every row of `rows` to `sum`, which is as long as one of them.
#[inline(always)]
fn add_rows(sum: &mut [f32], rows: &[f32]) {
    for row in rows.chunks_exact(sum.len()) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += value;
        }
    }
}
