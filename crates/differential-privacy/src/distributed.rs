//! The distributed discrete Gaussian mechanism (Kairouz, Liu and Steinke 2021):
//! every client rotates its clipped update, rounds it to an integer grid, adds
//! its share of exact discrete Gaussian noise, and sends the integers modulo 2^b
//! into a sum of which alone the server learns.
//!
//! It must not know how the sum is kept secret, nor claim any sampling. All
//! integers are in units of the clipping norm C, so that they stay fixed while C
//! adapts from round to round. The `local` policy is the same mechanism with one
//! share doing all the work (`survivors: 1`).

mod parameters;
#[cfg(test)]
mod tests;

use alloc::{vec, vec::Vec};

use libm::sqrt;
use rand_core::CryptoRng;
use thiserror::Error;

pub use parameters::{DistributedGaussianSettings, MAX_PARAMETERS, ParameterError};

use crate::{
    ClippingNorm, Rho, StandardDeviation,
    accounting::discrete::{cost, distance_from_gaussian},
    rotation::{flip_signs, walsh_hadamard},
    rounding::round_within,
    sampler::{DiscreteGaussian, Ratio},
    source::Source,
};

/// Reason that an update could not be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// Not one value for each parameter.
    #[error("the update has {actual} values, the task's model has {expected} parameters")]
    WrongLength {
        /// Parameters of the settings.
        expected: usize,
        /// Values given.
        actual: usize,
    },
}

/// Reason that a sum could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not [`DistributedGaussian::len`] values.
    #[error("the sum has {actual} values, {expected} were to be summed")]
    WrongLength {
        /// Values of an encoded update.
        expected: usize,
        /// Values given.
        actual: usize,
    },
    /// A value of 2^b or more.
    #[error("value {index} of the sum is not reduced modulo 2^{bits}")]
    NotReduced {
        /// Position of the first such value.
        index: usize,
        /// b.
        bits: u32,
    },
    /// Fewer contributions than the noise was shared out for: abandon the round.
    #[error(
        "{survivors} contributions hold too little noise, {needed} are needed; abandon the round"
    )]
    TooFewSurvivors {
        /// Contributions in the sum.
        survivors: u32,
        /// h.
        needed: u32,
    },
    /// More contributions than the modulus was chosen for.
    #[error("{survivors} contributions were summed, there is room for {most}")]
    TooManySurvivors {
        /// Contributions in the sum.
        survivors: u32,
        /// n.
        most: u32,
    },
}

/// Contents of a sum of encoded updates.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The mean update, with noise: one value a parameter.
    pub mean: Vec<f32>,
    /// The share of contributions whose norm was within C, with noise, so that
    /// it may lie outside [0, 1]; `None` without adaptive clipping.
    pub within_clip: Option<f64>,
}

/// The mechanism with all its integers derived from the task's settings. Client
/// and server derive the same ones.
#[derive(Debug, Clone)]
pub struct DistributedGaussian {
    parameters: usize,
    dimension: usize,
    clients: u32,
    survivors: u32,
    /// gamma / C.
    gamma: f64,
    /// Bound on the rotated coordinates' sum of squares.
    rotated_bound: u64,
    /// A/2, in units of the grid; zero without adaptive clipping.
    half_step: u32,
    bits: u32,
    noise: DiscreteGaussian,
}

/// Factor that brings a vector with this norm within `clip`. Of zeros it does not matter.
fn clipping_factor(norm: f64, clip: ClippingNorm) -> f64 {
    if norm == 0.0 { 0.0 } else { (clip.value() / norm).min(1.0) }
}

impl DistributedGaussian {
    /// Values of an encoded update: D = 2^⌈log2 d⌉, and one more with adaptive
    /// clipping.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a model has at least one parameter")]
    pub fn len(&self) -> usize {
        self.dimension + usize::from(self.half_step > 0)
    }

    /// d: parameters of the model.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// D: coordinates after padding to a power of two.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// n: most contributions that one sum may hold.
    #[must_use]
    pub fn clients(&self) -> u32 {
        self.clients
    }

    /// h: fewest honest contributions that a sum may hold.
    #[must_use]
    pub fn survivors(&self) -> u32 {
        self.survivors
    }

