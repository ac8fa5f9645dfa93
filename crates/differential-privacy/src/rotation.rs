//! The random rotation: public random signs, then the Walsh-Hadamard transform.
//! It spreads an update evenly over its coordinates, so that a fine grid with few
//! levels holds every one of them (Kairouz, Liu and Steinke 2021, section 5).
//!
//! It is not secret and hides nothing. It must give the same bits on every
//! platform: it only adds, subtracts and flips signs, in a fixed order.

use fedra_keystream::Keystream;

/// Values transformed together before the next ones are touched: 32 KiB of `f32`,
/// so that the first twelve of a large transform's passes stay in cache.
const BLOCK: usize = 8192;

/// Rotates `values` in place: the random signs that `seed` stands for, then the
/// Walsh-Hadamard transform over √len. For codecs of updates; the mechanisms fold the
/// factor into others.
///
/// # Panics
///
/// The length is not a power of two.
pub fn random_rotation(values: &mut [f32], seed: &[u8; 32]) {
    flip_signs(values, seed);
    normalised_transform(values);
}

/// Undoes [`random_rotation`] with the same seed, up to rounding.
///
/// # Panics
///
/// The length is not a power of two.
pub fn undo_random_rotation(values: &mut [f32], seed: &[u8; 32]) {
    normalised_transform(values);
    flip_signs(values, seed);
}

/// The Walsh-Hadamard transform over √len, which is its own inverse.
fn normalised_transform(values: &mut [f32]) {
    assert!(values.len().is_power_of_two(), "the length has to be a power of two");
    walsh_hadamard(values);
    let factor = (1.0 / libm::sqrt(values.len() as f64)) as f32;
    for value in values {
        *value *= factor;
    }
}

/// Multiplies `values` by the signs that `seed` stands for: bit i of the ChaCha20
/// keystream, counted from the lowest bit of the first word, flips value i.
pub(crate) fn flip_signs(values: &mut [f32], seed: &[u8; 32]) {
    let mut stream = Keystream::new(seed);
    let mut bytes = [0; BLOCK / 8];
    for block in values.chunks_mut(BLOCK) {
        stream.write(&mut bytes);
        for (chunk, signs) in block.chunks_mut(32).zip(bytes.as_chunks().0) {
            let signs = u32::from_le_bytes(*signs);
            for (i, value) in (0..).zip(chunk) {
                *value = f32::from_bits(value.to_bits() ^ (signs >> i & 1) << 31);
            }
        }
    }
}

/// The Walsh-Hadamard transform in place, in natural order and without its factor
/// 1/√len: applied twice it multiplies by the length, which has to be a power of
/// two.
pub(crate) fn walsh_hadamard(values: &mut [f32]) {
    debug_assert!(values.len().is_power_of_two(), "the length has to be a power of two");
    for block in values.chunks_mut(BLOCK) {
        passes(block, 1);
    }
    passes(values, BLOCK);
}

/// The passes from butterflies of distance `first` upwards, two at a time.
fn passes(values: &mut [f32], first: usize) {
    let mut distance = first;
    while distance < values.len() {
        if distance * 2 < values.len() {
            match distance {
                1 => smallest_two_passes(values),
                _ => two_passes(values, distance),
            }
            distance *= 4;
        } else {
            one_pass(values, distance);
            distance *= 2;
        }
    }
}

fn one_pass(values: &mut [f32], distance: usize) {
    for pair in values.chunks_exact_mut(2 * distance) {
        let (left, right) = pair.split_at_mut(distance);
        for (a, b) in left.iter_mut().zip(right) {
            (*a, *b) = (*a + *b, *a - *b);
        }
    }
}

fn two_passes(values: &mut [f32], distance: usize) {
    for four in values.chunks_exact_mut(4 * distance) {
        let (left, right) = four.split_at_mut(2 * distance);
        let (a, b) = left.split_at_mut(distance);
        let (c, d) = right.split_at_mut(distance);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            [*a, *b, *c, *d] = butterfly([*a, *b, *c, *d]);
        }
    }
}

