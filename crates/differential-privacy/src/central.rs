//! The central policy: a trusted server clips updates, sums them as fixed-point
//! integers and adds exact discrete Gaussian noise to the sum: anew for each release,
//! along a tree over the steps, or correlated over them.
//!
//! It must not draw randomness of its own: every noise value is derived from a
//! secret and a position, so that a server that restarts adds the same noise and
//! not a second one. Integers are in units of C / 2^fraction bits, so that they
//! stay fixed while C adapts.

mod correlated;
#[cfg(test)]
mod tests;

use alloc::{vec, vec::Vec};
use core::fmt;

use libm::{ceil, floor, ldexp, rint, sqrt};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use thiserror::Error;

use crate::{
    ClippingNorm, NoiseMultiplier, Rho,
    accounting::{Correlation, Participation, discrete},
    distributed::{EncodeError, MAX_PARAMETERS, finite_norm},
    sampler::{DiscreteGaussian, Ratio},
};

pub use self::correlated::CorrelatedNoise;

/// Most fraction bits: beyond it, sums of some thousand contributions with noise
/// would leave the 63 bits of an `i64`.
pub const MAX_FRACTION_BITS: u32 = 40;

/// 1 / (2 x 0.1): the clip indicator's half step, in standard deviations of the
/// sum's noise over n, that leaves noise of one tenth on the mean bit.
const INDICATOR_SIGNAL: f64 = 5.0;

/// The most that the indicator may add to the squared sensitivity, as a share.
const INDICATOR_SHARE: f64 = 0.05;

/// Settings of the server's noise, from a task's privacy policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CentralGaussianSettings {
    /// d: parameters of the model.
    pub parameters: usize,
    /// Contributions that a sum usually holds; only the clip indicator's size
    /// depends on it.
    pub clients: u32,
    /// C is 2^this in the integers: 30 is a good choice.
    pub fraction_bits: u32,
    /// z: noise of the sum over its sensitivity C.
    pub noise_multiplier: NoiseMultiplier,
    /// Adds a coordinate that tells how many updates were within C.
    pub clip_indicator: bool,
}

/// Reason that settings have no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CentralParameterError {
    /// A model without parameters, or with more than [`MAX_PARAMETERS`].
    #[error("a model has 1 to {MAX_PARAMETERS} parameters, not {parameters}")]
    Parameters {
        /// d.
        parameters: usize,
    },
    /// No contribution at all.
    #[error("a sum of no clients needs no noise; give at least one")]
    NoClients,
    /// More than [`MAX_FRACTION_BITS`].
    #[error("{fraction_bits} fraction bits are too many, {MAX_FRACTION_BITS} are the most")]
    FractionBits {
        /// Fraction bits asked for.
        fraction_bits: u32,
    },
    /// The noise would leave the sampler's 53 bits.
    #[error("noise this large does not fit beside the fraction bits; use fewer of them")]
    NoiseTooLarge,
}

/// The central mechanism with its integers derived from the task's settings.
#[derive(Debug, Clone)]
pub struct CentralGaussian {
    parameters: usize,
    fraction_bits: u32,
    update_bound: u128,
    /// A/2; zero without adaptive clipping.
    half_step: u64,
    noise: DiscreteGaussian,
}

/// 32 secret bytes of one task, from the system's generator, that all of the task's
/// noise is derived from. Any party that knows them can take the noise off.
#[derive(Clone, PartialEq, Eq)]
pub struct NoiseSecret([u8; 32]);

/// A sum of contributions, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct CentralMean {
    /// The mean update, one value a parameter.
    pub mean: Vec<f32>,
    /// The share of contributions whose norm was within C, with noise, so that
    /// it may lie outside [0, 1]; `None` without adaptive clipping.
    pub within_clip: Option<f64>,
}

impl CentralGaussian {
    /// Derives the norm bound and the noise:
    /// - B = floor((2^f + √d / 2)²): a clipped update, rounded to the nearest
    ///   integers;
    /// - with adaptive clipping (A/2)² more, A/2 = 5 s / n but at most a twentieth
    ///   of B when squared;
    /// - s = z √B, rounded up to a multiple of 1/256 (to an integer above 2^30).
    ///
    /// # Errors
    ///
    /// The settings are out of range.
    pub fn derive(settings: &CentralGaussianSettings) -> Result<Self, CentralParameterError> {
        let &CentralGaussianSettings { parameters, clients, fraction_bits, .. } = settings;
        if !(1..=MAX_PARAMETERS).contains(&parameters) {
            return Err(CentralParameterError::Parameters { parameters });
        }
        if clients == 0 {
            return Err(CentralParameterError::NoClients);
        }
        if fraction_bits > MAX_FRACTION_BITS {
            return Err(CentralParameterError::FractionBits { fraction_bits });
        }
        let z = settings.noise_multiplier.value();
        let clip = ldexp(1.0, fraction_bits.cast_signed());
        let norm = clip + sqrt(parameters as f64) / 2.0;
        let update_bound = floor(norm * norm);
        let half_step = if settings.clip_indicator {
            let wanted = INDICATOR_SIGNAL * z * norm / f64::from(clients);
            floor(wanted.min(sqrt(INDICATOR_SHARE) * norm)).max(1.0)
        } else {
            0.0
        };
        let s = z * sqrt(update_bound + half_step * half_step);
        let denominator: u32 = if s < 1_073_741_824.0 { 256 } else { 1 };
        let numerator = ceil(s * f64::from(denominator));
        if numerator >= 9_007_199_254_740_992.0 {
            return Err(CentralParameterError::NoiseTooLarge);
        }
        let scale = Ratio::new(numerator as u64, u64::from(denominator))
            .map_err(|_| CentralParameterError::NoiseTooLarge)?;
        Ok(Self {
            parameters,
            fraction_bits,
            update_bound: update_bound as u128,
            half_step: half_step as u64,
            noise: DiscreteGaussian::new(scale),
        })
    }

