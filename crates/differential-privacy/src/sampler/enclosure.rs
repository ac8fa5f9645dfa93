//! exp(-a/b) as a binary fraction of any length, with a proven bound on its
//! error: what decides a draw that 32 bits leave open.
//!
//! Numbers are little-endian limbs of 64 bits: n limbs of fraction, then one of
//! whole units, where n is the *length*. One unit in the last place (ulp) is
//! 2^-64n.

use alloc::{vec, vec::Vec};
use core::cmp::Ordering;

/// exp(-`a`/`b`) with `length` limbs of fraction and one of whole units, off by
/// less than 2^64 ulp: all but the lowest limb hold, give or take one unit of
/// the lowest of them.
///
/// `b` is positive and below 2^126.
///
/// The error: z = a/b is halved until it is below 1/2, and is then known to 2 ulp.
/// Each term of the alternating series Σ (-z)^k / k! is the previous one times
/// z / k, cut off twice, so it stays within 3 ulp; there are fewer than
/// 64 n + 2 terms, and the rest of the series is below one ulp. A squaring at
/// most doubles the error and adds 2 ulp, and there are at most
/// log2(64 n) + 2 of them, because beyond z = 64 n the answer is zero to less
/// than one ulp. In all fewer than 2^20 n² ulp, so the bound holds for every
/// length below 2^22.
pub(super) fn exp_neg(a: u128, b: u128, length: usize) -> Vec<u64> {
    let mut result = vec![0; length + 1];
    let whole = a / b;
    if whole >= 64 * length as u128 {
        return result;
    }
    let mut z = fraction(a % b, b, length);
    z[length] = whole as u64;
    let halvings = 128 - whole.leading_zeros() + 1;
    for _ in 0..halvings {
        halve(&mut z);
    }
    result[length] = 1;
    let mut term = result.clone();
    for k in 1.. {
        term = multiply(&term, &z);
        divide(&mut term, k);
        if term.iter().all(|&limb| limb == 0) {
            break;
        }
        if k % 2 == 1 { subtract(&mut result, &term) } else { add(&mut result, &term) }
    }
    for _ in 0..halvings {
        result = multiply(&result, &result);
    }
    result
}

/// True if the real number U = `value` + (something in [0, 1) ulp) lies below
/// exp(-`a`/`b`); `None` if the limbs of `value` are not enough to tell.
pub(super) fn is_below_exp_neg(value: &[u64], a: u128, b: u128) -> Option<bool> {
    let bound = exp_neg(a, b, value.len() - 1);
    // Without the lowest limb: U in [u, u + 1), the bound in (e - 1, e + 2).
    let (u, e) = (&value[1..], &bound[1..]);
    if compare(&plus_two(u), e) != Ordering::Greater {
        Some(true)
    } else if compare(u, &plus_two(e)) != Ordering::Less {
        Some(false)
    } else {
        None
    }
}

/// `remainder`/`b` rounded down to `length` limbs, for a `remainder` below `b`
/// and a `b` below 2^127: long division, bit by bit.
pub(super) fn fraction(mut remainder: u128, b: u128, length: usize) -> Vec<u64> {
    let mut limbs = vec![0; length + 1];
    for limb in limbs[..length].iter_mut().rev() {
        for _ in 0..64 {
            remainder <<= 1;
            *limb <<= 1;
            if remainder >= b {
                remainder -= b;
                *limb |= 1;
            }
        }
    }
    limbs
}

/// The product, rounded down, of two numbers below 2^64 whose product is too.
fn multiply(x: &[u64], y: &[u64]) -> Vec<u64> {
    let length = x.len() - 1;
    let mut product = vec![0_u64; x.len() + y.len()];
    for (i, &left) in x.iter().enumerate() {
        let mut carry = 0_u128;
        for (place, &right) in product[i..].iter_mut().zip(y) {
            carry += u128::from(*place) + u128::from(left) * u128::from(right);
            *place = carry as u64;
            carry >>= 64;
        }
        product[i + y.len()] = carry as u64;
    }
    product.drain(..length);
    product.truncate(length + 1);
    product
}

