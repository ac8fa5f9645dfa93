//! Fully connected layer.

use serde::{Deserialize, Serialize};

use super::rules::{positive, row_width, same_fields};
use super::{LayerRule, Output};
use crate::model::{Init, Shape};

/// `y = x W + b` with `W: [inputs, outputs]`; of a sequence at each position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Features that come out.
    pub outputs: u32,
}

impl LayerRule for Linear {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let inputs = row_width(input, "takes")?;
        positive("outputs", self.outputs)?;
        let shape = match input {
            Shape::Sequence { positions, .. } => Shape::Sequence { positions, width: self.outputs },
            _ => Shape::Features(self.outputs),
        };
        let init = Init::Uniform { fan_in: inputs as usize };
        Ok(Output::of(shape).trains("weight", &[inputs, self.outputs], init).trains(
            "bias",
            &[self.outputs],
            init,
        ))
    }

    fn window(&self, input: Shape) -> u64 {
        row_width(input, "takes").map_or(1, u64::from)
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(Linear = Linear { outputs });