/// Variant of [`two_passes`] at distance one, where the four are neighbours.
fn smallest_two_passes(values: &mut [f32]) {
    for four in values.as_chunks_mut::<4>().0 {
        *four = butterfly(*four);
    }
}

#[inline(always)]
fn butterfly([a, b, c, d]: [f32; 4]) -> [f32; 4] {
    let (a, b, c, d) = (a + b, a - b, c + d, c - d);
    [a + c, b + d, a - c, b - d]
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    fn vector(len: usize) -> Vec<f32> {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        (0..len).map(|_| (rng.next_u32() as i32 >> 20) as f32).collect()
    }

    /// Entry (i, j) of the transform is (-1)^(number of bits that i and j share).
    #[test]
    fn is_the_hadamard_matrix() {
        for bits in 0..8 {
            let len = 1_usize << bits;
            for column in 0..len {
                let mut unit = vec![0.0; len];
                unit[column] = 1.0;
                walsh_hadamard(&mut unit);
                for (row, entry) in unit.into_iter().enumerate() {
                    let sign = if (row & column).count_ones() % 2 == 0 { 1.0 } else { -1.0 };
                    assert_eq!(entry, sign, "{len}: {row}, {column}");
                }
            }
        }
    }

    /// Small integers, so that every sum is exact.
    #[test]
    fn twice_is_the_length_times_the_vector() {
        for bits in [0, 1, 2, 3, 11, 12, 13, 14, 15, 16] {
            let len = 1 << bits;
            let before = vector(len);
            let mut after: Vec<f32> = before.iter().map(|x| x % 8.0).collect();
            let expected: Vec<f32> = after.iter().map(|x| x * len as f32).collect();
            walsh_hadamard(&mut after);
            walsh_hadamard(&mut after);
            assert_eq!(after, expected, "{len}");
        }
    }

    #[test]
    fn keeps_the_norm() {
        for len in [1, 2, 64, 1 << 15] {
            let mut values = vector(len);
            let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
            let before = norm(&values);
            flip_signs(&mut values, &[9; 32]);
            walsh_hadamard(&mut values);
            let after = norm(&values) / len as f64;
            assert!((after - before).abs() <= 1e-5 * before, "{len}: {before} {after}");
        }
    }

    #[test]
    fn rotation_is_orthogonal() {
        let mut rotated: Vec<Vec<f32>> = (0..64)
            .map(|column| {
                let mut unit = vec![0.0; 64];
                unit[column] = 1.0;
                random_rotation(&mut unit, &[4; 32]);
                unit
            })
            .collect();
        for left in 0..64 {
            for right in 0..64 {
                let product: f32 =
                    rotated[left].iter().zip(&rotated[right]).map(|(a, b)| a * b).sum();
                let expected = if left == right { 1.0 } else { 0.0 };
                assert!((product - expected).abs() < 1e-6, "{left} {right}: {product}");
            }
        }
        for (column, values) in rotated.iter_mut().enumerate() {
            undo_random_rotation(values, &[4; 32]);
            for (row, value) in values.iter().enumerate() {
                let expected = if row == column { 1.0 } else { 0.0 };
                assert!((value - expected).abs() < 1e-5, "{row} {column}: {value}");
            }
        }
    }

    #[test]
    fn signs_undo_themselves_and_are_about_half() {
        let before = vec![1.0_f32; 100_003];
        let mut values = before.clone();
        flip_signs(&mut values, &[1; 32]);
        let negative = values.iter().filter(|x| x.is_sign_negative()).count();
        assert!((49_000..51_000).contains(&negative), "{negative}");
        flip_signs(&mut values, &[1; 32]);
        assert_eq!(values, before);
    }

    #[test]
    fn flattens_a_spike() {
        let len = 1 << 14;
        let mut values = vec![0.0; len];
        values[123] = 1.0;
        flip_signs(&mut values, &[2; 32]);
        walsh_hadamard(&mut values);
        assert!(values.iter().all(|x| x.abs() == 1.0));
    }
}
