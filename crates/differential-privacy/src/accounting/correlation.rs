//! Noise that is correlated over the steps of a task: each step takes back a part of the
//! noise of the steps before, so that the sum of many steps has little of it.
//!
//! # What is added
//!
//! Let z_1, z_2, ... be independent noise of standard deviation z C each. With a band of p
//! steps, step t gets
//!
//! w_t = z_t + R(d_1 z_{t-1} + ... + d_{p-1} z_{t-p+1}),
//!
//! R rounding to the nearest integer, and no noise before step 1. The coefficients d_i are the
//! first p of the power series (1 - x)^γ, rounded to multiples of 2^-16: 1, -γ, -γ(1 - γ)/2, ...
//! The noise of a sum of t steps is z_t + (1 + d_1) z_{t-1} + (1 + d_1 + d_2) z_{t-2} + ..., whose
//! parts become small. γ = 0 is fresh noise in every step. γ = 1/2 is the banded inverse
//! square root of Kalinin, McKenna, Upadhyay and Lampert 2025; other exponents are better for
//! short bands (Kalinin et al. 2026, "Beyond Square Roots").
//!
//! # Why the cost is right
//!
//! Take two data sets that differ in one person, and the same releases under both. They
//! determine z_t under each. Let s_t be the difference of the two, and u_t that of the sums
//! without noise: the person's contribution, or 0. Then s_t + Σ d_i s_{t-i} = u_t + e_t, where e_t
//! is what rounding adds, at most 1 in each coordinate. So s = C (u + e) for the lower triangular
//! Toeplitz matrix C whose entries c_0, c_1, ... are the power series 1 / Σ d_i x^i.
//!
//! Given the releases before it, a release is the integers of its data set and z_t, with
//! integers that differ by s_t. That is what [`discrete`](super::discrete) asks for: the cost is
//! Σ |s_t|² over twice the variance, whatever the releases before have decided.
//!
//! **The longest shift.** Let c_0 >= c_1 >= ... >= 0. With contributions of length 1 at most, in
//! steps t_1 < t_2 < ..., |C u|² is at most the sum of ⟨C_i, C_j⟩ over all pairs of them, where
//! C_i is the column of t_i. For i <= j that is Σ_n c_n c_{n + t_j - t_i}, n up to T - t_j. It
//! shrinks as t_j and the distance t_j - t_i grow. With steps that are at least b apart,
//! t_j >= 1 + (j - 1) b and t_j - t_i >= (j - i) b: both are least for steps 1, 1 + b, 1 + 2b, ...
//! This pattern is the worst, and its shift is exact (Kalinin and Lampert 2024, "Banded
//! Square Root Matrix Factorization", Theorem 2). Whether the c fall is checked.
//!
//! **The rounding.** |C e| is at most Σ c_t times |e|, which is at most √(T D) for D coordinates.
//! In the grid of the noise that is next to nothing.

use alloc::{vec, vec::Vec};

use libm::{rint, sqrt};

use super::Participation;

/// Bits after the binary point of a coefficient.
pub(crate) const COEFFICIENT_BITS: u32 = 16;

/// Room for errors of floating point in a sensitivity.
const SLACK: f64 = 1e-9;

/// The coefficients by which a step takes back noise of earlier steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correlation {
    /// d_0, d_1, ... in units of 2^-16.
    coefficients: Vec<i32>,
}

impl Correlation {
    /// Largest exponent, in hundredths.
    pub const MAX_EXPONENT: u32 = 100;

    /// The first `band` coefficients of (1 - x)^γ, at least one, for γ of `exponent`
    /// hundredths, at most [`Self::MAX_EXPONENT`].
    #[must_use]
    pub fn fractional(band: u32, exponent: u32) -> Self {
        let gamma = f64::from(exponent.min(Self::MAX_EXPONENT)) / 100.0;
        let mut coefficient = 1.0;
        let unit = f64::from(1_u32 << COEFFICIENT_BITS);
        let coefficients = (0..band.max(1))
            .map(|i| {
                if i > 0 {
                    coefficient *= (f64::from(i - 1) - gamma) / f64::from(i);
                }
                rint(coefficient * unit) as i32
            })
            .collect();
        Self { coefficients }
    }

