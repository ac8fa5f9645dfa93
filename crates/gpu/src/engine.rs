//! The engine: plans on a device of `wgpu`.

mod device;
mod examples;
mod health;
mod memory;
mod platform;
mod program;
mod trainer;

pub use device::{Gpu, LimitsWanted, Preference};
pub use examples::{Examples, Features, Targets};
pub use trainer::{Setup, Trainer};
