//! The device of tensors: burn's `flex`, pure Rust, SIMD, one thread.

use burn::tensor::Device;

/// For tensors without gradients.
pub(crate) fn inference() -> Device {
    Device::flex()
}

/// For tensors that record what happens to them.
pub(crate) fn training() -> Device {
    Device::flex().autodiff()
}
