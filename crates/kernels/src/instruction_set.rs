//! Instruction sets, and the choice between them: at run time natively, at compile time in
//! WebAssembly.

use crate::simd::Job;

/// Instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InstructionSet {
    /// None in particular. WebAssembly with SIMD does without.
    Portable,
    /// AVX2 with FMA, on x86-64.
    Avx2,
    /// AVX-512 F, BW, DQ and VL, on x86-64.
    Avx512,
    /// NEON, on 64-bit ARM.
    Neon,
    /// SIMD of WebAssembly.
    Simd128,
}

impl InstructionSet {
    /// Every instruction set, from the slowest to the fastest.
    const ALL: [Self; 5] = [Self::Portable, Self::Neon, Self::Simd128, Self::Avx2, Self::Avx512];

    /// The instruction sets of this machine, from the slowest to the fastest.
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        Self::ALL.into_iter().filter(|set| set.is_available())
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2(),
            Self::Avx512 => {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            Self::Neon | Self::Simd128 => false,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        let simd128 = cfg!(all(target_arch = "wasm32", target_feature = "simd128"));
        match self {
            Self::Portable => !simd128,
            Self::Neon => cfg!(target_arch = "aarch64"),
            Self::Simd128 => simd128,
            Self::Avx2 | Self::Avx512 => false,
        }
    }
}

/// Kernels compiled for one instruction set, which this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    set: InstructionSet,
}

impl Kernels {
    /// The fastest kernels of this machine.
    pub fn best() -> Self {
        let set = InstructionSet::available().next_back().unwrap_or(InstructionSet::Portable);
        Self { set }
    }

    /// The kernels of one instruction set; `None` if this machine does not have it.
    pub fn with(set: InstructionSet) -> Option<Self> {
        set.is_available().then_some(Self { set })
    }

    /// The instruction set.
    pub fn instruction_set(self) -> InstructionSet {
        self.set
    }

    #[inline(always)]
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        // SAFETY: a value of this type exists only for a set that the machine has.
        unsafe {
            match self.set {
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx512 => crate::simd::x86::on_avx512(job),
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx2 => crate::simd::x86::on_avx2(job),
                #[cfg(target_arch = "aarch64")]
                InstructionSet::Neon => job.run::<crate::simd::neon::Neon>(),
                #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
                _ => job.run::<crate::simd::simd128::Simd128>(),
                #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
                _ => job.run::<crate::simd::portable::Portable>(),
            }
        }
    }
}
