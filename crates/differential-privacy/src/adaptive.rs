//! The clipping norm that follows a quantile of the updates' norms (Andrew,
//! Thakkar, McMahan and Ramaswamy 2021).
//!
//! It sees only the noised mean of the bits "my norm is within C", which has been
//! paid for already.

use libm::exp;

use crate::{ClippingNorm, QuantityError};

/// Geometric updates of the clipping norm towards a quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveClipping {
    target_quantile: f64,
    learning_rate: f64,
    least: f64,
    most: f64,
}

impl AdaptiveClipping {
    /// The learning rate of Andrew et al.: C moves by at most 22 % a round.
    pub const LEARNING_RATE: f64 = 0.2;

    /// Follows the quantile `target_quantile`, above 0 and below 1, with
    /// [`Self::LEARNING_RATE`].
    ///
    /// # Errors
    ///
    /// The quantile is out of range.
    pub fn new(target_quantile: f64) -> Result<Self, QuantityError> {
        if !(target_quantile > 0.0 && target_quantile < 1.0) {
            return Err(QuantityError {
                quantity: "a target quantile",
                expected: "above 0 and below 1",
                value: target_quantile,
            });
        }
        Ok(Self { target_quantile, learning_rate: Self::LEARNING_RATE, least: 1e-6, most: 1e6 })
    }

    /// The same with another learning rate, above 0 and at most 2.
    ///
    /// # Errors
    ///
    /// The rate is out of range.
    pub fn with_learning_rate(self, learning_rate: f64) -> Result<Self, QuantityError> {
        if !(learning_rate > 0.0 && learning_rate <= 2.0) {
            return Err(QuantityError {
                quantity: "a learning rate of the clipping norm",
                expected: "above 0 and at most 2",
                value: learning_rate,
            });
        }
        Ok(Self { learning_rate, ..self })
    }

    /// The same, never leaving `least..=most` (1e-6 to 1e6 otherwise). If they are
    /// the wrong way round, they are swapped.
    #[must_use]
    pub fn within(self, least: ClippingNorm, most: ClippingNorm) -> Self {
        let (a, b) = (least.value(), most.value());
        Self { least: a.min(b), most: a.max(b), ..self }
    }

    /// The next round's clipping norm: C exp(-η (b - q)) for the noised mean bit
    /// `within_clip`, which is first brought into [0, 1]; one that is not a number
    /// changes nothing.
    #[must_use]
    pub fn next(&self, clip: ClippingNorm, within_clip: f64) -> ClippingNorm {
        let bit = if within_clip.is_nan() { self.target_quantile } else { within_clip };
        let step = -self.learning_rate * (bit.clamp(0.0, 1.0) - self.target_quantile);
        ClippingNorm::saturating((clip.value() * exp(step)).clamp(self.least, self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(value: f64) -> ClippingNorm {
        ClippingNorm::new(value).expect("positive")
    }

    #[test]
    fn settles_at_the_quantile() {
        // Norms spread evenly over (0, 1): the median is 1/2.
        for start in [1e-3, 1.0, 100.0] {
            let adaptive = AdaptiveClipping::new(0.5).expect("a quantile");
            let mut c = clip(start);
            for _ in 0..400 {
                c = adaptive.next(c, c.value().min(1.0));
            }
            assert!((c.value() - 0.5).abs() < 1e-3, "{start}: {c:?}");
        }
    }

    #[test]
    fn moves_as_published() {
        let adaptive = AdaptiveClipping::new(0.5).expect("a quantile");
        assert_eq!(adaptive.next(clip(1.0), 1.0).value(), exp(-0.1));
        assert_eq!(adaptive.next(clip(1.0), 0.0).value(), exp(0.1));
        assert_eq!(adaptive.next(clip(1.0), 0.5).value(), 1.0);
        let faster = adaptive.with_learning_rate(0.5).expect("a rate");
        assert_eq!(faster.next(clip(1.0), 1.0).value(), exp(-0.25));
    }

    #[test]
    fn noise_cannot_throw_it_out_of_range() {
        let adaptive =
            AdaptiveClipping::new(0.5).expect("a quantile").within(clip(0.1), clip(10.0));
        assert_eq!(adaptive.next(clip(1.0), 1e9).value(), exp(-0.1));
        assert_eq!(adaptive.next(clip(1.0), f64::NAN).value(), 1.0);
        assert_eq!(adaptive.next(clip(10.0), 0.0).value(), 10.0);
        assert_eq!(adaptive.next(clip(0.1), 1.0).value(), 0.1);
    }

    #[test]
    fn refuses_bad_settings() {
        for bad in [0.0, 1.0, f64::NAN, -0.5] {
            assert!(AdaptiveClipping::new(bad).is_err());
        }
        let adaptive = AdaptiveClipping::new(0.5).expect("a quantile");
        for bad in [0.0, 2.5, f64::NAN] {
            assert!(adaptive.with_learning_rate(bad).is_err());
        }
    }
}
