//! The cost of the distributed discrete Gaussian (Kairouz, Liu and Steinke 2021,
//! Theorem 1): shares of discrete Gaussian noise, summed.
//!
//! All lengths are in units of the grid: what the integers are.

use libm::{exp, sqrt};

use crate::Rho;

/// -ln β of conditional rounding.
const LOG_INVERSE_BETA: f64 = 0.5;

/// Distance of the sum of `shares` discrete Gaussians of standard deviation
/// parameter `scale` from one discrete Gaussian: τ = 10 Σ exp(-2π² s² k / (k + 1))
/// over k from 1 to `shares` - 1.
#[must_use]
pub fn distance_from_gaussian(scale: f64, shares: u32) -> f64 {
    let exponent = -2.0 * core::f64::consts::PI * core::f64::consts::PI * scale * scale;
    // The terms fall to their limit exp(-2π² s²); far out they are bounded by the
    // last one that was looked at, so that a huge cohort costs no time.
    const SUMMED: u32 = 10_000;
    let term = |k: u32| exp(exponent * f64::from(k) / f64::from(k + 1));
    let last = shares.saturating_sub(1);
    let sum: f64 = (1..=last.min(SUMMED)).map(term).sum();
    10.0 * (sum + f64::from(last.saturating_sub(SUMMED)) * term(SUMMED))
}

/// Δ²: the squared norm that conditional rounding lets through, for vectors of
/// `dimension` coordinates whose norm was at most `norm` before (β = exp(-1/2)):
/// min{ c² + D/4 + √(2 ln(1/β)) (c + √D/2), (c + √D)² }.
#[must_use]
pub fn rounded_squared_norm(norm: f64, dimension: usize) -> f64 {
    let d = dimension as f64;
    let slack = sqrt(2.0 * LOG_INVERSE_BETA) * (norm + sqrt(d) / 2.0);
    let likely = norm * norm + d / 4.0 + slack;
    let always = (norm + sqrt(d)) * (norm + sqrt(d));
    likely.min(always)
}

/// ρ of a sum that holds at least `shares` shares of noise of standard deviation
/// parameter `scale` in each of `coordinates`, when one contribution's squared
/// norm is at most `squared_norm`:
/// ρ = 1/2 min{ Δ²/(h s²) + 2 τ D, (Δ/(√h s) + τ √D)² }.
#[must_use]
pub fn cost(squared_norm: f64, scale: f64, shares: u32, coordinates: usize) -> Rho {
    let d = coordinates as f64;
    let tau = distance_from_gaussian(scale, shares);
    let ratio = squared_norm / (f64::from(shares) * scale * scale);
    let root = sqrt(ratio) + tau * sqrt(d);
    Rho::from_raw(0.5 * (ratio + 2.0 * tau * d).min(root * root))
}