    /// b, at most 32: sums are modulo 2^b.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The grid's step, in units of the clipping norm.
    #[must_use]
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    /// s: the standard deviation parameter of one share of noise, in units of
    /// the grid; at least 4.
    #[must_use]
    pub fn scale(&self) -> Ratio {
        self.noise.scale()
    }

    /// B: largest sum of squares of one contribution's integers, the clip
    /// indicator's (A/2)² included.
    #[must_use]
    pub fn squared_norm_bound(&self) -> u64 {
        self.rotated_bound + u64::from(self.half_step).pow(2)
    }

    /// A/2, in units of the grid: the clip indicator adds or takes away this much;
    /// `None` without adaptive clipping.
    #[must_use]
    pub fn indicator_half_step(&self) -> Option<u32> {
        (self.half_step > 0).then_some(self.half_step)
    }

    /// τ: see [`distance_from_gaussian`].
    #[must_use]
    pub fn tau(&self) -> f64 {
        distance_from_gaussian(self.scale().to_f64(), self.survivors)
    }

    /// ρ that one participation costs a client, computed from the integers as they
    /// are. Adjacency: its contribution replaced by zeros.
    #[must_use]
    pub fn cost(&self) -> Rho {
        let bound = self.squared_norm_bound() as f64;
        cost(bound, self.scale().to_f64(), self.survivors, self.len())
    }

    /// Number of standard deviations of a sum of aligned contributions of full norm,
    /// and their noise, that fit between zero and the modulus's half. A wrap costs
    /// accuracy, never privacy.
    #[must_use]
    pub fn headroom(&self) -> f64 {
        self.headroom_of(self.bits)
    }

    /// [`Self::headroom`] if b were `bits`.
    #[must_use]
    pub fn headroom_of(&self, bits: u32) -> f64 {
        let spread = parameters::coordinate_deviation(
            self.dimension,
            self.clients,
            self.gamma,
            self.scale().to_f64(),
        );
        libm::ldexp(1.0, bits.cast_signed() - 1) / spread
    }

    /// The standard deviation of the noise on each parameter of the mean, in the
    /// units of `clip`: that of the shares and, at most, of the rounding.
    #[must_use]
    pub fn mean_noise(&self, survivors: u32, clip: ClippingNorm) -> StandardDeviation {
        let s = self.scale().to_f64();
        let one = sqrt(s * s + 0.25) * self.gamma * clip.value();
        StandardDeviation::from_raw(one / sqrt(f64::from(survivors.max(1))))
    }