fn divide(x: &mut [u64], divisor: u64) {
    let mut remainder = 0_u128;
    for limb in x.iter_mut().rev() {
        remainder = remainder << 64 | u128::from(*limb);
        *limb = (remainder / u128::from(divisor)) as u64;
        remainder %= u128::from(divisor);
    }
}

fn halve(x: &mut [u64]) {
    let mut carry = 0;
    for limb in x.iter_mut().rev() {
        let low = *limb & 1;
        *limb = *limb >> 1 | carry << 63;
        carry = low;
    }
}

fn add(x: &mut [u64], y: &[u64]) {
    let mut carry = 0_u128;
    for (limb, &other) in x.iter_mut().zip(y) {
        carry += u128::from(*limb) + u128::from(other);
        *limb = carry as u64;
        carry >>= 64;
    }
}

fn subtract(x: &mut [u64], y: &[u64]) {
    let mut borrow = false;
    for (limb, &other) in x.iter_mut().zip(y) {
        let (difference, first) = limb.overflowing_sub(other);
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        *limb = difference;
        borrow = first || second;
    }
}

/// Two units in the last place more, with a limb for the carry.
fn plus_two(x: &[u64]) -> Vec<u64> {
    let mut sum = x.to_vec();
    sum.push(0);
    let mut two = vec![0; sum.len()];
    two[0] = 2;
    add(&mut sum, &two);
    sum
}

/// Compares numbers whose limbs may differ in count at the high end.
fn compare(x: &[u64], y: &[u64]) -> Ordering {
    let limb = |number: &[u64], i: usize| number.get(i).copied().unwrap_or(0);
    (0..x.len().max(y.len()))
        .rev()
        .map(|i| limb(x, i).cmp(&limb(y, i)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 128 bits of fraction of exp(-x), from mpmath at 80 digits.
    const KNOWN: [(u128, u128, u128); 6] = [
        (1, 1, 0x5e2d58d8_b3bcdf1a_badec782_9054f90d),
        (1, 2, 0x9b4597e3_7cb04ff3_d675a355_30cdd767),
        (25, 2, 0x00003e85_da7ed1cd_20421fc4_14f54bef),
        (3, 1000000007, 0xfffffff3_1d7713b9_43689de2_ab04ab7f),
        (80, 1, 0x00000000_00000000_00000000_000017fd),
        (
            1267650600228229401496703205383,
            633825300114114700748351602699,
            0x22a55547_7f03973f_b6edd5c2_9afb2ac9,
        ),
    ];

    #[test]
    fn matches_known_digits() {
        for (a, b, digits) in KNOWN {
            let value = exp_neg(a, b, 3);
            let found = u128::from(value[2]) << 64 | u128::from(value[1]);
            assert!(found.abs_diff(digits) <= 1, "exp(-{a}/{b}): {found:x} {digits:x}");
            assert_eq!(value[3], 0);
        }
    }

    #[test]
    fn nothing_to_take_from_one() {
        let one = exp_neg(0, 7, 2);
        assert_eq!(one, [0, 0, 1]);
    }

    #[test]
    fn longer_agrees_with_shorter() {
        for (a, b) in [(1, 3), (41, 2), (1_u128 << 100, (1_u128 << 99) + 12345), (300, 7)] {
            let (short, long) = (exp_neg(a, b, 3), exp_neg(a, b, 9));
            let cut: Vec<u64> = long[6..].to_vec();
            assert!(compare(&plus_two(&short[1..]), &cut[1..]).is_ge(), "{a}/{b}");
            assert!(compare(&plus_two(&cut[1..]), &short[1..]).is_ge(), "{a}/{b}");
        }
    }

    #[test]
    fn comparison_is_undecided_only_beside_the_value() {
        // exp(-1/3) cut off: only more limbs can tell on which side U lies.
        let e = exp_neg(1, 3, 2);
        assert_eq!(is_below_exp_neg(&e, 1, 3), None);
        assert_eq!(is_below_exp_neg(&[0, e[1] - 4, 0], 1, 3), Some(true));
        assert_eq!(is_below_exp_neg(&[0, e[1] + 4, 0], 1, 3), Some(false));
        assert_eq!(is_below_exp_neg(&[0, 0, 0], 5000, 1), None);
        assert_eq!(is_below_exp_neg(&[0, 9, 0], 5000, 1), Some(false));
    }
}
