//! Masked vectors look like nothing: chi-square tests with fixed seeds.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{generator, shared, terms};
use fedra_secure_aggregation::pack;

/// Bounds that a chi-square variable of this many degrees of freedom leaves
/// with a chance of about 10^-4 (normal approximation, 3.9 deviations).
fn bounds(degrees_of_freedom: usize) -> std::ops::Range<f64> {
    let mean = degrees_of_freedom as f64;
    let spread = 3.9 * (2.0 * mean).sqrt();
    mean - spread..mean + spread
}

fn chi_square(counts: &[usize]) -> f64 {
    let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum()
}

fn byte_counts(bytes: &[u8]) -> Vec<usize> {
    let mut counts = vec![0; 256];
    bytes.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    counts
}

const WORDS: usize = 1 << 16;

/// Masked input that client 0 of five sends for this input.
fn sent(bits: u32, seed: u64, input: Vec<u32>) -> Vec<u32> {
    let (_, mut states) = shared(&terms(3, WORDS, bits), 5, &mut generator(seed));
    let (client, mail) = states.swap_remove(0);
    client.mask(&mail, input).unwrap().1
}

#[test]
fn a_masked_input_is_uniform_whatever_the_input() {
    for bits in [8, 16, 20, 32] {
        let largest = u32::MAX >> (32 - bits);
        let inputs = [
            vec![0; WORDS],
            vec![largest; WORDS],
            (0..WORDS as u32).map(|i| i & largest & 15).collect(),
        ];
        for (seed, input) in (10..).zip(inputs) {
            let statistic = chi_square(&byte_counts(&pack(&sent(bits, seed, input), bits)));
            assert!(bounds(255).contains(&statistic), "{bits} bits, seed {seed}: {statistic}");
        }
    }
}

/// The joint distribution of input and output: 16 x 16 cells.
#[test]
fn a_masked_input_does_not_depend_on_the_input() {
    let input: Vec<u32> = (0..WORDS as u32).map(|i| (i % 16) << 12 | 0x7ff).collect();
    let output = sent(16, 1, input.clone());
    let mut counts = vec![0; 256];
    for (before, after) in input.iter().zip(&output) {
        counts[(before >> 12 << 4 | after >> 12) as usize] += 1;
    }
    let statistic = chi_square(&counts);
    // The 16 marginals of the input are fixed.
    assert!(bounds(240).contains(&statistic), "{statistic}");
}

/// All pairwise masks cancel in this sum. What remains are the self masks, and
/// they hide it.
#[test]
fn the_sum_is_hidden_until_the_self_masks_are_known() {
    let (_, states) = shared(&terms(3, WORDS, 16), 5, &mut generator(4));
    let mut sum = vec![0_u32; WORDS];
    for (client, mail) in states {
        let (_, words) = client.mask(&mail, vec![0; WORDS]).unwrap();
        sum.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(word));
    }
    let statistic = chi_square(&byte_counts(&pack(&sum, 16)));
    assert!(bounds(255).contains(&statistic), "{statistic}");
}

/// The same client masks the same input in two rounds: nothing in common.
#[test]
fn masks_are_fresh_in_each_round() {
    let (one, two) = (sent(16, 1, vec![0; WORDS]), sent(16, 2, vec![0; WORDS]));
    let difference: Vec<u32> = one.iter().zip(&two).map(|(a, b)| a.wrapping_sub(*b)).collect();
    let statistic = chi_square(&byte_counts(&pack(&difference, 16)));
    assert!(bounds(255).contains(&statistic), "{statistic}");
}
