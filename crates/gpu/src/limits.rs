//! Limits of a device, and the check of a plan against them.

use crate::PlanError;

/// Limits that a plan keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Storage buffers that one kernel binds.
    pub storage_buffers: u32,
    /// Bytes of memory that a workgroup shares.
    pub workgroup_bytes: u32,
    /// Invocations in a workgroup.
    pub invocations: u32,
    /// Workgroups along one dimension of a dispatch.
    pub workgroups: u32,
    /// Bytes of a buffer that one kernel binds.
    pub binding_bytes: u64,
    /// Bytes of a buffer.
    pub buffer_bytes: u64,
}

impl Limits {
    /// Limits that every WebGPU device has.
    pub const MINIMUM: Self = Self {
        storage_buffers: 8,
        workgroup_bytes: 16 << 10,
        invocations: 256,
        workgroups: 65_535,
        binding_bytes: 128 << 20,
        buffer_bytes: 256 << 20,
    };

    /// Bytes of the largest buffer that a kernel can see whole.
    pub fn largest_buffer(&self) -> u64 {
        self.binding_bytes.min(self.buffer_bytes)
    }
}

/// `needed` unless it is more than `available`.
pub(crate) fn within(what: &'static str, needed: u64, available: u64) -> Result<u64, PlanError> {
    if needed <= available { Ok(needed) } else { Err(PlanError::Limit { what, needed, available }) }
}
