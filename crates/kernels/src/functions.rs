//! Exponential and the functions made of it; sums and maxima of rows.

use std::ops::Add;

/// `e^x` for x up to 0, with a relative error below 2e-7; 0 where it is no normal number;
/// NaN of NaN.
///
/// A power of two times a polynomial on the rest (Cody and Waite 1980), without branches, so
/// that a loop over it is compiled to vectors.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    /// ln 2 in two parts, the first of which times a small whole number is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// Adding and subtracting it rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let whole = (x * LOG2_E + ROUND) - ROUND;
    let rest = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
    // Taylor's series of degree 7 for |rest| up to ln 2 / 2.
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * rest + coefficient;
    }
    // Below -126 the exponent has no room; NaN and infinity become 0 here, and NaN below.
    let power = f32::from_bits((((whole as i32) + 127) << 23) as u32);
    let value = sum * power;
    let small = if x < -87.0 { 0.0 } else { value };
    if x.is_nan() { x } else { small }
}

/// `1 / (1 + e^-x)`, with an absolute error below 2e-7; NaN of NaN.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let small = exp(-x.abs());
    (if x < 0.0 { small } else { 1.0 }) / (1.0 + small)
}

/// The hyperbolic tangent, with an absolute error below 2e-7; NaN of NaN.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let small = exp(-2.0 * x.abs());
    ((1.0 - small) / (1.0 + small)).copysign(x)
}

/// Standard normal distribution at a value.
pub(crate) struct Normal {
    /// Probability of what is below the value, with an absolute error below 2e-7.
    pub below: f32,
    /// Density at the value.
    pub density: f32,
}

/// The standard normal distribution at `x`; NaN of NaN.
///
/// The part beyond |x| is `e^(-x^2 / 2)` times a function that falls slowly: of
/// t = 1 / (1 + 0.26 |x|) a polynomial of degree 9, as in formula 7.1.26 of Abramowitz and Stegun
/// 1964, but with coefficients for a relative error of 2e-8.
#[inline(always)]
pub(crate) fn normal(x: f32) -> Normal {
    let t = 1.0 / (1.0 + 0.26 * x.abs());
    let mut sum = 0.030_952_547;
    for coefficient in [
        -0.155_017_07,
        0.256_044_87,
        -0.156_206_38,
        0.164_623_53,
        0.049_437_52,
        0.103_445_18,
        0.102_957_14,
        0.103_762_67,
    ] {
        sum = sum * t + coefficient;
    }
    let bell = exp(-0.5 * x * x);
    let beyond = bell * (sum * t);
    let below = if x < 0.0 { beyond } else { 1.0 - beyond };
    Normal { below, density: 0.398_942_3 * bell }
}

/// Floats of the longest vector.
pub(crate) const LANES: usize = 16;

/// The sum of `term` over rows of one length, in an order that is compiled to vectors.
#[inline(always)]
pub(crate) fn sum<const N: usize, T: Copy + Default + Add<Output = T>>(
    rows: [&[f32]; N],
    term: impl Fn([f32; N]) -> T,
) -> T {
    let mut sums = [T::default(); LANES];
    let whole = rows[0].len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        let rows = rows.map(|row| &row[at..at + LANES]);
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum = *sum + term(rows.map(|row| row[lane]));
        }
    }
    let rest = rows.map(|row| &row[whole..]);
    for (lane, sum) in sums.iter_mut().enumerate().take(rest[0].len()) {
        *sum = *sum + term(rest.map(|row| row[lane]));
    }
    total(sums, |a, b| a + b)
}

/// The largest value of a row; minus infinity without any. NaN is passed over.
#[inline(always)]
pub(crate) fn largest(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut most = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, &value) in most.iter_mut().zip(chunk) {
            *most = larger(*most, value);
        }
    }
    for (most, &value) in most.iter_mut().zip(rest) {
        *most = larger(*most, value);
    }
    total(most, larger)
}

/// Lanes reduced to one value.
#[inline(always)]
fn total<T: Copy>(mut lanes: [T; LANES], both: impl Fn(T, T) -> T) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = both(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::{exp, largest, normal, sigmoid, sum, tanh};

    #[test]
    fn exponentials_are_those_of_double_precision() {
        for step in 0..870_000 {
            let x = -(step as f32) / 10_000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2e-7, "exp({x}): {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-88.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn functions_of_gates_are_those_of_double_precision() {
        for step in -100_000..=100_000 {
            let x = step as f32 / 5_000.0;
            let exact = f64::from(x);
            let error = (f64::from(tanh(x)) - exact.tanh()).abs();
            assert!(error < 2e-7, "tanh({x}): {error}");
            let error = (f64::from(sigmoid(x)) - 1.0 / (1.0 + (-exact).exp())).abs();
            assert!(error < 2e-7, "sigmoid({x}): {error}");
        }
        let infinite = [f32::NEG_INFINITY, f32::INFINITY];
        assert_eq!((infinite.map(tanh), infinite.map(sigmoid)), ([-1.0, 1.0], [0.0, 1.0]));
        assert!(tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
    }
    /// The distribution function is the integral of the density, by Simpson's rule.
    #[test]
    fn normal_distributions_are_those_of_double_precision() {
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let (mut beyond, step) = (0.0, 1e-3);
        for index in (0..20_000).rev() {
            let x = f64::from(index) * step;
            let ends = density(x) + 4.0 * density(x + 0.5 * step) + density(x + step);
            beyond += ends * step / 6.0;
            let error = (f64::from(normal(-x as f32).below) - beyond).abs();
            assert!(error < 2e-7 && error < 1e-5 * beyond + 1e-38, "below -{x}: {error}");
            let error = (f64::from(normal(x as f32).below) - (1.0 - beyond)).abs();
            assert!(error < 2e-7, "below {x}: {error}");
            let error = (f64::from(normal(x as f32).density) - density(x)).abs();
            assert!(error < 2e-7, "density at {x}: {error}");
        }
        assert_eq!((normal(f32::NEG_INFINITY).below, normal(f32::INFINITY).below), (0.0, 1.0));
        assert!(normal(f32::NAN).below.is_nan() && normal(f32::NAN).density.is_nan());
    }

    #[test]
    fn sums_and_maxima_of_rows_of_any_length() {
        for len in [0, 1, 15, 16, 17, 40] {
            let row: Vec<f32> = (0..len).map(|at| ((at * 7) % 41) as f32).collect();
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(&row), most);
            assert_eq!(sum([&row, &row], |[a, b]| a + 2.0 * b), 3.0 * row.iter().sum::<f32>());
        }
        assert_eq!(largest(&[f32::NAN, -1.0]), -1.0);
    }
}
