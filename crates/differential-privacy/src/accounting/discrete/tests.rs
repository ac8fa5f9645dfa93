//! The bound beside the laws themselves: sums over every outcome of small discrete
//! Gaussians.

use std::vec::Vec;

use super::*;
use crate::{Delta, Epsilon};

/// Weight of the normal law N(0, `variance`) at `x`, without its factor.
fn weight(x: f64, variance: f64) -> f64 {
    exp(-x * x / (2.0 * variance))
}

/// Law of the sum of `shares` discrete Gaussians on -r..=r, for r = (length - 1) / 2.
fn law(scale: f64, shares: u32) -> Vec<f64> {
    let reach = libm::ceil(14.0 * scale) as i32;
    let weights: Vec<f64> = (-reach..=reach).map(|n| weight(f64::from(n), scale * scale)).collect();
    let total: f64 = weights.iter().sum();
    let one: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
    (1..shares).fold(one.clone(), |sum, _| {
        let mut next = std::vec![0.0; sum.len() + one.len() - 1];
        for (i, p) in sum.iter().enumerate() {
            for (j, q) in one.iter().enumerate() {
                next[i + j] += p * q;
            }
        }
        next
    })
}

/// Outcomes of noise with and without a shift, in several coordinates: pairs of
/// probabilities.
fn outcomes(law: &[f64], shift: &[i32]) -> Vec<(f64, f64)> {
    shift.iter().fold(std::vec![(1.0, 1.0)], |before, &shift| {
        let at = |n: i32| usize::try_from(n).ok().and_then(|n| law.get(n)).copied().unwrap_or(0.0);
        let last = law.len() as i32 + shift;
        let one: Vec<(f64, f64)> = (0..last).map(|n| (at(n - shift), at(n))).collect();
        before.iter().flat_map(|(a, b)| one.iter().map(move |(c, d)| (a * c, b * d))).collect()
    })
}

/// The δ that the outcomes themselves have.
fn exact_delta(outcomes: &[(f64, f64)], epsilon: f64) -> f64 {
    outcomes.iter().map(|(with, without)| (with - exp(epsilon) * without).max(0.0)).sum()
}

fn exact_epsilon(outcomes: &[(f64, f64)], delta: f64) -> f64 {
    let (mut low, mut high) = (0.0, 200.0);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if exact_delta(outcomes, middle) <= delta { high = middle } else { low = middle }
    }
    high
}

fn squared_norm(shift: &[i32]) -> f64 {
    shift.iter().map(|x| f64::from(x * x)).sum()
}

/// Values of ε so close that no δ escapes between two thresholds of the lattice.
fn epsilons() -> impl Iterator<Item = f64> {
    (0..240).map(|i| f64::from(i) * 0.043)
}

/// Scales, shares and shifts: single values, several coordinates or rounds, and the
/// shape that a long vector has.
const CASES: [(f64, u32, &[i32]); 10] = [
    (4.0, 1, &[1]),
    (4.0, 1, &[4]),
    (4.0, 1, &[11]),
    (4.0, 2, &[5]),
    (4.0, 3, &[17]),
    (5.5, 2, &[9]),
    (16.0, 4, &[32]),
    (4.0, 1, &[5, 0]),
    (4.0, 1, &[3, 4]),
    (4.0, 2, &[2, -2]),
];

#[test]
fn never_below_the_laws_themselves() {
    for (scale, shares, shift) in CASES {
        let outcomes = outcomes(&law(scale, shares), shift);
        let cost = cost(squared_norm(shift), scale, shares, shift.len());
        for epsilon in epsilons() {
            let exact = exact_delta(&outcomes, epsilon);
            let bound = cost.delta(Epsilon::new(epsilon).expect("an epsilon"));
            // A sum over outcomes has rounding errors of its own.
            assert!(
                exact <= bound + 1e-13,
                "{scale} {shares} {shift:?} {epsilon}: {exact} {bound}"
            );
        }
    }
}

/// Tightness: a thousandth of ε at most, from noise of 64 grid steps on.
#[test]
fn hardly_above_the_laws_themselves() {
    for (scale, shares, shift) in [(64.0, 1, 64), (20.0, 11, 60), (8.0, 64, 16)] {
        let outcomes = outcomes(&law(scale, shares), &[shift]);
        let cost = cost(squared_norm(&[shift]), scale, shares, 1);
        for delta in [1e-8, 1e-5, 1e-2] {
            let exact = exact_epsilon(&outcomes, delta);
            let bound = cost.epsilon(Delta::new(delta).expect("a delta")).value();
            assert!(bound >= exact, "{scale} {shares} {shift} {delta}: {bound} {exact}");
            assert!(bound <= exact * 1.001, "{scale} {shares} {shift} {delta}: {bound} {exact}");
        }
    }
}

/// Need for a variance below h s²: a discrete Gaussian passes the normal law's δ.
#[test]
fn the_normal_law_of_the_same_variance_is_no_bound() {
    let (scale, shift) = (4.0, 4);
    let outcomes = outcomes(&law(scale, 1), &[shift]);
    let same = Rho::new(0.5 * squared_norm(&[shift]) / (scale * scale)).expect("a cost");
    let excess = epsilons()
        .map(|epsilon| {
            let normal = same.delta(Epsilon::new(epsilon).expect("an epsilon"));
            exact_delta(&outcomes, epsilon) / normal - 1.0
        })
        .fold(0.0, f64::max);
    assert!(excess > 1e-3, "{excess}");
}

/// The rounding that the proof rests on, with so little of it that θ is not nothing.
#[test]
fn a_normal_value_rounded_at_random_is_a_discrete_gaussian_up_to_its_factor() {
    let (normal, rounding) = (3.0, 0.3);
    let theta = 2.01 * exp(-2.0 * PI * PI * rounding);
    let law = law(sqrt(normal + rounding), 1);
    let middle = (law.len() / 2) as i32;
    let step = 1.0 / 64.0;
    for n in -8..=8_i32 {
        let density = (-2000..=2000).map(|i| {
            let x = f64::from(i) * step;
            let total: f64 = (-40..=40).map(|m| weight(f64::from(m) - x, rounding)).sum();
            weight(x, normal) / sqrt(2.0 * PI * normal) * weight(f64::from(n) - x, rounding) / total
        });
        let probability = density.sum::<f64>() * step;
        let ratio = probability / law[(middle + n) as usize];
        assert!(log(ratio).abs() < 2.0 * theta, "{n}: {ratio}, theta {theta}");
    }
}

#[test]
fn shares_too_small_to_add_up_to_a_gaussian_promise_nothing() {
    assert_eq!(cost(100.0, 1.0, 100, 1).value(), f64::INFINITY);
    assert_eq!(cost(100.0, 1.0, 1, 1).value(), f64::INFINITY);
    assert!(cost(100.0, 4.0, u32::MAX, 1 << 28).value().is_finite());
}

/// Allowance of η: the largest release, 2^32 times.
#[test]
fn all_releases_together_stay_within_the_slack() {
    for coordinates in [1.0, 1e3, f64::from(1 << 28)] {
        let smoothing = (SMOOTHNESS + log(coordinates)) / (2.0 * PI * PI);
        let theta = 2.0 * exp(-2.0 * PI * PI * smoothing) * (1.0 + 1e-12);
        let release = coordinates * 2.0 * theta * (1.0 + theta) + MOST_DISTANCE;
        assert!(release * 4_294_967_296.0 <= SLACK, "{coordinates}: {release}");
    }
}
