//! Mean pooling.

use serde::{Deserialize, Serialize};

use super::rules::{pooled, same_fields, square};
use super::{LayerRule, Output};
use crate::model::Shape;

/// Mean over square windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvgPool2d {
    /// Height and width of a window.
    pub kernel: u32,
    /// Step between windows.
    pub stride: u32,
}

impl LayerRule for AvgPool2d {
    fn output(&self, input: Shape) -> Result<Output, String> {
        pooled(input, self.kernel, self.stride)
    }

    fn window(&self, _input: Shape) -> u64 {
        square(self.kernel)
    }
}

same_fields!(AvgPool2d = Pool2d { kernel, stride });
