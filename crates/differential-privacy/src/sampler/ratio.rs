//! A positive fraction of two integers.

use core::cmp::Ordering;

use thiserror::Error;

/// Reason that two integers make no usable fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RatioError {
    /// Zero above or below the line.
    #[error("{numerator}/{denominator} is not a positive fraction")]
    NotPositive {
        /// Numerator given.
        numerator: u64,
        /// Denominator given.
        denominator: u64,
    },
    /// Too long for the sampler's 128-bit products.
    #[error(
        "{numerator}/{denominator} has a term of more than {} bits in lowest terms; use a coarser denominator",
        Ratio::MAX_BITS
    )]
    TooLong {
        /// Numerator in lowest terms.
        numerator: u64,
        /// Denominator in lowest terms.
        denominator: u64,
    },
}

/// A positive rational number in lowest terms, each term of at most
/// [`Ratio::MAX_BITS`] bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ratio {
    numerator: u64,
    denominator: u64,
}

impl Ratio {
    /// Most bits of a numerator or denominator.
    pub const MAX_BITS: u32 = 53;

    /// `numerator / denominator`.
    ///
    /// # Errors
    ///
    /// A term is zero, or has more than [`Self::MAX_BITS`] bits in lowest terms.
    pub const fn new(numerator: u64, denominator: u64) -> Result<Self, RatioError> {
        if numerator == 0 || denominator == 0 {
            return Err(RatioError::NotPositive { numerator, denominator });
        }
        let divisor = greatest_common_divisor(numerator, denominator);
        let (numerator, denominator) = (numerator / divisor, denominator / divisor);
        if (numerator | denominator) >> Self::MAX_BITS != 0 {
            return Err(RatioError::TooLong { numerator, denominator });
        }
        Ok(Self { numerator, denominator })
    }

    /// The numerator.
    #[must_use]
    pub const fn numerator(self) -> u64 {
        self.numerator
    }

    /// The denominator.
    #[must_use]
    pub const fn denominator(self) -> u64 {
        self.denominator
    }

    /// The nearest double, for reports and accounting.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        // Both terms have at most 53 bits: the conversions are exact.
        self.numerator as f64 / self.denominator as f64
    }
}

impl Ord for Ratio {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = u128::from(self.numerator) * u128::from(other.denominator);
        let right = u128::from(other.numerator) * u128::from(self.denominator);
        left.cmp(&right)
    }
}

impl PartialOrd for Ratio {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
