//! Decimal numbers as they stand in files.
//!
//! The standard library's parser rounds correctly, and its table alone would be 10 kB of
//! the browser's module. This one is exact for numbers of up to 15 digits and an exponent of
//! up to 22 (Clinger 1990), and within a few units in the last place of a double for others:
//! features are single.

/// Digits that a `u64` surely holds.
const MOST_DIGITS: u32 = 19;
/// Largest power of ten that a double has exactly.
const EXACT: i32 = 22;

/// The number that `text` is: digits with a point among them or none, a sign before them and
/// an exponent behind, as in `-12.5e3`.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let (negative, digits) = signed(text.as_bytes());
    let (mut mantissa, mut exponent, mut kept, mut seen) = (0u64, 0i32, 0, false);
    let (mut rest, mut after_point) = (digits, false);
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            b'0'..=b'9' if kept < MOST_DIGITS => {
                mantissa = 10 * mantissa + u64::from(byte - b'0');
                kept += u32::from(mantissa > 0);
                exponent -= i32::from(after_point);
            }
            b'0'..=b'9' => exponent = exponent.saturating_add(i32::from(!after_point)),
            b'.' if !after_point => after_point = true,
            _ => break,
        }
        seen |= byte != b'.';
        rest = tail;
    }
    if !seen {
        return None;
    }
    if let Some((b'e' | b'E', power)) = rest.split_first() {
        let (negative, digits) = signed(power);
        let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let add =
            |sum: i32, digit: &u8| sum.saturating_mul(10).saturating_add((digit - b'0').into());
        let power = digits.iter().filter(|_| all_digits).fold(0, add);
        exponent = exponent.saturating_add(if negative { -power } else { power });
        rest = if all_digits { &[] } else { rest };
    }
    let value = scaled(mantissa as f64, exponent);
    let is_number = rest.is_empty() && value.is_finite();
    is_number.then_some(if negative { -value } else { value })
}

fn signed(text: &[u8]) -> (bool, &[u8]) {
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

/// `value * 10^exponent`.
fn scaled(mut value: f64, exponent: i32) -> f64 {
    // Beyond it, every double is zero or infinite.
    let mut left = exponent.unsigned_abs().min(400) as i32;
    while left > 0 && value != 0.0 {
        let step = left.min(EXACT);
        let power = (0..step).fold(1.0, |power, _| power * 10.0);
        value = if exponent < 0 { value / power } else { value * power };
        left -= step;
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;

    #[test]
    fn numbers_are_read_and_nothing_else_is() {
        for (text, value) in [
            ("0", 0.0),
            ("-0.0", 0.0),
            ("007", 7.0),
            ("+1.", 1.0),
            (".5", 0.5),
            ("12.5e3", 12_500.0),
            ("1E-2", 0.01),
            ("1e+2", 100.0),
            ("0e99999999999", 0.0),
            ("1e-99999999999", 0.0),
            ("123456789012345678901234567890", 123_456_789_012_345_678_901_234_567_890.0),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for text in [
            "", "-", ".", "e5", "1e", "1e-", "1e1.5", "1.2.3", "1,5", "inf", "NaN", "0x10",
            "1_000", "1 ", "1e400",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_of_fifteen_digits_are_exact(digits in 0u64..1_000_000_000_000_000, power in -22i32..=22) {
            let text = format!("{digits}e{power}");
            prop_assert_eq!(parse(&text), text.parse().ok());
        }

        #[test]
        fn others_are_within_a_few_units_in_the_last_place(value in proptest::num::f64::NORMAL) {
            let text = format!("{value:e}");
            let read = parse(&text);
            prop_assert!(read.is_some_and(|read| (read / value - 1.0).abs() < 1e-14), "{} {:?}", text, read);
        }
    }
}
