//! The law of what comes out, by chi-square, against exact probabilities and
//! against the sampler as published.

use alloc::{vec, vec::Vec};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{reference::discrete_gaussian, *};
use crate::testing::{chi_square_p, chi_square_p_two_samples};

fn ratio(numerator: u64, denominator: u64) -> Ratio {
    Ratio::new(numerator, denominator).expect("a fraction")
}

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

/// Probabilities of -edge..=edge.
fn probabilities(scale: f64, edge: i64) -> Vec<f64> {
    let weight = |x: i64| libm::exp(-((x * x) as f64) / (2.0 * scale * scale));
    let total: f64 = (-50 * edge..=50 * edge).map(weight).sum();
    (-edge..=edge).map(|x| weight(x) / total).collect()
}

fn draws(scale: Ratio, count: usize, seed: u8) -> Vec<i64> {
    let mut values = vec![0; count];
    DiscreteGaussian::new(scale).fold_into(&mut values, &mut rng(seed), |value, x| *value = x);
    values
}

/// Number of values in each of `bins` equal bins of -edge..=edge; the outermost ones
/// take what lies beyond.
fn counts(values: &[i64], edge: i64, width: i64) -> Vec<f64> {
    let bins = (2 * edge + 1).div_euclid(width) + i64::from((2 * edge + 1) % width != 0);
    let mut counts = vec![0.0; bins as usize];
    for value in values {
        let bin = (value + edge).div_euclid(width).clamp(0, bins - 1);
        counts[bin as usize] += 1.0;
    }
    counts
}

fn binned(probabilities: &[f64], width: i64) -> Vec<f64> {
    probabilities.chunks(width as usize).map(|bin| bin.iter().sum()).collect()
}

#[test]
fn follows_the_law() {
    let cases = [
        (ratio(1, 2), 4, 1),
        (ratio(4, 1), 26, 1),
        (ratio(181, 1), 1200, 10),
        (ratio(46_593, 256), 1200, 1),
        (ratio(100, 3), 200, 1),
        (ratio(5000, 1), 30_000, 100),
    ];
    for (i, (scale, edge, width)) in cases.into_iter().enumerate() {
        let values = draws(scale, 1_000_000, i as u8);
        let expected = binned(&probabilities(scale.to_f64(), edge), width);
        let p = chi_square_p(&counts(&values, edge, width), &expected);
        assert!(p > 1e-4, "{scale:?}: p = {p}");
    }
}

#[test]
fn low_bits_are_as_good_as_high_ones() {
    // Within blocks: the residue modulo 8 of a law this wide is uniform.
    let values = draws(ratio(1 << 30, 1), 400_000, 9);
    let mut residues = [0.0; 8];
    for value in &values {
        residues[value.rem_euclid(8) as usize] += 1.0;
    }
    assert!(chi_square_p(&residues, &[0.125; 8]) > 1e-4);
    let expected = binned(&probabilities(100.0, 700), 10);
    let high: Vec<i64> = values.iter().map(|x| (x * 100 + (1 << 29)).div_euclid(1 << 30)).collect();
    assert!(chi_square_p(&counts(&high, 700, 10), &expected) > 1e-4);
}

#[test]
fn agrees_with_the_published_algorithm() {
    for (scale, edge) in [(ratio(1, 2), 4), (ratio(7, 2), 22), (ratio(40, 1), 250)] {
        let fast = draws(scale, 60_000, 11);
        let mut generator = rng(12);
        let plain: Vec<i64> =
            (0..60_000).map(|_| discrete_gaussian(scale, &mut generator)).collect();
        let p = chi_square_p_two_samples(&counts(&fast, edge, 1), &counts(&plain, edge, 1));
        assert!(p > 1e-4, "{scale:?}: p = {p}");
    }
}

