//! Two-dimensional convolution.

use serde::{Deserialize, Serialize};

use super::rules::{image, positive, same_fields, square, windows};
use super::{LayerRule, Output};
use crate::model::{Init, Shape};

/// 2-D cross-correlation with a square kernel, `W: [channels, in, kernel, kernel]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Channels that come out.
    pub channels: u32,
    /// Height and width of the kernel.
    pub kernel: u32,
    /// Step between windows.
    #[serde(default = "one")]
    pub stride: u32,
    /// Zeros added on each side.
    #[serde(default)]
    pub padding: u32,
}

fn one() -> u32 {
    1
}

impl LayerRule for Conv2d {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let Self { channels, kernel, stride, padding } = *self;
        let [inputs, height, width] = image(input)?;
        positive("channels", channels)?;
        let shape = Shape::Image {
            channels,
            height: windows("image side", height, kernel, stride, padding)?,
            width: windows("image side", width, kernel, stride, padding)?,
        };
        let fan_in = u64::from(inputs) * u64::from(kernel) * u64::from(kernel);
        let init = Init::Uniform { fan_in: fan_in as usize };
        Ok(Output::of(shape).trains("weight", &[channels, inputs, kernel, kernel], init).trains(
            "bias",
            &[channels],
            init,
        ))
    }

    fn window(&self, input: Shape) -> u64 {
        let channels = image(input).map_or(1, |[channels, ..]| u64::from(channels));
        channels.saturating_mul(square(self.kernel))
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(Conv2d = Conv2d { channels, kernel, stride, padding });
