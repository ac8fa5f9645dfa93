//! Linear scaling of a number.

/// Scaling of a number: `(value - offset) / divisor`, in double precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    offset: f64,
    divisor: f64,
}

impl Default for Scaling {
    fn default() -> Self {
        Self { offset: 0.0, divisor: 1.0 }
    }
}

impl Scaling {
    /// Scaling by finite numbers and a divisor that is not 0; `None` for others.
    pub fn new(offset: f64, divisor: f64) -> Option<Self> {
        let valid = offset.is_finite() && divisor.is_normal();
        valid.then_some(Self { offset, divisor })
    }

    /// Scaling by the keys of a config: a mean and a standard deviation, or the numbers
    /// that become 0 and 1.
    pub(super) fn of_keys(keys: Keys) -> Result<Self, String> {
        let scaling = match (keys.mean, keys.deviation, keys.min, keys.max) {
            (None, None, None, None) => return Ok(Self::default()),
            (mean, Some(deviation), None, None) if deviation > 0.0 => {
                Self::new(mean.unwrap_or(0.0), deviation)
            }
            (None, None, Some(min), Some(max)) if max > min => Self::new(min, max - min),
            (_, _, None, None) => {
                return Err("give mean and deviation together, deviation above 0".to_owned());
            }
            (None, None, _, _) => return Err("give min and max together, max above min".to_owned()),
            _ => return Err("give mean and deviation, or min and max, not both".to_owned()),
        };
        scaling.ok_or_else(|| "the numbers of the scaling must be finite".to_owned())
    }

    /// The keys of a config that give this scaling.
    pub(super) fn keys(self) -> Keys {
        if self == Self::default() {
            return Keys::default();
        }
        Keys { mean: Some(self.offset), deviation: Some(self.divisor), min: None, max: None }
    }

    /// Number that is taken off.
    pub fn offset(self) -> f64 {
        self.offset
    }

    /// Number that the rest is divided by.
    pub fn divisor(self) -> f64 {
        self.divisor
    }

    /// The scaled value.
    pub fn apply(self, value: f64) -> f64 {
        (value - self.offset) / self.divisor
    }
}

/// Keys of a scaling in a config.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keys {
    pub mean: Option<f64>,
    pub deviation: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}
