//! Layer normalisation.

use crate::add_rows;
use crate::functions::sum;
use crate::instruction_set::Kernels;
use crate::simd::{Job, Simd};

/// Gradients of a layer normalisation.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormGradient {
    /// Of the input, as long as this.
    pub input: Vec<f32>,
    /// Of the factors, `[width]`.
    pub gamma: Vec<f32>,
    /// Of the shifts, `[width]`.
    pub beta: Vec<f32>,
}

impl Kernels {
    /// Rows of `x` less their mean, over the root of their variance plus `epsilon`, then times
    /// `gamma` and plus `beta`, both as long as a row (Ba, Kiros and Hinton 2016).
    pub fn layer_norm(self, x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) -> Vec<f32> {
        check_rows(x, gamma);
        assert_eq!(beta.len(), gamma.len(), "a shift for every factor");
        self.run(Forward { x, gamma, beta, epsilon })
    }

    /// The gradients from that of the output, which is as long as `x`.
    pub fn layer_norm_gradient(
        self,
        x: &[f32],
        gamma: &[f32],
        gradient: &[f32],
        epsilon: f32,
    ) -> LayerNormGradient {
        check_rows(x, gamma);
        assert_eq!(x.len(), gradient.len(), "a gradient for every value");
        self.run(Backward { x, gamma, gradient, epsilon })
    }
}

fn check_rows(x: &[f32], gamma: &[f32]) {
    assert!(!gamma.is_empty() && x.len().is_multiple_of(gamma.len()), "whole rows");
}

/// Mean of a row, and the factor that makes its variance 1.
#[inline(always)]
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let share = 1.0 / row.len() as f32;
    let mean = sum([row], |[x]| x) * share;
    let variance = sum([row], |[x]| (x - mean) * (x - mean)) * share;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

struct Forward<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
}

impl Job for Forward<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let Self { x, gamma, beta, epsilon } = self;
        let (width, mut output) = (gamma.len(), vec![0.0; x.len()]);
        for (row, output) in x.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
            let (mean, factor) = moments(row, epsilon);
            for (((output, x), gamma), beta) in output.iter_mut().zip(row).zip(gamma).zip(beta) {
                *output = (x - mean) * factor * gamma + beta;
            }
        }
        output
    }
}

struct Backward<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    gradient: &'a [f32],
    epsilon: f32,
}

impl Job for Backward<'_> {
    type Output = LayerNormGradient;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> LayerNormGradient {
        let Self { x, gamma, gradient, epsilon } = self;
        let width = gamma.len();
        let share = 1.0 / width as f32;
        let mut input = vec![0.0; x.len()];
        let (mut of_gamma, mut of_beta) = (vec![0.0; width], vec![0.0; width]);
        let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
        for ((row, gradient), input) in rows.zip(input.chunks_exact_mut(width)) {
            let (mean, factor) = moments(row, epsilon);
            let shift = sum([gradient, gamma], |[g, gamma]| g * gamma) * share;
            let slope = sum([gradient, gamma, row], |[g, gamma, x]| g * gamma * (x - mean));
            let slope = slope * share * factor * factor;
            for (((input, x), g), gamma) in input.iter_mut().zip(row).zip(gradient).zip(gamma) {
                *input = factor * (g * gamma - shift - (x - mean) * slope);
            }
            for ((of_gamma, x), g) in of_gamma.iter_mut().zip(row).zip(gradient) {
                *of_gamma += g * (x - mean) * factor;
            }
            add_rows(&mut of_beta, gradient);
        }
        LayerNormGradient { input, gamma: of_gamma, beta: of_beta }
    }
}
