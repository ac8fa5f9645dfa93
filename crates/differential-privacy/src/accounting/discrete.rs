//! The cost of discrete Gaussian noise, alone or as a sum of shares: that of a
//! continuous Gaussian whose variance is smaller by about three grid steps squared.
//!
//! All lengths are in units of the grid: what the integers are.
//!
//! # Why the cost is right
//!
//! Let g_v be the density of the normal law N(0, v), and D_v the discrete Gaussian:
//! the law on the integers whose weights are proportional to g_v. A share has the law
//! D_v with v = s². For any real c, Poisson summation gives
//!
//! Σ_n g_v(n - c) = 1 + 2 Σ_{k>=1} exp(-2π² v k²) cos(2πkc),
//!
//! which lies within 1 ± θ_v for θ_v = 2 Σ_{k>=1} exp(-2π² v k²). All the rest follows
//! from that.
//!
//! **A discrete Gaussian is a rounded normal law, up to a factor.** Draw x from
//! N(a, v) with an integer a, then round it at random: to n with probability
//! proportional to g_t(n - x). The sum of these weights is within 1 ± θ_t for every x,
//! and normal laws convolve to a normal law. So n has the probability g_{v+t}(n - a), up to
//! a factor between 1/(1 + θ_t) and 1/(1 - θ_t). The rounding does not need to know a.
//!
//! **A sum of shares is one, too.** D_v(n) is g_v(n) up to a factor between
//! 1/(1 + θ_v) and 1/(1 - θ_v). If the law of k shares is g_{kv} up to a factor, one share
//! more makes it Σ_m g_{kv}(m) g_v(n - m), which is g_{(k+1)v}(n) times a sum as above for
//! the variance v k/(k+1). So the logarithm of h shares' law differs from that of g_{hv}
//! by [`distance_from_gaussian`] at most, and for h = 1 by ln 1/(1 - θ_v). (Kairouz, Liu
//! and Steinke 2021, section 4, compare the sum with D_{hv} in this way.)
//!
//! **Many releases.** Take two data sets that differ in one subject, and the releases of a
//! task, each of which may depend on those before it. Given those, a release is
//! q + noise under one data set and q' + noise under the other, for integer vectors q
//! and q'. Replace the noise by normal noise of variance w = h v - t in each coordinate,
//! rounded at random as above. Under either data set, that changes the probability of any
//! outcome by a factor within exp(±η): η adds up the logarithms of the factors above over
//! the coordinates of the releases that the subject takes part in. (Where q = q',
//! nothing needs to be replaced.)
//!
//! **One normal law.** With normal noise the whole outcome can be made from one
//! Brownian path with drift, B(r) + b r: b = 0 for one data set, b = 1 for the other. A
//! release whose shift q' - q has the length L takes the path's next stretch, L²/w long.
//! The stretch's increment times w/L is its shift and noise in the direction of q' - q; the
//! noise in all other directions does not depend on b. If Σ L²/w never exceeds μ², the
//! path up to μ² is enough, and all that it says about b is its end, N(b μ², μ²). So
//! no test tells the data sets apart better than it tells N(0, 1) from N(μ, 1). That holds
//! even if earlier releases decide which rounds a subject takes part in. (Gaussian
//! differential privacy: Dong, Roth and Su 2022; its filter: Smith and Thakurta 2022.)
//!
//! **Together.** If N(0, 1) and N(μ, 1) are (ε, δ')-close, the discrete releases are
//! (ε + 2η, exp(η) δ')-private. [`Rho::epsilon`] computes that, with η = 2.5e-10.
//!
//! The subtracted t is not a weakness of the argument. The δ of a discrete Gaussian
//! oscillates about that of the normal law of the same variance, and for some ε lies
//! above it, by a share that falls as 1/(h s²).

use core::f64::consts::PI;

use libm::{exp, log, sqrt};

use crate::Rho;

/// -ln β of conditional rounding.
const LOG_INVERSE_BETA: f64 = 0.5;

/// Smoothness 2π² t - ln D of the rounding. With it, the logarithms of a release's law
/// and of the rounded normal law differ by 4.1 e^-46 at most, all D coordinates together.
const SMOOTHNESS: f64 = 46.0;

/// Most that the sum of shares may add to that: D τ.
const MOST_DISTANCE: f64 = 1e-20;

/// Slack η of 2^32 releases: each has 5.4e-20 at most.
pub(super) const SLACK: f64 = 2.5e-10;

/// Distance of the sum of `shares` discrete Gaussians of standard deviation
/// parameter `scale` from one discrete Gaussian: τ = 10 Σ exp(-2π² s² k / (k + 1))
/// over k from 1 to `shares` - 1. A bound, too, on the logarithm of the ratio of the
/// sum's law and the normal density.
#[must_use]
pub fn distance_from_gaussian(scale: f64, shares: u32) -> f64 {
    let exponent = -2.0 * PI * PI * scale * scale;
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

/// ρ of a release that holds at least `shares` shares of noise of standard deviation
/// parameter `scale` in each of `coordinates`, when one contribution's squared
/// norm is at most `squared_norm`: ρ = Δ² / (2 (h s² - t)), with
/// t = (46 + ln D) / (2π²), between 2.3 and 3.4.
///
/// Infinite where shares are so small that their sum is no Gaussian: from a scale of 4
/// on they are large enough.
#[must_use]
pub fn cost(squared_norm: f64, scale: f64, shares: u32, coordinates: usize) -> Rho {
    let d = coordinates.max(1) as f64;
    let smoothing = (SMOOTHNESS + log(d)) / (2.0 * PI * PI);
    let variance = f64::from(shares) * scale * scale - smoothing;
    if variance <= 0.0 || d * distance_from_gaussian(scale, shares) > MOST_DISTANCE {
        return Rho::from_raw(f64::INFINITY);
    }
    Rho::from_raw(0.5 * squared_norm / variance * (1.0 + 16.0 * f64::EPSILON))
}

#[cfg(test)]
mod tests;
