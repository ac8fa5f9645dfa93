//! Derivation of the mechanism's integers from a task's privacy settings.
//!
//! Both ends derive them, so nothing here may depend on the platform: basic
//! arithmetic and `libm` only.

use libm::{ceil, floor, ldexp, log2, sqrt};
use thiserror::Error;

use super::DistributedGaussian;
use crate::{
    NoiseMultiplier,
    accounting::discrete::rounded_squared_norm,
    rounding::LARGEST,
    sampler::{DiscreteGaussian, Ratio},
};

/// Most parameters of a model.
pub const MAX_PARAMETERS: usize = 1 << 28;

/// Largest grid step, in units of C / √D.
const COARSEST_GRID: f64 = 0.2;

/// Least standard deviation parameter of a share, in units of the grid: from here on
/// shares sum to a discrete Gaussian up to 10^-67.
const LEAST_SCALE: f64 = 4.0;

/// Shares are rounded up to this many parts of the grid's step.
const SCALE_PARTS: f64 = 256.0;

/// Standard deviations of a sum that the modulus has to hold on either side.
const HEADROOM: f64 = 6.0;

/// The clip indicator's half step, in standard deviations of one share times
/// 1/√n: so the mean of n bits has noise of standard deviation 1/10, which moves
/// an adapted clipping norm by two per cent.
const INDICATOR_SIGNAL: f64 = 5.0;

/// The least that will do, with noise of 1/5, where more would cost every
/// coordinate one more bit.
const LEAST_INDICATOR_SIGNAL: f64 = 2.5;

/// The most that the indicator may add to the squared sensitivity, as a share.
const INDICATOR_SHARE: f64 = 0.05;

/// Settings of one round, from a task's privacy policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DistributedGaussianSettings {
    /// d: parameters of the model.
    pub parameters: usize,
    /// n: most contributions that one sum may hold.
    pub clients: u32,
    /// h: fewest honest contributions that a sum may hold, which is the least
    /// number of survivors less the colluders assumed. 1 for local privacy.
    pub survivors: u32,
    /// z: noise of the sum over its sensitivity, when h contributions survive.
    pub noise_multiplier: NoiseMultiplier,
    /// Adds a coordinate that tells how many updates were within the clipping norm,
    /// for adaptive clipping (Andrew et al. 2021).
    pub clip_indicator: bool,
}

/// Reason that settings have no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParameterError {
    /// A model without parameters, or with more than [`MAX_PARAMETERS`].
    #[error("a model has 1 to {MAX_PARAMETERS} parameters, not {parameters}")]
    Parameters {
        /// d.
        parameters: usize,
    },
    /// h is zero, or more than n.
    #[error(
        "of {clients} clients, {survivors} honest survivors cannot carry the noise; give 1 to {clients}"
    )]
    Survivors {
        /// h.
        survivors: u32,
        /// n.
        clients: u32,
    },
    /// The noise is so little for so many clients that no grid is fine enough.
    #[error(
        "a noise multiplier this small over this many clients needs a grid finer than 2^-24 of the clipping norm; use more noise"
    )]
    GridTooFine,
    /// Sums would not fit into 32 bits.
    #[error(
        "sums would need {bits} bits, 32 are the most; use less noise or fewer clients, or more survivors"
    )]
    TooManyBits {
        /// b.
        bits: u32,
    },
}

