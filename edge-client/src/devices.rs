//! Devices that train: the CPU, and a GPU by `fedra-gpu`; and a training on either.

mod compute;
mod trainer;

use std::fmt;

use serde::Serialize;

#[cfg(test)]
pub(crate) use compute::lives;
pub use compute::{Compute, TrainingError, WebGpu};
pub use trainer::{OnGpu, Trainer};

/// Device of training, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendName {
    /// The CPU.
    Cpu,
    /// A GPU through WebGPU.
    WebGpu,
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::WebGpu => "webgpu",
        })
    }
}
