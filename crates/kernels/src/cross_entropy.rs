//! Softmax and cross-entropy in one pass.

use crate::functions::{exp, largest, sum};
use crate::instruction_set::Kernels;
use crate::simd::{Job, Simd};

/// Cross-entropy of a batch, and what its gradient needs.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Sum over the rows of `-sum(target * log(softmax(logits)))`.
    pub loss: f32,
    /// Gradient of the loss by the logits, as long as these.
    pub gradient: Vec<f32>,
}

impl Kernels {
    /// The cross-entropy of `logits` against `targets`, both rows of `width` values.
    ///
    /// A row of targets may be any distribution, or weights: it need not sum to 1.
    pub fn cross_entropy(self, width: usize, logits: &[f32], targets: &[f32]) -> CrossEntropy {
        assert_eq!(logits.len(), targets.len(), "a target for every logit");
        assert!(width > 0 && logits.len().is_multiple_of(width), "whole rows");
        self.run(Forward { width, logits, targets })
    }
}

struct Forward<'a> {
    width: usize,
    logits: &'a [f32],
    targets: &'a [f32],
}

impl Job for Forward<'_> {
    type Output = CrossEntropy;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> CrossEntropy {
        let Self { width, logits, targets } = self;
        let mut gradient = vec![0.0; logits.len()];
        let mut loss = 0.0;
        let rows = logits.chunks_exact(width).zip(targets.chunks_exact(width));
        for ((logits, targets), gradient) in rows.zip(gradient.chunks_exact_mut(width)) {
            // NaN is passed over here, and comes back by the exponentials.
            let most = largest(logits);
            for (exponential, &logit) in gradient.iter_mut().zip(logits) {
                *exponential = exp(logit - most);
            }
            let exponentials = sum([gradient], |[value]| f64::from(value));
            let target = sum([targets], |[target]| f64::from(target));
            let log_sum = f64::from(most) + exponentials.ln();
            loss -= sum([logits, targets], |[logit, target]| {
                f64::from(target) * (f64::from(logit) - log_sum)
            });
            let scale = (target / exponentials) as f32;
            for (gradient, &target) in gradient.iter_mut().zip(targets) {
                *gradient = *gradient * scale - target;
            }
        }
        CrossEntropy { loss: loss as f32, gradient }
    }
}
