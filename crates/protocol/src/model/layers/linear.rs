//! Fully connected layer.

use serde::{Deserialize, Serialize};

use super::rules::{positive, same_fields};
use super::{LayerRule, Output};
use crate::model::{Init, Shape};

/// `y = x W + b` with `W: [inputs, outputs]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Features that come out.
    pub outputs: u32,
}

impl LayerRule for Linear {
    fn output(&self, input: Shape) -> Result<Output, String> {
        let Shape::Features(inputs) = input else {
            let problem = "it takes features, but an image comes in; put a flatten layer before it";
            return Err(problem.into());
        };
        positive("outputs", self.outputs)?;
        let init = Init::Uniform { fan_in: inputs as usize };
        Ok(Output::of(Shape::Features(self.outputs))
            .trains("weight", &[inputs, self.outputs], init)
            .trains("bias", &[self.outputs], init))
    }

    fn window(&self, input: Shape) -> u64 {
        input.len() as u64
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

same_fields!(Linear = Linear { outputs });