    /// Encoded update of a client at its full weight: see
    /// [`DistributedGaussian::encode_weighted`].
    ///
    /// # Errors
    ///
    /// `delta` has not as many values as the model has parameters.
    pub fn encode(
        &self,
        delta: &[f32],
        clip: ClippingNorm,
        rotation: &[u8; 32],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<u32>, EncodeError> {
        self.encode_weighted(delta, 1.0, clip, rotation, rng)
    }

    /// Encoded update of a client: `delta` clipped to `clip`, multiplied by `weight`, which
    /// counts as 1 if it is more, rotated with the public seed `rotation`, rounded, with its
    /// share of noise, modulo 2^b. An update with a value that is not finite counts as all
    /// zeros. The bit that tells whether it was within `clip` has no weight.
    ///
    /// The noise is drawn anew by each call: encode once, keep the result, and
    /// send the identical values again after a reconnect.
    ///
    /// # Errors
    ///
    /// `delta` has not as many values as the model has parameters.
    pub fn encode_weighted(
        &self,
        delta: &[f32],
        weight: f64,
        clip: ClippingNorm,
        rotation: &[u8; 32],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Vec<u32>, EncodeError> {
        if delta.len() != self.parameters {
            return Err(EncodeError::WrongLength {
                expected: self.parameters,
                actual: delta.len(),
            });
        }
        let mut source = |bytes: &mut [u8]| rng.fill_bytes(bytes);
        Ok(self.encode_from(delta, weight, clip, rotation, &mut Source(&mut source)))
    }

    fn encode_from(
        &self,
        delta: &[f32],
        weight: f64,
        clip: ClippingNorm,
        rotation: &[u8; 32],
        rng: &mut Source,
    ) -> Vec<u32> {
        let norm = finite_norm(delta).unwrap_or(0.0);
        let factor = clipping_factor(norm, clip) * weight.clamp(0.0, 1.0);
        let rotated = self.rotate(delta, factor, clip, rotation);
        let mut values = vec![0; self.len()];
        round_within(&rotated, &mut values[..self.dimension], self.rotated_bound, rng);
        if let Some(indicator) = values.get_mut(self.dimension) {
            let half = self.half_step;
            *indicator = if norm <= clip.value() { half } else { half.wrapping_neg() };
        }
        let mask = self.mask();
        self.noise.fold_into(&mut values, rng, |value, noise| {
            *value = value.wrapping_add(noise as u32) & mask;
        });
        values
    }

    /// The mean update that a sum of `survivors` encoded updates stands for.
    /// `clip` and `rotation` are the round's.
    ///
    /// # Errors
    ///
    /// The sum has the wrong length or a value of 2^b or more, or `survivors` is
    /// not within h..=n.
    pub fn decode(
        &self,
        sum: &[u32],
        survivors: u32,
        clip: ClippingNorm,
        rotation: &[u8; 32],
    ) -> Result<Decoded, DecodeError> {
        self.check(sum, survivors)?;
        let contributions = f64::from(survivors);
        let within_clip = sum.get(self.dimension).map(|&value| {
            let mean = f64::from(self.lift(value)) / (f64::from(self.half_step) * contributions);
            0.5 * (mean + 1.0)
        });
        let mut mean: Vec<f32> =
            sum[..self.dimension].iter().map(|&value| self.lift(value) as f32).collect();
        walsh_hadamard(&mut mean);
        flip_signs(&mut mean, rotation);
        mean.truncate(self.parameters);
        let unit = self.gamma * clip.value() / (sqrt(self.dimension as f64) * contributions);
        for value in &mut mean {
            *value = (f64::from(*value) * unit) as f32;
        }
        Ok(Decoded { mean, within_clip })
    }

    /// The update times `factor`, rotated, in units of the grid.
    fn rotate(
        &self,
        delta: &[f32],
        factor: f64,
        clip: ClippingNorm,
        rotation: &[u8; 32],
    ) -> Vec<f32> {
        let mut rotated = vec![0.0; self.dimension];
        if factor == 0.0 {
            return rotated;
        }
        let factor = factor / (self.gamma * clip.value() * sqrt(self.dimension as f64));
        for (rotated, &value) in rotated.iter_mut().zip(delta) {
            *rotated = (f64::from(value) * factor) as f32;
        }
        flip_signs(&mut rotated, rotation);
        walsh_hadamard(&mut rotated);
        rotated
    }

    fn check(&self, sum: &[u32], survivors: u32) -> Result<(), DecodeError> {
        if sum.len() != self.len() {
            return Err(DecodeError::WrongLength { expected: self.len(), actual: sum.len() });
        }
        if survivors < self.survivors {
            return Err(DecodeError::TooFewSurvivors { survivors, needed: self.survivors });
        }
        if survivors > self.clients {
            return Err(DecodeError::TooManySurvivors { survivors, most: self.clients });
        }
        let (mask, bits) = (self.mask(), self.bits);
        match sum.iter().position(|value| value & !mask != 0) {
            Some(index) => Err(DecodeError::NotReduced { index, bits }),
            None => Ok(()),
        }
    }

    /// The integer in [-2^(b-1), 2^(b-1)) that `value` stands for.
    fn lift(&self, value: u32) -> i32 {
        let unused = 32 - self.bits;
        (value << unused).cast_signed() >> unused
    }

    fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.bits)
    }
}

/// The L2 norm, or `None` if a value is not finite. Squares of `f32` cannot
/// overflow an `f64`.
pub(crate) fn finite_norm(values: &[f32]) -> Option<f64> {
    const LANES: usize = 8;
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    let square = sums.iter().sum::<f64>() + rest;
    square.is_finite().then(|| sqrt(square))
}
