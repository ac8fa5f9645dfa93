//! Statistics for tests: p-values of chi-square tests.

use alloc::vec::Vec;

/// p-value of `counts` under `probabilities` (Pearson's test). Neighbouring bins
/// are merged until each expects at least ten.
pub(crate) fn chi_square_p(counts: &[f64], probabilities: &[f64]) -> f64 {
    assert_eq!(counts.len(), probabilities.len());
    let total: f64 = counts.iter().sum();
    let mut bins: Vec<(f64, f64)> = Vec::new();
    let mut open = (0.0, 0.0);
    for (count, probability) in counts.iter().zip(probabilities) {
        open = (open.0 + count, open.1 + probability * total);
        if open.1 >= 10.0 {
            bins.push(open);
            open = (0.0, 0.0);
        }
    }
    if let Some(last) = bins.last_mut() {
        *last = (last.0 + open.0, last.1 + open.1);
    }
    assert!(bins.len() > 2, "too few draws for a test");
    let statistic: f64 = bins.iter().map(|(o, e)| (o - e) * (o - e) / e).sum();
    upper_tail(statistic, (bins.len() - 1) as f64)
}

/// p-value of two samples of equal size having one law.
pub(crate) fn chi_square_p_two_samples(left: &[f64], right: &[f64]) -> f64 {
    let mut bins: Vec<(f64, f64)> = Vec::new();
    let mut open = (0.0, 0.0);
    for (a, b) in left.iter().zip(right) {
        open = (open.0 + a, open.1 + b);
        if open.0 + open.1 >= 20.0 {
            bins.push(open);
            open = (0.0, 0.0);
        }
    }
    if let Some(last) = bins.last_mut() {
        *last = (last.0 + open.0, last.1 + open.1);
    }
    assert!(bins.len() > 2, "too few draws for a test");
    let statistic: f64 = bins.iter().map(|(a, b)| (a - b) * (a - b) / (a + b)).sum();
    upper_tail(statistic, (bins.len() - 1) as f64)
}

/// P(chi-square with `freedom` degrees > `x`): the upper incomplete gamma
/// function, by its series or its continued fraction.
fn upper_tail(x: f64, freedom: f64) -> f64 {
    let (a, x) = (freedom / 2.0, x / 2.0);
    let front = libm::exp(a * libm::log(x.max(1e-300)) - x - libm::lgamma(a));
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for n in 1..100_000 {
            term *= x / (a + f64::from(n));
            sum += term;
            if term < sum * 1e-15 {
                break;
            }
        }
        return 1.0 - front * sum;
    }
    let mut b = x + 1.0 - a;
    let mut c = 1e300;
    let mut d = 1.0 / b;
    let mut h = d;
    for n in 1..100_000 {
        let n = f64::from(n);
        let an = -n * (n - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        h *= c * d;
        if (c * d - 1.0).abs() < 1e-14 {
            break;
        }
    }
    front * h
}

#[test]
fn p_values_match_tables() {
    assert!((upper_tail(3.841, 1.0) - 0.05).abs() < 1e-4);
    assert!((upper_tail(18.307, 10.0) - 0.05).abs() < 1e-4);
    assert!((upper_tail(2.558, 10.0) - 0.99).abs() < 1e-4);
    assert!((upper_tail(149.449, 100.0) - 0.001).abs() < 1e-5);
}