/// Sums of 32 shares are what the server sees. Shares of s = 4 sum to the discrete
/// Gaussian of 4 √32 up to 10^-60 (Kairouz, Liu and Steinke 2021).
#[test]
fn sums_of_shares_follow_the_law() {
    for (scale, edge, width) in [(ratio(4, 1), 150, 1), (ratio(181, 1), 6000, 100)] {
        let mut sums = vec![0; 100_000];
        let gaussian = DiscreteGaussian::new(scale);
        for share in 0..32 {
            gaussian.fold_into(&mut sums, &mut rng(100 + share), |sum, x| *sum += x);
        }
        let deviation = scale.to_f64() * libm::sqrt(32.0);
        let expected = binned(&probabilities(deviation, edge), width);
        let p = chi_square_p(&counts(&sums, edge, width), &expected);
        assert!(p > 1e-4, "{scale:?}: p = {p}");
    }
    // At s = 1/2 the sum is not a discrete Gaussian; its exact law is the
    // convolution of the shares'.
    let one = probabilities(0.5, 8);
    let mut law = vec![1.0];
    for _ in 0..32 {
        let mut next = vec![0.0; law.len() + one.len() - 1];
        for (i, a) in law.iter().enumerate() {
            for (j, b) in one.iter().enumerate() {
                next[i + j] += a * b;
            }
        }
        law = next;
    }
    let middle = law.len() / 2;
    let mut sums = vec![0; 100_000];
    for share in 0..32 {
        DiscreteGaussian::new(ratio(1, 2)).fold_into(&mut sums, &mut rng(200 + share), |sum, x| {
            *sum += x;
        });
    }
    let p = chi_square_p(&counts(&sums, 18, 1), &law[middle - 18..=middle + 18]);
    assert!(p > 1e-4, "p = {p}");
}

/// A sampler that is wrong by a little in the tail would be found: the check has
/// the power that the tests above rely on.
#[test]
fn the_check_finds_a_wrong_law() {
    let values = draws(ratio(181, 1), 1_000_000, 2);
    let wrong = binned(&probabilities(182.5, 1200), 10);
    assert!(chi_square_p(&counts(&values, 1200, 10), &wrong) < 1e-4);
}

#[test]
fn far_tail_is_as_heavy_as_it_should_be() {
    // Beyond 5 s lie 5.7e-7 of the mass; the tail's own machinery draws them.
    let values = draws(ratio(32, 1), 8_000_000, 21);
    let far = values.iter().filter(|x| x.abs() >= 150).count() as f64;
    let weight = |x: i64| libm::exp(-((x * x) as f64) / 2048.0);
    let total: f64 = (-2000..=2000).map(weight).sum();
    let expected = 8e6 * 2.0 * (150..=2000).map(weight).sum::<f64>() / total;
    assert!((far - expected).abs() < 4.0 * libm::sqrt(expected), "{far} of {expected}");
}

/// Both ends of a cohort, and a restarted server, have to draw the same.
#[test]
fn the_same_bits_everywhere() {
    let values = draws(ratio(46_593, 256), 100_000, 77);
    let hash = values.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, value| {
        (hash ^ *value as u64).wrapping_mul(0x0100_0000_01b3)
    });
    assert_eq!(
        (values[0], values[1], values[99_999], hash),
        (187, 80, 132, 17_770_100_850_095_504_951)
    );
}

#[test]
fn single_draws_follow_the_law_too() {
    let gaussian = DiscreteGaussian::new(ratio(4, 1));
    let mut generator = rng(31);
    let values: Vec<i64> = (0..100_000).map(|_| gaussian.sample(&mut generator)).collect();
    let p = chi_square_p(&counts(&values, 22, 1), &probabilities(4.0, 22));
    assert!(p > 1e-4, "p = {p}");
}

#[test]
fn coin_has_the_odds_of_the_exponential() {
    let mut generator = rng(41);
    for exponent in [ratio(1, 1_000_000), ratio(1, 3), ratio(1, 1), ratio(7, 2), ratio(8, 1)] {
        let throws = 200_000;
        let heads = (0..throws).filter(|_| bernoulli_exp(exponent, &mut generator)).count() as f64;
        let odds = libm::exp(-exponent.to_f64());
        let throws = f64::from(throws);
        let deviation = libm::sqrt(odds * (1.0 - odds) * throws);
        assert!((heads - odds * throws).abs() < 4.5 * deviation.max(1.0), "{exponent:?}");
    }
}

#[test]
fn ratios_are_checked() {
    assert_eq!(Ratio::new(6, 4), Ratio::new(3, 2));
    assert!(matches!(Ratio::new(0, 4), Err(RatioError::NotPositive { .. })));
    assert!(matches!(Ratio::new(4, 0), Err(RatioError::NotPositive { .. })));
    assert!(matches!(Ratio::new(1 << 53, 3), Err(RatioError::TooLong { .. })));
    assert_eq!(Ratio::new(1 << 60, 1 << 59), Ratio::new(2, 1));
    assert!(ratio(1, 3) < ratio(34, 100));
}
