//! Stochastic rounding of real coordinates to the integer grid, redone until the
//! integers' own norm is within a bound (Kairouz, Liu and Steinke 2021, Algorithm 1,
//! "conditional rounding").
//!
//! The bound is checked in exact integer arithmetic. That check, not the floating
//! point before it, is what the sensitivity rests on.

use rand_core::Rng;

/// Attempts before the zero vector is sent instead. The bound is chosen so that
/// an attempt succeeds with probability 0.39 at least (1 - exp(-1/2)): all fail
/// with probability below 10^-13.
const ATTEMPTS: u32 = 64;

/// No coordinate of a vector within the bound is larger: the derivation of the
/// parameters keeps 1/gamma, and so the bound's root, below it. Sums of 4096
/// squares below 2^50 cannot overflow.
pub(crate) const LARGEST: f32 = (1 << 25) as f32;
const SUMMED: usize = 4096;

/// Rounds `values`, in units of the grid, to integers whose sum of squares is at
/// most `bound`; zeros if no attempt succeeds. Integers are in two's complement.
///
/// A coordinate x becomes its floor or its ceiling, with expectation x (up to
/// 2^-25).
pub(crate) fn round_within(
    values: &[f32],
    rounded: &mut [u32],
    bound: u64,
    rng: &mut (impl Rng + ?Sized),
) {
    let succeeded = (0..ATTEMPTS).any(|_| {
        round(values, rounded, rng);
        squared_norm(rounded) <= bound
    });
    if !succeeded {
        rounded.fill(0);
    }
}

fn round(values: &[f32], rounded: &mut [u32], rng: &mut (impl Rng + ?Sized)) {
    const TOGETHER: usize = 512;
    let mut bytes = [0_u8; 4 * TOGETHER];
    for (values, rounded) in values.chunks(TOGETHER).zip(rounded.chunks_mut(TOGETHER)) {
        rng.fill_bytes(&mut bytes);
        let words = bytes.as_chunks::<4>().0;
        for ((value, rounded), word) in values.iter().zip(rounded).zip(words) {
            *rounded = round_one(*value, u32::from_le_bytes(*word)) as u32;
        }
    }
}

#[inline(always)]
fn round_one(value: f32, random: u32) -> i32 {
    // In the middle of one of 2^24 equal parts of [0, 1).
    let threshold = (random >> 8) as f32 * (1.0 / 16_777_216.0) + 1.0 / 33_554_432.0;
    let value = value.clamp(-LARGEST, LARGEST);
    let truncated = value as i32;
    let floor = truncated - i32::from(value < truncated as f32);
    floor + i32::from(threshold < value - floor as f32)
}

/// The sum of squares, or `u64::MAX` if it is larger than that. Exact as long as
/// every magnitude is at most [`LARGEST`] + 1.
pub(crate) fn squared_norm(values: &[u32]) -> u64 {
    values
        .chunks(SUMMED)
        .map(|chunk| {
            chunk
                .iter()
                .map(|&value| i64::from(value as i32))
                .map(|value| (value * value) as u64)
                .sum::<u64>()
        })
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn rounds_to_a_neighbour_with_the_right_mean() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        for value in [0.0, 0.25, -0.25, 1.5, -7.9, 1000.125, -3.0] {
            let mut rounded = vec![0; 100_000];
            round(&vec![value; 100_000], &mut rounded, &mut rng);
            let low = value.floor() as i32;
            let up = rounded.iter().filter(|&&x| x as i32 == low + 1).count();
            let down = rounded.iter().filter(|&&x| x as i32 == low).count();
            assert_eq!(up + down, 100_000, "{value}");
            let fraction = f64::from(value - value.floor());
            let deviation = (fraction * (1.0 - fraction) * 1e5).sqrt();
            assert!((up as f64 - fraction * 1e5).abs() <= 4.5 * deviation, "{value}: {up}");
        }
    }

    #[test]
    fn squares_are_exact_and_saturate() {
        assert_eq!(squared_norm(&[3, (-4_i32) as u32]), 25);
        assert_eq!(squared_norm(&vec![1 << 25; 10_000]), 10_000 << 50);
        assert_eq!(squared_norm(&vec![1 << 25; 20_000]), u64::MAX);
    }

    #[test]
    fn sends_zeros_when_the_bound_cannot_hold() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let mut rounded = vec![7; 3];
        round_within(&[5.0, 5.0, 5.0], &mut rounded, 74, &mut rng);
        assert_eq!(rounded, [0; 3]);
        round_within(&[5.0, 5.0, 5.0], &mut rounded, 75, &mut rng);
        assert_eq!(rounded, [5; 3]);
    }

    #[test]
    fn what_is_no_number_becomes_small() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let mut rounded = vec![0; 3];
        round(&[f32::NAN, f32::INFINITY, -1e30], &mut rounded, &mut rng);
        let largest: Vec<i32> = rounded.iter().map(|&x| x as i32).collect();
        assert_eq!(largest, [0, 1 << 25, -(1 << 25)]);
    }
}
