//! Gaussian error linear unit (Hendrycks and Gimpel 2016) in its exact form.

use crate::functions::{Normal, normal};
use crate::instruction_set::Kernels;
use crate::simd::{Job, Simd};

impl Kernels {
    /// Each value times the standard normal distribution function of it.
    pub fn gelu(self, x: &[f32]) -> Vec<f32> {
        self.run(Forward(x))
    }

    /// The gradient of `x` from the output's, which is as long.
    pub fn gelu_gradient(self, x: &[f32], gradient: &[f32]) -> Vec<f32> {
        assert_eq!(x.len(), gradient.len(), "a gradient for every value");
        self.run(Backward { x, gradient })
    }
}

struct Forward<'a>(&'a [f32]);

impl Job for Forward<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let mut output = vec![0.0; self.0.len()];
        for (output, &x) in output.iter_mut().zip(self.0) {
            *output = x * normal(x).below;
        }
        output
    }
}

struct Backward<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
}

impl Job for Backward<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let mut found = vec![0.0; self.x.len()];
        for ((found, &x), &gradient) in found.iter_mut().zip(self.x).zip(self.gradient) {
            let Normal { below, density } = normal(x);
            *found = gradient * (below + x * density);
        }
        found
    }
}