impl DistributedGaussian {
    /// Derives gamma, s, B and b (Kairouz, Liu and Steinke 2021, sections 4 and
    /// 5), all in units of the clipping norm:
    /// - gamma = min(0.2 / √D, z / (4 √h)): fine enough for the rounding to cost
    ///   about half a per cent of sensitivity, and for s >= 4;
    /// - B = floor(Δ²) + (A/2)², with Δ as in
    ///   [`rounded_squared_norm`];
    /// - s = z √B / √h, rounded up to a multiple of 1/256;
    /// - A/2 = 5 s / √n, noise of one tenth on the mean bit; down to half of that
    ///   if it saves a bit of b; and at most a twentieth of Δ² when squared;
    /// - b: the least for which six standard deviations of the sum fit, and the
    ///   indicator's largest sum with six of its noise.
    ///
    /// # Errors
    ///
    /// The settings are out of range, or the sums would not fit into 32 bits.
    pub fn derive(settings: &DistributedGaussianSettings) -> Result<Self, ParameterError> {
        let &DistributedGaussianSettings { parameters, clients, survivors, .. } = settings;
        if !(1..=MAX_PARAMETERS).contains(&parameters) {
            return Err(ParameterError::Parameters { parameters });
        }
        if survivors == 0 || survivors > clients {
            return Err(ParameterError::Survivors { survivors, clients });
        }
        let z = settings.noise_multiplier.value();
        let dimension = parameters.next_power_of_two();
        let root_h = sqrt(f64::from(survivors));
        let gamma = (COARSEST_GRID / sqrt(dimension as f64)).min(z / (LEAST_SCALE * root_h));
        if 2.0 / gamma > f64::from(LARGEST) {
            return Err(ParameterError::GridTooFine);
        }
        let rotated_bound = floor(rounded_squared_norm(1.0 / gamma, dimension));
        let half_step = if settings.clip_indicator {
            let scale = (z * sqrt(rotated_bound) / root_h).max(LEAST_SCALE);
            let bits = bits(dimension, clients, gamma, scale, 0.0);
            half_step(rotated_bound, scale, clients, bits)
        } else {
            0.0
        };
        let bound = rotated_bound + half_step * half_step;
        let parts = ceil(SCALE_PARTS * (z * sqrt(bound) / root_h).max(LEAST_SCALE));
        let scale = parts / SCALE_PARTS;
        let bits = bits(dimension, clients, gamma, scale, half_step);
        if bits > 32 {
            return Err(ParameterError::TooManyBits { bits });
        }
        let scale = Ratio::new(parts as u64, SCALE_PARTS as u64)
            .expect("a scale that fits into 32 bits has 40 with its fraction");
        Ok(Self {
            parameters,
            dimension,
            clients,
            survivors,
            gamma,
            rotated_bound: rotated_bound as u64,
            half_step: half_step as u32,
            bits,
            noise: DiscreteGaussian::new(scale),
        })
    }
}

/// A/2 in units of the grid, a whole number of at least 1; `bits` is what the
/// other coordinates need.
fn half_step(squared_norm: f64, scale: f64, clients: u32, bits: u32) -> f64 {
    let n = f64::from(clients);
    // The indicator itself makes the scale a little larger.
    let noise = HEADROOM * sqrt(n) * scale * sqrt(1.0 + INDICATOR_SHARE);
    let room = (ldexp(1.0, bits.cast_signed() - 1) - noise) / n;
    let unit = scale / sqrt(n);
    let wanted = if room >= LEAST_INDICATOR_SIGNAL * unit {
        room.min(INDICATOR_SIGNAL * unit)
    } else {
        INDICATOR_SIGNAL * unit
    };
    floor(wanted.min(sqrt(INDICATOR_SHARE * squared_norm))).max(1.0)
}

/// b.
fn bits(dimension: usize, clients: u32, gamma: f64, scale: f64, half_step: f64) -> u32 {
    let n = f64::from(clients);
    let rotated = HEADROOM * coordinate_deviation(dimension, clients, gamma, scale);
    let indicator = n * half_step + HEADROOM * sqrt(n) * scale;
    let half = if half_step > 0.0 { rotated.max(indicator) } else { rotated };
    ceil(log2(half)).max(0.0) as u32 + 1
}

/// The standard deviation of one coordinate of a sum of n rotated contributions
/// of full norm that all agree, with rounding and noise, in units of the grid:
/// √((n C)²/(D gamma²) + n (1/4 + s²)).
pub(super) fn coordinate_deviation(dimension: usize, clients: u32, gamma: f64, scale: f64) -> f64 {
    let n = f64::from(clients);
    let signal = n / gamma;
    sqrt(signal * signal / dimension as f64 + n * (0.25 + scale * scale))
}
