//! The numbers of differential privacy as types: each is checked once, where it
//! is made, and none can be passed for another. A variance is not a standard
//! deviation, and a noise multiplier (a ratio) is neither.
//!
//! It must not do arithmetic that depends on a mechanism.

use core::ops::Add;

use thiserror::Error;

/// Error for a number that is not the quantity it was given for.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("{quantity} has to be {expected}, {value} is not")]
pub struct QuantityError {
    /// Name of the quantity.
    pub quantity: &'static str,
    /// The range, as text.
    pub expected: &'static str,
    /// Number given.
    pub value: f64,
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $words:literal, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
        pub struct $name(f64);

        impl $name {
            #[doc = concat!("Checks `value`: ", $expected, ".")]
            ///
            /// # Errors
            ///
            /// The value is outside that range, or not a number.
            pub fn new(value: f64) -> Result<Self, QuantityError> {
                let valid: fn(f64) -> bool = $valid;
                if valid(value) {
                    Ok(Self(value))
                } else {
                    Err(QuantityError { quantity: $words, expected: $expected, value })
                }
            }

            /// The number itself.
            #[must_use]
            pub const fn value(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = QuantityError;

            fn try_from(value: f64) -> Result<Self, QuantityError> {
                Self::new(value)
            }
        }
    };
}

quantity! {
    /// C: the largest L2 norm that one contribution may have, in the units of
    /// the model's parameters.
    ClippingNorm, "a clipping norm", "positive, at least 1e-30 and at most 1e30",
    |value| (1e-30..=1e30).contains(&value)
}

quantity! {
    /// z: the standard deviation of the noise of a whole sum, divided by its L2
    /// sensitivity. No unit.
    NoiseMultiplier, "a noise multiplier", "positive, at least 1e-6 and at most 1e6",
    |value| (1e-6..=1e6).contains(&value)
}

quantity! {
    /// The square root of a variance, in the units of what it is added to.
    StandardDeviation, "a standard deviation", "finite and not negative",
    |value| value >= 0.0 && value.is_finite()
}

quantity! {
    /// ε of (ε, δ)-differential privacy. Infinity says that nothing is promised.
    Epsilon, "epsilon", "not negative", |value| value >= 0.0
}

quantity! {
    /// δ of (ε, δ)-differential privacy.
    Delta, "delta", "above 0 and below 1", |value| value > 0.0 && value < 1.0
}

quantity! {
    /// q: the probability with which one record takes part in one step.
    SamplingRate, "a sampling rate", "above 0 and at most 1",
    |value| value > 0.0 && value <= 1.0
}

quantity! {
    /// ρ = μ²/2 of Gaussian differential privacy: no test tells what was released with a
    /// subject from what was released without it better than N(0, 1) from N(μ, 1) (Dong,
    /// Roth and Su 2022). That is more than zero-concentrated privacy says, by which the
    /// Rényi divergence of every order α is at most ρα; a cost known in that sense alone
    /// is none of these. Costs add up. Infinity says that nothing is promised.
    Rho, "rho", "not negative", |value| value >= 0.0
}

impl Rho {
    /// Zero cost.
    pub const ZERO: Self = Self(0.0);

    /// A Gaussian mechanism of this noise multiplier: ρ = 1 / (2 z²). That of discrete
    /// noise is [`discrete::cost`](crate::accounting::discrete::cost).
    #[must_use]
    pub fn of_gaussian(noise: NoiseMultiplier) -> Self {
        Self(1.0 / (2.0 * noise.value() * noise.value()))
    }

    /// The same mechanism `count` times over, chosen adaptively or not; fewer than 2^32
    /// in all sums together.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        // Zero of an unbounded cost is zero, where IEEE would say NaN.
        if count == 0 { Self::ZERO } else { Self(self.0 * f64::from(count)) }
    }

    pub(crate) fn from_raw(value: f64) -> Self {
        debug_assert!(value >= 0.0, "a cost is not negative");
        Self(value)
    }
}

impl Add for Rho {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl core::iter::Sum for Rho {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Add::add)
    }
}

impl Epsilon {
    pub(crate) fn from_raw(value: f64) -> Self {
        debug_assert!(!value.is_nan(), "an epsilon is a number");
        Self(value.max(0.0))
    }
}

impl NoiseMultiplier {
    pub(crate) const SMALLEST: f64 = 1e-6;
    pub(crate) const LARGEST: f64 = 1e6;
}

impl StandardDeviation {
    pub(crate) fn from_raw(value: f64) -> Self {
        debug_assert!(value >= 0.0, "a deviation is not negative");
        Self(value)
    }
}

impl ClippingNorm {
    pub(crate) const SMALLEST: f64 = 1e-30;
    pub(crate) const LARGEST: f64 = 1e30;

    pub(crate) fn saturating(value: f64) -> Self {
        Self(value.clamp(Self::SMALLEST, Self::LARGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_out_of_range() {
        for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e31] {
            assert!(ClippingNorm::new(bad).is_err(), "clipping norm {bad}");
            assert!(NoiseMultiplier::new(bad).is_err(), "noise multiplier {bad}");
        }
        for bad in [f64::NAN, f64::INFINITY, -1e-9] {
            assert!(StandardDeviation::new(bad).is_err(), "deviation {bad}");
        }
        for bad in [f64::NAN, -1e-9] {
            assert!(Epsilon::new(bad).is_err(), "epsilon {bad}");
            assert!(Rho::new(bad).is_err(), "rho {bad}");
        }
        for bad in [f64::NAN, 0.0, 1.0, -0.1, 1.1] {
            assert!(Delta::new(bad).is_err(), "delta {bad}");
        }
        for bad in [f64::NAN, 0.0, 1.1, -0.1] {
            assert!(SamplingRate::new(bad).is_err(), "sampling rate {bad}");
        }
    }

    #[test]
    fn keeps_what_is_in_range() {
        assert_eq!(ClippingNorm::new(0.5).map(ClippingNorm::value), Ok(0.5));
        assert_eq!(StandardDeviation::new(0.0).map(StandardDeviation::value), Ok(0.0));
        assert_eq!(SamplingRate::new(1.0).map(SamplingRate::value), Ok(1.0));
        assert_eq!(Epsilon::new(f64::INFINITY).map(Epsilon::value), Ok(f64::INFINITY));
    }

    #[test]
    fn says_what_to_give_instead() {
        let error = Delta::new(2.0).expect_err("2 is no delta");
        assert_eq!(
            alloc::string::ToString::to_string(&error),
            "delta has to be above 0 and below 1, 2 is not"
        );
    }

    #[test]
    fn costs_add_up() {
        let one = Rho::of_gaussian(NoiseMultiplier::new(2.0).expect("positive"));
        assert_eq!(one.value(), 0.125);
        assert_eq!((one + one.times(3)).value(), 0.5);
        assert_eq!([one, one].into_iter().sum::<Rho>().value(), 0.25);
        assert_eq!(Rho::new(f64::INFINITY).map(|rho| rho.times(0)), Ok(Rho::ZERO));
    }
}