    /// The exponent, in hundredths, with which a band of `band` steps leaves least noise in
    /// the sums of steps at equal cost: the squared [sensitivity](Self::sensitivity) times the
    /// mean of [`Self::prefix_variances`] is least.
    ///
    /// Tasks keep what it returned: another result for the same arguments makes them other
    /// tasks.
    #[must_use]
    pub fn best_exponent(band: u32, limits: Participation) -> u32 {
        let error = |exponent: &u32| {
            let correlation = Self::fractional(band, *exponent);
            let sensitivity = correlation.sensitivity(limits, 1.0, 0);
            sensitivity * sensitivity * correlation.prefix_variances(limits.steps).sum::<f64>()
        };
        let least = |exponents: &mut dyn Iterator<Item = u32>| {
            let rated = exponents.map(|exponent| (error(&exponent), exponent));
            rated.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0, |(_, exponent)| exponent)
        };
        let near = least(&mut (0..=Self::MAX_EXPONENT).step_by(10));
        least(&mut (near.saturating_sub(9)..=(near + 9).min(Self::MAX_EXPONENT)))
    }

    /// d_0 = 1, d_1, ... in units of 2^-16.
    #[must_use]
    pub fn coefficients(&self) -> &[i32] {
        &self.coefficients
    }

    /// The longest shift of all the noise together that one person's contributions are worth:
    /// the root of Σ |s_t|². `norm` is the length of a contribution at most, in steps of the
    /// grid; `coordinates` are the integers of one, which rounding may change.
    ///
    /// Infinite for a correlation whose inverse does not fall.
    #[must_use]
    pub fn sensitivity(&self, limits: Participation, norm: f64, coordinates: usize) -> f64 {
        let Participation { steps, participations, separation } = limits;
        if participations == 0 {
            return 0.0;
        }
        let taken: Vec<f64> = self.values().skip(1).map(|value| -value).collect();
        let steps = steps as usize;
        let separation = separation.max(1) as usize;
        // The columns of the pattern end here; far beyond the last step, it does not matter.
        let end = separation.saturating_mul(participations as usize);
        let (mut inverse, mut shift) = (vec![0.0; steps], vec![0.0; steps]);
        let (mut squares, mut total) = (0.0, 0.0);
        for t in 0..steps {
            let from_earlier = taken.iter().zip(inverse[..t].iter().rev()).map(|(d, c)| d * c);
            let c: f64 = if t == 0 { 1.0 } else { from_earlier.sum() };
            if t > 0 && !(0.0..=inverse[t - 1]).contains(&c) {
                return f64::INFINITY;
            }
            inverse[t] = c;
            let begun = if t < separation { 0.0 } else { shift[t - separation] };
            let ended = if t < end { 0.0 } else { inverse[t - end] };
            shift[t] = (c + begun - ended).max(0.0);
            squares += shift[t] * shift[t];
            total += c;
        }
        let rounding = total * sqrt(steps as f64 * coordinates as f64);
        (norm * sqrt(squares) + rounding) * (1.0 + SLACK)
    }

    /// The variance of the noise in the sum of the first t steps, in units of z² C², for t
    /// from 1 to `steps`. It grows.
    pub fn prefix_variances(&self, steps: u32) -> impl Iterator<Item = f64> {
        let mut values = self.values();
        let (mut weight, mut variance) = (0.0, 0.0);
        (0..steps).map(move |_| {
            weight += values.next().unwrap_or(0.0);
            variance += weight * weight;
            variance
        })
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        let unit = f64::from(1_u32 << COEFFICIENT_BITS);
        self.coefficients.iter().map(move |&coefficient| f64::from(coefficient) / unit)
    }
}

#[cfg(test)]
mod tests;
