//! Training on WebGPU: a planner that makes kernels of a model, and an engine that runs
//! them.
//!
//! [`Plan`] is pure: from a model and a batch size it makes buffers, WGSL and dispatches.
//! [`Trainer`] runs a plan on a [`Gpu`], in a browser or on Vulkan and Metal. Examples,
//! their order, parameters and counters stay on the device: a step is a row of dispatches
//! without upload or read-back.
//!
//! The crate computes no batch order and reads no clock: both are the caller's, so that
//! training here takes the same batches as on the CPU. It prints nothing.

mod chain;
mod engine;
mod error;
mod grid;
mod kernels;
mod limits;
mod lower;
mod plan;
mod preset;
mod shader;
mod tensors;
mod text;

pub use engine::{Examples, Features, Gpu, LimitsWanted, Preference, Setup, Targets, Trainer};
pub use error::{GpuError, PlanError, Unsupported};
pub use limits::Limits;
pub use lower::supports;
pub use plan::{Buffer, Plan, Role};
pub use preset::Preset;
pub use shader::{Access, Binding, Kernel};
