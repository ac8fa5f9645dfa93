//! Exponential and the functions made of it.

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

#[cfg(test)]
mod tests {
    use super::{exp, sigmoid, tanh};

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
}