    /// Integers of one contribution: one a parameter, and one more with adaptive
    /// clipping.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a model has at least one parameter")]
    pub fn len(&self) -> usize {
        self.parameters + usize::from(self.half_step > 0)
    }

    /// s: the standard deviation parameter of the noise of one release, or of one
    /// node of a tree.
    #[must_use]
    pub fn scale(&self) -> Ratio {
        self.noise.scale()
    }

    /// B: largest sum of squares of one contribution's integers.
    #[must_use]
    pub fn squared_norm_bound(&self) -> u128 {
        self.update_bound + u128::from(self.half_step).pow(2)
    }

    /// True if a contribution may be folded into a sum: the exact sum of its squares
    /// is at most [`Self::squared_norm_bound`], and its length is right.
    #[must_use]
    pub fn admits(&self, contribution: &[i64]) -> bool {
        contribution.len() == self.len() && squared_norm(contribution) <= self.squared_norm_bound()
    }

    /// ρ of one release with noise of its own.
    #[must_use]
    pub fn cost(&self) -> Rho {
        let bound = self.squared_norm_bound() as f64;
        discrete::cost(bound, self.scale().to_f64(), 1, self.len())
    }

    /// ρ of everything that a tree over the steps releases.
    #[must_use]
    pub fn tree_cost(&self, participation: Participation) -> Rho {
        Rho::from_raw(self.cost().value() * participation.tree_squared_sensitivity() as f64)
    }

    /// ρ of everything that is released with noise of a [`Correlation`] over the steps.
    #[must_use]
    pub fn correlated_cost(&self, correlation: &Correlation, participation: Participation) -> Rho {
        let bound = self.squared_norm_bound() as f64;
        let shift = correlation.sensitivity(participation, sqrt(bound), self.len());
        Rho::from_raw(self.cost().value() * (shift * shift / bound))
    }

    /// One client's contribution: `delta` clipped to `clip`, in integers, and the
    /// clip indicator if there is one. An update with a value that is not finite
    /// counts as all zeros. [`Self::admits`] what it returns.
    ///
    /// # Errors
    ///
    /// `delta` has not as many values as the model has parameters.
    pub fn encode(&self, delta: &[f32], clip: ClippingNorm) -> Result<Vec<i64>, EncodeError> {
        if delta.len() != self.parameters {
            return Err(EncodeError::WrongLength {
                expected: self.parameters,
                actual: delta.len(),
            });
        }
        let mut contribution = vec![0; self.len()];
        let norm = finite_norm(delta).unwrap_or(0.0);
        if norm > 0.0 {
            let factor = ldexp(
                (clip.value() / norm).min(1.0) / clip.value(),
                self.fraction_bits.cast_signed(),
            );
            for (integer, &value) in contribution.iter_mut().zip(delta) {
                *integer = rint(f64::from(value) * factor) as i64;
            }
            // The bound leaves room for the nearest integers; what floating point
            // might add to that has to be caught all the same.
            if squared_norm(&contribution) > self.update_bound {
                contribution.fill(0);
            }
        }
        if let Some(indicator) = contribution.get_mut(self.parameters) {
            let half = self.half_step.cast_signed();
            *indicator = if norm <= clip.value() { half } else { -half };
        }
        Ok(contribution)
    }

    /// Scales the update in a contribution by `factor`, which is at most 1 (a larger one
    /// counts as 1, one that is no number as 0). No integer grows by it, so
    /// [`Self::admits`] still holds. The clip indicator stays what it is.
    pub fn discount(&self, contribution: &mut [i64], factor: f64) {
        let factor = factor.clamp(0.0, 1.0);
        for integer in contribution.iter_mut().take(self.parameters) {
            // At most the bound's root in size, about 2^40, so exact in an f64.
            *integer = rint(*integer as f64 * factor) as i64;
        }
    }

    /// Adds the noise of release `round`, attempt `attempt`, to `sum`. Calling it
    /// again with the same arguments adds the same noise: never for two sums that
    /// differ. A repeated round is a new attempt, and a new cost.
    pub fn add_noise(&self, secret: &NoiseSecret, round: u32, attempt: u16, sum: &mut [i64]) {
        let stream = INDEPENDENT | u64::from(round) << 16 | u64::from(attempt);
        self.add(secret, stream, Sign::Plus, sum);
    }

