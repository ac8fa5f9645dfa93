//! Estimators of a round's mean update from updates in the clear, and what each needs.

use std::fmt;

use fedra_protocol::UpdateRange;

use super::{
    CentredClipping, GeometricMedian, Median, MultiKrum, NormBound, Plain, RoundAccumulator,
    TrimmedMean,
};

/// Estimator of the mean of a round's updates. All but the mean resist some updates that
/// are arbitrary.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Estimator {
    /// The weighted mean.
    #[default]
    Mean,
    /// The coordinate-wise median.
    Median,
    /// The coordinate-wise trimmed mean.
    TrimmedMean {
        /// Values left out at each end of a coordinate, at least 1.
        trim: u32,
    },
    /// Multi-Krum.
    MultiKrum {
        /// Arbitrary updates in a round at most, at least 1.
        byzantine: u32,
    },
    /// The weighted geometric median.
    GeometricMedian {
        /// Steps of the algorithm, at least 1.
        iterations: u32,
    },
    /// The weighted mean of updates with a largest norm.
    NormBound {
        /// The norm, above 0.
        norm: f64,
    },
    /// Centred clipping.
    CentredClipping {
        /// Largest norm of a difference from the centre, above 0.
        norm: f64,
        /// Steps of the centre, at least 1.
        iterations: u32,
    },
}

impl Estimator {
    /// Fewest updates of a round that it has an estimate for.
    #[must_use]
    pub fn least_updates(self) -> u64 {
        match self {
            Self::TrimmedMean { trim } => 2 * u64::from(trim) + 1,
            Self::MultiKrum { byzantine } => 2 * u64::from(byzantine) + 3,
            _ => 1,
        }
    }

    /// True if it holds all updates of a round until it closes. Otherwise it adds each to a
    /// sum, and a stale one can count less.
    #[must_use]
    pub fn holds_updates(self) -> bool {
        !matches!(self, Self::Mean | Self::NormBound { .. })
    }

    /// Accumulator of a round of at most `most` updates with `len` values within the range.
    /// An estimator that adds up its updates adds them to `sum`.
    #[must_use]
    pub fn accumulator(self, sum: Plain, most: usize) -> Box<dyn RoundAccumulator> {
        let (len, range): (usize, UpdateRange) = (sum.len(), sum.range());
        match self {
            Self::Mean => Box::new(sum),
            Self::Median => Box::new(Median::new(len, range, most)),
            Self::TrimmedMean { trim } => Box::new(TrimmedMean::new(len, range, most, trim)),
            Self::MultiKrum { byzantine } => Box::new(MultiKrum::new(len, range, most, byzantine)),
            Self::GeometricMedian { iterations } => {
                Box::new(GeometricMedian::new(len, range, most, iterations))
            }
            Self::NormBound { norm } => Box::new(NormBound::new(sum, norm)),
            Self::CentredClipping { norm, iterations } => {
                Box::new(CentredClipping::new(len, range, most, norm, iterations))
            }
        }
    }
}

impl fmt::Display for Estimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean => f.write_str("the mean of the updates"),
            Self::Median => f.write_str("the coordinate-wise median of the updates"),
            Self::TrimmedMean { trim } => write!(
                f,
                "the coordinate-wise mean of the updates without {trim} values at each end"
            ),
            Self::MultiKrum { byzantine } => {
                write!(f, "the mean of the updates that Multi-Krum selects, {byzantine} arbitrary")
            }
            Self::GeometricMedian { iterations } => {
                write!(f, "the geometric median of the updates, {iterations} iterations")
            }
            Self::NormBound { norm } => {
                write!(f, "the mean of the updates with a norm of at most {norm}")
            }
            Self::CentredClipping { norm, iterations } => write!(
                f,
                "the updates by centred clipping to a norm of {norm}, {iterations} iterations"
            ),
        }
    }
}
