//! Fixed edge filters.

use std::f64::consts::PI;

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

impl GaussianDerivative {
    /// The filters, `[orientations, kernel, kernel]` row-major. The numbers
    /// are those of a checked model.
    ///
    /// Computed with libm in double precision, so that the rounded values are the same
    /// on every platform.
    pub fn filters(&self) -> Vec<f32> {
        let [orientations, kernel] = [self.orientations, self.kernel].map(|n| n as usize);
        let (sigma, middle) = (f64::from(self.sigma), (kernel / 2) as f64);
        let offset = |index: usize| index as f64 - middle;
        let bell: Vec<f64> = (0..kernel)
            .map(|index| libm::exp(-offset(index) * offset(index) / (2.0 * sigma * sigma)))
            .collect();
        let mut filters = Vec::with_capacity(orientations * kernel * kernel);
        for orientation in 0..orientations {
            let (sin, cos) = libm::sincos(orientation as f64 * PI / orientations as f64);
            let filter: Vec<f64> = (0..kernel * kernel)
                .map(|index| (index % kernel, index / kernel))
                .map(|(x, y)| (offset(x) * cos + offset(y) * sin) * bell[x] * bell[y])
                .collect();
            let norm = filter.iter().map(|value| value * value).sum::<f64>().sqrt();
            filters.extend(filter.iter().map(|value| (value / norm) as f32));
        }
        filters
    }
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

#[cfg(test)]
mod tests {
    use super::GaussianDerivative;

    fn filters(orientations: u32, kernel: u32, sigma: f32) -> Vec<f32> {
        GaussianDerivative { orientations, kernel, sigma }.filters()
    }

    #[test]
    fn filters_are_slopes_of_unit_norm() {
        // By hand, at sigma = 1: the horizontal slope of a 3x3 window is
        // x exp(-(x^2 + y^2) / 2), whose squares sum to 2 e^-1 + 4 e^-2.
        let horizontal = &filters(2, 3, 1.0)[..9];
        let norm = (2.0 * (-1f64).exp() + 4.0 * (-2f64).exp()).sqrt();
        let (near, far) = ((-0.5f64).exp() / norm, (-1f64).exp() / norm);
        let expected = [-far, 0.0, far, -near, 0.0, near, -far, 0.0, far];
        for (value, expected) in horizontal.iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-7, "{horizontal:?} {expected}");
        }
        for (orientations, kernel, sigma) in [(1, 3, 0.25), (4, 5, 1.0), (64, 31, 16.0)] {
            for filter in
                filters(orientations, kernel, sigma).chunks_exact((kernel * kernel) as usize)
            {
                let squares: f64 = filter.iter().map(|&v| f64::from(v).powi(2)).sum();
                let sum: f64 = filter.iter().map(|&v| f64::from(v)).sum();
                assert!((squares - 1.0).abs() < 1e-5 && sum.abs() < 1e-5, "{squares} {sum}");
            }
        }
    }

    #[test]
    fn the_filters_of_a_model_never_change() {
        // The last bits matter: a client and the server must see the same features.
        let bits: Vec<u32> = filters(4, 5, 1.0)[25..30].iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, GOLDEN, "{bits:#x?}");
    }

    const GOLDEN: [u32; 5] = [0xbd29_af54, 0xbe0e_96cb, 0xbe1c_b9f5, 0xbd3e_1e64, 0x226f_f87d];
}
