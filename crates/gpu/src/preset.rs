//! The two ways of writing kernels.

/// Way in which kernels use a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Large blocks in registers and few barriers, for adapters that run on a CPU.
    Registers,
    /// Many threads that share sums through the workgroup's memory, for real GPUs.
    SplitK,
}

impl Preset {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Registers, Self::SplitK];
}
