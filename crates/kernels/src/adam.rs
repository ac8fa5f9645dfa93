//! Adam in place.

use crate::instruction_set::Kernels;
use crate::simd::{Job, Simd};

/// Step of Adam: `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`, then
/// `w -= decay w + rate m / (sqrt(v) + epsilon)`.
///
/// The bias correction of the step is part of `rate` and `epsilon` (Kingma and Ba 2015, end of
/// section 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate, corrected.
    pub rate: f32,
    /// Decay of the mean gradient m.
    pub beta1: f32,
    /// Decay of the mean squared gradient v.
    pub beta2: f32,
    /// Term beside the root of v, corrected.
    pub epsilon: f32,
    /// Share of the weights that is taken away.
    pub decay: f32,
}

impl Kernels {
    /// Moves the weights, the mean gradient and the mean squared gradient. All are of one
    /// length.
    pub fn adam(
        self,
        step: Adam,
        weights: &mut [f32],
        gradient: &[f32],
        [mean, square]: [&mut [f32]; 2],
    ) {
        assert_eq!(weights.len(), gradient.len(), "a gradient for every weight");
        assert_eq!(weights.len(), mean.len(), "a mean for every weight");
        assert_eq!(weights.len(), square.len(), "a mean square for every weight");
        self.run(Update { step, weights, gradient, mean, square });
    }
}

struct Update<'a> {
    step: Adam,
    weights: &'a mut [f32],
    gradient: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
}

impl Job for Update<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { step: Adam { rate, beta1, beta2, epsilon, decay }, .. } = self;
        let moments = self.mean.iter_mut().zip(self.square);
        let pairs = self.weights.iter_mut().zip(self.gradient);
        for ((weight, &gradient), (mean, square)) in pairs.zip(moments) {
            *mean = *mean * beta1 + gradient * (1.0 - beta1);
            *square = *square * beta2 + gradient * gradient * (1.0 - beta2);
            *weight -= *weight * decay + *mean * rate / (square.sqrt() + epsilon);
        }
    }
}
