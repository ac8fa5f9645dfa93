//! Softmax and cross-entropy in one pass.

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
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for (exponential, &logit) in gradient.iter_mut().zip(logits) {
                *exponential = exp(logit - largest);
            }
            let sum: f64 = gradient.iter().map(|&value| f64::from(value)).sum();
            let target: f64 = targets.iter().map(|&target| f64::from(target)).sum();
            let log_sum = f64::from(largest) + sum.ln();
            let terms = logits.iter().zip(targets);
            let products =
                terms.map(|(&logit, &target)| f64::from(target) * (f64::from(logit) - log_sum));
            loss -= products.sum::<f64>();
            let scale = (target / sum) as f32;
            for (gradient, &target) in gradient.iter_mut().zip(targets) {
                *gradient = *gradient * scale - target;
            }
        }
        CrossEntropy { loss: loss as f32, gradient }
    }
}

/// `e^x` for x up to 0, with a relative error below 2e-7; 0 where it is no normal number;
/// NaN of NaN.
///
/// A power of two times a polynomial on the rest (Cody and Waite 1980), without branches, so
/// that a loop over it is compiled to vectors.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    /// ln 2 in two parts, the first of which times a small whole number is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// Adding and subtracting it rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let whole = (x * LOG2_E + ROUND) - ROUND;
    let rest = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
    // Taylor's series of degree 7 for |rest| up to ln 2 / 2.
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * rest + coefficient;
    }
    // Below -126 the exponent has no room; NaN and infinity become 0 here, and NaN below.
    let power = f32::from_bits((((whole as i32) + 127) << 23) as u32);
    let value = sum * power;
    let small = if x < -87.0 { 0.0 } else { value };
    if x.is_nan() { x } else { small }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exponentials_are_those_of_double_precision() {
        for step in 0..870_000 {
            let x = -(step as f32) / 10_000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2e-7, "exp({x}): {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-88.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }
}
