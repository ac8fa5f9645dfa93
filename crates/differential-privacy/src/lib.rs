//! Differential privacy for federated learning: exact discrete noise, the
//! mechanisms that clients and a server run, and what they cost.
//!
//! The unit of privacy is one contributor's whole update: two inputs are adjacent
//! if one of them has a contribution replaced by zeros. Three ways to get there:
//!
//! | policy | who adds noise | here |
//! |---|---|---|
//! | distributed | each client a share, summed in secret | [`DistributedGaussian`] |
//! | local | each client all of it | the same, with `survivors: 1` |
//! | central | a trusted server | [`CentralGaussian`], [`CorrelatedNoise`], [`TreeAggregation`] |
//!
//! Noise is the discrete Gaussian, drawn [exactly](sampler::DiscreteGaussian) with
//! integers only, and sensitivities are checked on integers: no guarantee rests on
//! floating point. [`accounting`] turns mechanisms into (ε, δ). Quantities are
//! types ([`NoiseMultiplier`], [`ClippingNorm`], ...), so that none passes for
//! another.
//!
//! The crate does no I/O, reads no clock and owns no generator: randomness is an
//! argument, which has to be a cryptographic generator seeded by the system. It
//! does not need the standard library. What client and server both derive has the
//! same bits on every platform.
//!
//! # One round
//!
//! ```
//! use differential_privacy::{
//!     ClippingNorm, Delta, DistributedGaussian, DistributedGaussianSettings, NoiseMultiplier,
//! };
//! use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//!
//! // The task's policy: both sides derive the same integers from it.
//! let mechanism = DistributedGaussian::derive(&DistributedGaussianSettings {
//!     parameters: 1000,
//!     clients: 50,
//!     survivors: 40,
//!     noise_multiplier: NoiseMultiplier::new(0.5)?,
//!     clip_indicator: true,
//! })?;
//!
//! // The round's: public, the same for everyone.
//! let (clip, rotation) = (ClippingNorm::new(1.0)?, [7; 32]);
//!
//! // Each client encodes its update; secure aggregation adds modulo 2^bits.
//! let modulus = 1_u64 << mechanism.bits();
//! let mut sum = vec![0_u32; mechanism.len()];
//! for client in 0..40 {
//!     // In earnest, seeded by the system's generator.
//!     let mut rng = ChaCha20Rng::seed_from_u64(client);
//!     let update = vec![0.02; 1000];
//!     let values = mechanism.encode(&update, clip, &rotation, &mut rng)?;
//!     for (sum, value) in sum.iter_mut().zip(values) {
//!         *sum = ((u64::from(*sum) + u64::from(value)) % modulus) as u32;
//!     }
//! }
//!
//! // The server learns the mean, with noise, and nothing else.
//! let decoded = mechanism.decode(&sum, 40, clip, &rotation)?;
//! let average = decoded.mean.iter().sum::<f32>() / 1000.0;
//! assert!((average - 0.02).abs() < 0.005);
//!
//! // Ten rounds, for a client that takes part in all of them:
//! let epsilon = mechanism.cost().times(10).epsilon(Delta::new(1e-5)?);
//! assert!((epsilon.value() - 46.2).abs() < 0.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Not here
//!
//! Keeping sums secret, who may take part and how often, and remembering what was
//! spent. Nor any claim of amplification by sampling: the accounts of sampled
//! mechanisms are for those who really sample so.
//!
//! # Sources
//!
//! - Balle, Wang: Improving the Gaussian Mechanism for Differential Privacy (2018).
//! - Canonne, Kamath, Steinke: The Discrete Gaussian for Differential Privacy (2020).
//! - Dong, Roth, Su: Gaussian Differential Privacy (2022).
//! - Kairouz, Liu, Steinke: The Distributed Discrete Gaussian Mechanism for Federated
//!   Learning with Secure Aggregation (2021).
//! - Andrew, Thakkar, McMahan, Ramaswamy: Differentially Private Learning with Adaptive
//!   Clipping (2021).
//! - Kairouz, McMahan, Song, Thakkar, Thakurta, Xu: Practical and Private (Deep) Learning
//!   without Sampling or Shuffling (2021).
//! - Choquette-Choo, Ganesh, McKenna, McMahan, Rush, Thakurta, Xu: (Amplified) Banded Matrix
//!   Factorization (2023).
//! - Kalinin, Lampert: Banded Square Root Matrix Factorization for Differentially Private Model
//!   Training (2024).
//! - Kalinin, McKenna, Upadhyay, Lampert: Back to Square Roots (2025).
//! - Kalinin, Rehn, Andersson, Honkela, Lampert: Beyond Square Roots (2026).
//! - Mironov: On Significance of the Least Significant Bits for Differential Privacy
//!   (2012).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod accounting;
mod adaptive;
pub mod central;
pub mod distributed;
mod quantities;
mod rotation;
mod rounding;
pub mod sampler;
mod source;
#[cfg(test)]
mod testing;

pub use adaptive::AdaptiveClipping;
pub use central::{
    CentralGaussian, CentralGaussianSettings, CorrelatedNoise, NoiseSecret, TreeAggregation,
};
pub use distributed::{Decoded, DistributedGaussian, DistributedGaussianSettings};
pub use quantities::{
    ClippingNorm, Delta, Epsilon, NoiseMultiplier, QuantityError, Rho, SamplingRate,
    StandardDeviation,
};
pub use rotation::{random_rotation, undo_random_rotation};