    /// The mean of `survivors` contributions from their sum, with or without
    /// noise, in the units of `clip`.
    ///
    /// # Errors
    ///
    /// The sum has the wrong length.
    pub fn decode(
        &self,
        sum: &[i64],
        survivors: u32,
        clip: ClippingNorm,
    ) -> Result<CentralMean, EncodeError> {
        if sum.len() != self.len() {
            return Err(EncodeError::WrongLength { expected: self.len(), actual: sum.len() });
        }
        let contributions = f64::from(survivors.max(1));
        let unit = ldexp(clip.value(), -self.fraction_bits.cast_signed()) / contributions;
        let mean = sum[..self.parameters].iter().map(|&x| (x as f64 * unit) as f32).collect();
        let within_clip = sum
            .get(self.parameters)
            .map(|&x| 0.5 * (x as f64 / (self.half_step as f64 * contributions) + 1.0));
        Ok(CentralMean { mean, within_clip })
    }

    fn add(&self, secret: &NoiseSecret, stream: u64, sign: Sign, sum: &mut [i64]) {
        let mut rng = secret.generator(stream);
        // Wrapping: a sum modulo 2^64 keeps the privacy whatever its size.
        match sign {
            Sign::Plus => self.noise.fold_into(sum, &mut rng, |x, noise| {
                *x = x.wrapping_add(noise);
            }),
            Sign::Minus => self.noise.fold_into(sum, &mut rng, |x, noise| {
                *x = x.wrapping_sub(noise);
            }),
        }
    }
}

/// The two highest bits of a stream's number keep the kinds of noise apart.
const INDEPENDENT: u64 = 1 << 62;
const TREE: u64 = 1 << 63;
const CORRELATED: u64 = INDEPENDENT | TREE;

#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
}

/// A step that the noise was not made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the noise is for steps 1 to {steps}, there is no step {step}; its cost was planned for no more"
)]
pub struct StepError {
    /// The step asked for.
    pub step: u32,
    /// Steps that there are.
    pub steps: u32,
}

/// Noise along a binary tree over the steps of a task: the noise of the first t
/// releases together is that of at most log2(t) + 1 nodes, and each step's release
/// gets the difference to the step before (Kairouz et al. 2021).
///
/// Nothing is kept between steps: node noises are drawn again from the secret when
/// they are needed, so that a restart needs only the secret and the step. A step
/// takes time O(d) for each binary digit that changes in its number, two on
/// average, and no memory beside the sum.
///
/// One step is one release: after a failed attempt whose sum may have left the
/// server, go on with the next step.
#[derive(Debug, Clone)]
pub struct TreeAggregation {
    mechanism: CentralGaussian,
    secret: NoiseSecret,
    steps: u32,
}

impl TreeAggregation {
    /// A tree of `steps` steps, each node with `mechanism`'s noise.
    #[must_use]
    pub const fn new(mechanism: CentralGaussian, secret: NoiseSecret, steps: u32) -> Self {
        Self { mechanism, secret, steps }
    }

    /// The mechanism whose noise each node has.
    #[must_use]
    pub const fn mechanism(&self) -> &CentralGaussian {
        &self.mechanism
    }

    /// Steps of the tree.
    #[must_use]
    pub const fn steps(&self) -> u32 {
        self.steps
    }

    /// Adds step `step`'s noise to its sum: that of the prefix up to it less that
    /// of the prefix before it. Steps count from 1.
    ///
    /// # Errors
    ///
    /// The tree has no such step.
    pub fn add_increment(&self, step: u32, sum: &mut [i64]) -> Result<(), StepError> {
        if step == 0 || step > self.steps {
            return Err(StepError { step, steps: self.steps });
        }
        // The nodes of prefix t are the one bits of t. Adding one to step - 1
        // turns its trailing ones into one node that spans them all and the step.
        let level = step.trailing_zeros();
        let mechanism = &self.mechanism;
        mechanism.add(&self.secret, node_ending_at(level, step), Sign::Plus, sum);
        for level in 0..level {
            mechanism.add(&self.secret, node_ending_at(level, step - 1), Sign::Minus, sum);
        }
        Ok(())
    }
}

/// The stream of the node of 2^`level` steps that ends at the last multiple of its
/// width up to `step`.
fn node_ending_at(level: u32, step: u32) -> u64 {
    TREE | u64::from(level) << 32 | u64::from((step >> level) - 1)
}

impl NoiseSecret {
    /// Takes the bytes, which have to come from a cryptographic generator and
    /// serve one task only.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn generator(&self, stream: u64) -> ChaCha20Rng {
        let mut rng = ChaCha20Rng::from_seed(self.0);
        rng.set_stream(stream);
        rng
    }

    /// The bytes, for the store.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for NoiseSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseSecret(..)")
    }
}

/// The exact sum of squares, or `u128::MAX` if it is larger than that.
#[must_use]
pub fn squared_norm(values: &[i64]) -> u128 {
    // A product of two u64 takes one instruction, one of two u128 several.
    let square = |value: &i64| u128::from(value.unsigned_abs()) * u128::from(value.unsigned_abs());
    values.iter().map(square).fold(0, u128::saturating_add)
}
