//! Fixed edge filters.

use serde::{Deserialize, Serialize};

use super::rules::{image, same_fields, square, within};
use super::{LayerRule, Output};
use crate::limits::{MAX_FIXED_KERNEL, MAX_ORIENTATIONS};
use crate::model::Shape;

/// Fixed edge filters, nothing to train: each channel's slope in evenly
/// spaced directions of half a turn. The image keeps its size, with zeros
/// around it.
///
/// The filter for direction `t = k pi / orientations`, `k` from 0, is
/// `(x cos t + y sin t) exp(-(x^2 + y^2) / (2 sigma^2))` at the pixels around
/// its middle, `x` to the right, `y` down, divided by its L2 norm. Channel
/// `c orientations + k` of the output is channel `c` of the input,
/// cross-correlated with filter `k`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianDerivative {
    /// Directions, 1 to 64.
    pub orientations: u32,
    /// Height and width of a filter, odd, 3 to 31.
    pub kernel: u32,
    /// Standard deviation of the Gaussian in pixels, 0.25 to 16.
    pub sigma: f32,
}

impl LayerRule for GaussianDerivative {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let Self { orientations, kernel, sigma } = *self;
        let [channels, height, width] = image(input)?;
        within("orientations", orientations, 1, MAX_ORIENTATIONS)?;
        within("kernel", kernel, 3, MAX_FIXED_KERNEL)?;
        if kernel % 2 == 0 {
            return Err(format!("kernel must be odd, so that it has a middle; it is {kernel}"));
        }
        if !(0.25..=16.0).contains(&sigma) {
            return Err(format!("sigma must be between 0.25 and 16 pixels; it is {sigma}"));
        }
        let channels = channels.checked_mul(orientations).ok_or("too many channels".to_string())?;
        Ok(Output::of(Shape::Image { channels, height, width }))
    }

    fn window(&self, _input: Shape) -> u64 {
        square(self.kernel)
    }
}

same_fields!(GaussianDerivative = GaussianDerivative { orientations, kernel, sigma });
