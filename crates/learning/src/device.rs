//! The device of tensors: burn's `flex`, pure Rust, SIMD, one thread.

use burn::tensor::Device;

/// For tensors without gradients.
pub(crate) fn inference() -> Device {
    Device::flex()
}

/// For tensors that record what happens to them.
pub(crate) fn training() -> Device {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    keep_freed_memory();
    Device::flex().autodiff()
}

/// Makes glibc keep the memory that a step of training frees for the next step.
///
/// It returns what is free at the end of the heap to the system if that is more than twice the
/// largest mapping freed so far. A step then waits for its pages again, which took a third of
/// its time. One mapping of almost 32 MiB, the most that counts, is freed here once. None of its
/// pages is touched.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed_memory() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(31 << 20))));
}
