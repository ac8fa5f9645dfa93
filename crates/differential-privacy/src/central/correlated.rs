//! Noise of which each step takes back a part of the steps before.

use alloc::{vec, vec::Vec};

use super::{CORRELATED, CentralGaussian, NoiseSecret, StepError};
use crate::accounting::Correlation;
use crate::accounting::correlation::COEFFICIENT_BITS;

/// Values whose noise is added up at once: memory does not grow with the model.
const CHUNK: usize = 4096;

/// Noise that is correlated over the steps of a task by a [`Correlation`]: what each step
/// adds to its sum.
///
/// Nothing is kept between steps: noise of earlier steps is drawn again from the secret, so
/// that a restart needs only the secret and the step. A step takes time O(d) for each
/// coefficient, and little memory beside the sum.
///
/// One step is one release: after a failed attempt whose sum may have left the
/// server, go on with the next step.
#[derive(Debug, Clone)]
pub struct CorrelatedNoise {
    mechanism: CentralGaussian,
    secret: NoiseSecret,
    correlation: Correlation,
    steps: u32,
}

impl CorrelatedNoise {
    /// Noise of `steps` steps, made of `mechanism`'s.
    #[must_use]
    pub const fn new(
        mechanism: CentralGaussian,
        secret: NoiseSecret,
        correlation: Correlation,
        steps: u32,
    ) -> Self {
        Self { mechanism, secret, correlation, steps }
    }

    /// The mechanism that the noise is made of.
    #[must_use]
    pub const fn mechanism(&self) -> &CentralGaussian {
        &self.mechanism
    }

    /// Adds step `step`'s noise to its sum. Steps count from 1.
    ///
    /// # Errors
    ///
    /// There is no such step.
    pub fn add(&self, step: u32, sum: &mut [i64]) -> Result<(), StepError> {
        if step == 0 || step > self.steps {
            return Err(StepError { step, steps: self.steps });
        }
        let coefficients = self.correlation.coefficients().iter().map(|&d| i128::from(d));
        let mut draws: Vec<_> = coefficients
            .zip((1..=step).rev())
            .filter(|(coefficient, _)| *coefficient != 0)
            .map(|(coefficient, from)| {
                (coefficient, self.secret.generator(CORRELATED | u64::from(from)))
            })
            .collect();
        let mut noise = vec![0_i128; sum.len().min(CHUNK)];
        for values in sum.chunks_mut(CHUNK) {
            let noise = &mut noise[..values.len()];
            noise.fill(0);
            for (coefficient, generator) in &mut draws {
                self.mechanism.noise.fold_into(noise, generator, |noise, drawn| {
                    *noise += *coefficient * i128::from(drawn);
                });
            }
            // Wrapping: a sum modulo 2^64 keeps the privacy whatever its size.
            for (value, noise) in values.iter_mut().zip(noise) {
                *value = value.wrapping_add(rounded(*noise));
            }
        }
        Ok(())
    }
}

/// The nearest integer to `noise` in units of the coefficients, upwards from the middle.
const fn rounded(noise: i128) -> i64 {
    ((noise + (1 << (COEFFICIENT_BITS - 1))) >> COEFFICIENT_BITS) as i64
}

#[cfg(test)]
mod tests;
