use alloc::{vec, vec::Vec};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};

use super::*;
use crate::{NoiseMultiplier, rounding::squared_norm};

const ROTATION: [u8; 32] = [11; 32];

fn settings() -> DistributedGaussianSettings {
    DistributedGaussianSettings {
        parameters: 1000,
        clients: 32,
        survivors: 32,
        noise_multiplier: noise(1.0),
        clip_indicator: false,
    }
}

fn noise(value: f64) -> NoiseMultiplier {
    NoiseMultiplier::new(value).expect("positive")
}

fn derive(settings: &DistributedGaussianSettings) -> DistributedGaussian {
    DistributedGaussian::derive(settings).expect("good settings")
}

fn clip(value: f64) -> ClippingNorm {
    ClippingNorm::new(value).expect("positive")
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Values of roughly normal shape.
fn vector(len: usize, rng: &mut ChaCha20Rng) -> Vec<f32> {
    (0..len).map(|_| (0..4).map(|_| rng.next_u32() as i32 as f32).sum::<f32>() / 2.5e9).collect()
}

fn scaled_to(norm: f64, mut values: Vec<f32>) -> Vec<f32> {
    let factor = norm / finite_norm(&values).expect("finite");
    for value in &mut values {
        *value = (f64::from(*value) * factor) as f32;
    }
    values
}

fn add(sum: &mut [u32], encoded: &[u32], bits: u32) {
    for (sum, value) in sum.iter_mut().zip(encoded) {
        *sum = sum.wrapping_add(*value) & u32::MAX >> (32 - bits);
    }
}

/// A generator whose every answer rounds up: zero falls below any fraction.
struct Upwards;

impl TryRng for Upwards {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill(0);
        Ok(())
    }
}

impl TryCryptoRng for Upwards {}

/// The bound on what a client adds, before its noise: 100,000 vectors, random and
/// made to break it.
#[test]
fn no_vector_passes_the_norm_bound() {
    let mut rng = rng(1);
    let mut zeros = 0;
    let sizes = [1, 2, 3, 5, 8, 17, 31, 64, 100];
    let mechanisms: Vec<DistributedGaussian> = sizes
        .iter()
        .map(|&parameters| derive(&DistributedGaussianSettings { parameters, ..settings() }))
        .collect();
    for turn in 0..100_000_usize {
        let mechanism = &mechanisms[turn % sizes.len()];
        let delta = hostile(turn / sizes.len(), mechanism, &mut rng);
        let norm = finite_norm(&delta).unwrap_or(0.0);
        let rotated =
            mechanism.rotate(&delta, clipping_factor(norm, clip(1.0)), clip(1.0), &ROTATION);
        let mut rounded = vec![0; mechanism.dimension];
        if turn % 10 == 9 {
            round_within(&rotated, &mut rounded, mechanism.rotated_bound, &mut Upwards);
        } else {
            round_within(&rotated, &mut rounded, mechanism.rotated_bound, &mut rng);
        }
        let square: u128 =
            rounded.iter().map(|&x| u128::from((x as i32).unsigned_abs()).pow(2)).sum();
        assert!(square <= u128::from(mechanism.rotated_bound), "{turn}: {square}");
        assert_eq!(square, u128::from(squared_norm(&rounded)));
        zeros += usize::from(square == 0);
    }
    // Rounding always up is what mostly ends in zeros; the rest goes through.
    assert!(zeros < 30_000, "{zeros} of 100,000 became zeros");
}

/// An update that tries: huge, tiny, a spike, all the same, or rotated coordinates
/// just above a grid point so that rounding up costs the most.
fn hostile(kind: usize, mechanism: &DistributedGaussian, rng: &mut ChaCha20Rng) -> Vec<f32> {
    let len = mechanism.parameters;
    match kind % 7 {
        0 => scaled_to(1.0, vector(len, rng)),
        1 => scaled_to(1e20, vector(len, rng)),
        2 => scaled_to(0.01, vector(len, rng)),
        3 => {
            let mut spike = vec![0.0; len];
            spike[rng.next_u32() as usize % len] =
                if kind.is_multiple_of(2) { 1.0 } else { -3.4e38 };
            spike
        }
        4 => vec![if kind.is_multiple_of(2) { f32::MAX } else { f32::MIN_POSITIVE }; len],
        5 => {
            let mut update = vector(len, rng);
            update[0] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][kind % 3];
            update
        }
        _ => {
            let dimension = mechanism.dimension;
            let most = (1.0 / mechanism.gamma / sqrt(dimension as f64)) as i32;
            let mut grid: Vec<f32> = (0..dimension)
                .map(|_| (rng.next_u32() as i32 % (most + 1)) as f32 + 0.001)
                .collect();
            walsh_hadamard(&mut grid);
            flip_signs(&mut grid, &ROTATION);
            let unit = mechanism.gamma / sqrt(dimension as f64);
            grid.iter().take(len).map(|&x| (f64::from(x) * unit) as f32).collect()
        }
    }
}

#[test]
fn sum_decodes_to_the_clipped_mean_with_the_claimed_noise() {
    for (parameters, clients, survivors, z) in
        [(4096, 32, 32, 1.0), (3000, 40, 30, 0.5), (2048, 10, 1, 0.3), (5000, 100, 80, 2.0)]
    {
        let mechanism = derive(&DistributedGaussianSettings {
            parameters,
            clients,
            survivors,
            noise_multiplier: noise(z),
            ..settings()
        });
        let c = clip(0.5);
        let mut rng = rng(7);
        let mut sum = vec![0; mechanism.len()];
        let mut expected = vec![0.0_f64; parameters];
        for client in 0..survivors {
            // Some within the clip, some four times too long.
            let norm = if client % 2 == 0 { 0.4 } else { 2.0 };
            let update = scaled_to(norm, vector(parameters, &mut rng));
            for (mean, value) in expected.iter_mut().zip(&update) {
                *mean += f64::from(*value) * (0.5 / norm).min(1.0) / f64::from(survivors);
            }
            let encoded = mechanism.encode(&update, c, &ROTATION, &mut rng).expect("its length");
            add(&mut sum, &encoded, mechanism.bits());
        }
        let decoded = mechanism.decode(&sum, survivors, c, &ROTATION).expect("a good sum");
        assert_eq!(decoded.within_clip, None);
        let errors: Vec<f64> =
            decoded.mean.iter().zip(&expected).map(|(a, b)| f64::from(*a) - b).collect();
        let count = parameters as f64;
        let mean = errors.iter().sum::<f64>() / count;
        let variance = errors.iter().map(|e| e * e).sum::<f64>() / count;
        // Of the rounding, which adds at most 1/4 to s², between nothing and all.
        let most = mechanism.mean_noise(survivors, c).value().powi(2);
        let s = mechanism.scale().to_f64();
        let least = most * s * s / (s * s + 0.25);
        let sampling = 4.5 * (2.0 / count).sqrt();
        assert!(mean.abs() < 4.5 * (variance / count).sqrt(), "{parameters}: bias {mean}");
        assert!(variance < most * (1.0 + sampling), "{parameters}: {variance} {most}");
        assert!(variance > least * (1.0 - sampling), "{parameters}: {variance} {least}");
    }
}

/// The noise multiplier is what the sum's noise is over its sensitivity.
#[test]
fn scale_gives_the_noise_multiplier() {
    for z in [0.3, 1.0, 4.0] {
        for (clients, survivors) in [(100, 80), (1000, 1), (32, 32)] {
            for clip_indicator in [false, true] {
                let mechanism = derive(&DistributedGaussianSettings {
                    parameters: 100_000,
                    clients,
                    survivors,
                    noise_multiplier: noise(z),
                    clip_indicator,
                });
                let s = mechanism.scale().to_f64();
                let noise = s * sqrt(f64::from(survivors));
                let reached = noise / sqrt(mechanism.squared_norm_bound() as f64);
                assert!(reached >= z && reached < z * 1.001, "{z} {survivors}: {reached}");
                // That of a Gaussian with a few steps squared less of variance.
                let (cost, gaussian) = (mechanism.cost().value(), 0.5 / (reached * reached));
                let less = 1.0 - cost.recip() * gaussian;
                assert!((2.3..3.4).contains(&(less * noise * noise)), "{cost} {gaussian}");
                assert!(mechanism.tau() < 1e-60);
            }
        }
    }
}

#[test]
fn nothing_wraps_when_all_clients_agree_at_full_norm() {
    for parameters in [1, 3, 64, 1000, 4096] {
        let mechanism = derive(&DistributedGaussianSettings {
            parameters,
            clients: 100,
            survivors: 100,
            clip_indicator: true,
            ..settings()
        });
        let mut rng = rng(3);
        let update = scaled_to(10.0, vector(parameters, &mut rng));
        let mut wrapped = vec![0; mechanism.len()];
        let mut whole = vec![0_i64; mechanism.len()];
        for _ in 0..100 {
            let encoded =
                mechanism.encode(&update, clip(1.0), &ROTATION, &mut rng).expect("its length");
            for (whole, &value) in whole.iter_mut().zip(&encoded) {
                *whole += i64::from(mechanism.lift(value));
            }
            add(&mut wrapped, &encoded, mechanism.bits());
        }
        for (&wrapped, whole) in wrapped.iter().zip(&whole) {
            assert_eq!(i64::from(mechanism.lift(wrapped)), *whole, "{parameters}");
        }
        assert!(mechanism.headroom() >= 6.0, "{parameters}");
    }
}

#[test]
fn one_parameter_and_odd_sizes_work() {
    for parameters in [1, 2, 3, 5, 7, 1025] {
        for clip_indicator in [false, true] {
            let mechanism = derive(&DistributedGaussianSettings {
                parameters,
                clients: 1000,
                survivors: 1000,
                noise_multiplier: noise(1.0),
                clip_indicator,
            });
            assert_eq!(mechanism.dimension(), parameters.next_power_of_two());
            assert!(mechanism.scale().to_f64() >= 4.0);
            let mut rng = rng(5);
            let update = scaled_to(1.0, vec![1.0; parameters]);
            let mut sum = vec![0; mechanism.len()];
            for _ in 0..1000 {
                let encoded =
                    mechanism.encode(&update, clip(1.0), &ROTATION, &mut rng).expect("its length");
                add(&mut sum, &encoded, mechanism.bits());
            }
            let decoded = mechanism.decode(&sum, 1000, clip(1.0), &ROTATION).expect("a good sum");
            assert_eq!(decoded.mean.len(), parameters);
            let noise = mechanism.mean_noise(1000, clip(1.0)).value();
            for (found, expected) in decoded.mean.iter().zip(&update) {
                let off = f64::from(found - expected).abs();
                assert!(off < 5.0 * noise, "{parameters}: {found} {expected}");
            }
        }
    }
}

#[test]
fn indicator_tells_the_share_within_the_clip() {
    let mechanism = derive(&DistributedGaussianSettings {
        parameters: 100,
        clients: 1000,
        survivors: 800,
        clip_indicator: true,
        ..settings()
    });
    assert_eq!(mechanism.len(), 129);
    let half = f64::from(mechanism.indicator_half_step().expect("an indicator"));
    let noise = mechanism.scale().to_f64() / (2.0 * half * sqrt(1000.0));
    assert!(noise < 0.2001, "{noise}");
    let mut rng = rng(9);
    let mut sum = vec![0; 129];
    for client in 0..1000 {
        let update = scaled_to(if client < 300 { 0.99 } else { 1.01 }, vector(100, &mut rng));
        let encoded =
            mechanism.encode(&update, clip(1.0), &ROTATION, &mut rng).expect("100 values");
        add(&mut sum, &encoded, mechanism.bits());
    }
    let decoded = mechanism.decode(&sum, 1000, clip(1.0), &ROTATION).expect("a good sum");
    let share = decoded.within_clip.expect("an indicator");
    assert!((share - 0.3).abs() < 4.0 * noise, "{share}");
    // And it costs little.
    let without = derive(&DistributedGaussianSettings {
        parameters: 100,
        clients: 1000,
        survivors: 800,
        ..settings()
    });
    assert!(mechanism.scale().to_f64() < 1.026 * without.scale().to_f64());
    assert!(mechanism.bits() <= without.bits() + 1);
}

#[test]
fn a_weight_is_a_factor_on_the_clipped_update_and_not_on_its_bit() {
    let mechanism = derive(&DistributedGaussianSettings {
        parameters: 100,
        clients: 1000,
        survivors: 1000,
        clip_indicator: true,
        ..settings()
    });
    let mut rng = rng(6);
    // A factor above 1 is none: it would pass the bound.
    for (weight, factor) in [(0.25, 0.25), (1.0, 1.0), (4.0, 1.0)] {
        let (long, within) = (scaled_to(3.0, vec![1.0; 100]), scaled_to(1.0, vec![1.0; 100]));
        let mut sum = vec![0; mechanism.len()];
        for _ in 0..1000 {
            let encoded = mechanism.encode_weighted(&long, weight, clip(1.0), &ROTATION, &mut rng);
            add(&mut sum, &encoded.expect("100 values"), mechanism.bits());
        }
        let decoded = mechanism.decode(&sum, 1000, clip(1.0), &ROTATION).expect("a good sum");
        let noise = mechanism.mean_noise(1000, clip(1.0)).value();
        for (found, clipped) in decoded.mean.iter().zip(&within) {
            let off = (f64::from(*found) - factor * f64::from(*clipped)).abs();
            assert!(off < 5.0 * noise, "{weight}: {found} {clipped}");
        }
        assert!(decoded.within_clip.expect("an indicator") < 0.5, "all are above the norm");
    }
}

#[test]
fn what_is_not_finite_counts_as_zeros() {
    let mechanism = derive(&DistributedGaussianSettings { parameters: 3, ..settings() });
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let spoilt = mechanism.encode(&[1.0, bad, 2.0], clip(1.0), &ROTATION, &mut rng(4));
        let zeros = mechanism.encode(&[0.0; 3], clip(1.0), &ROTATION, &mut rng(4));
        assert_eq!(spoilt, zeros);
    }
}

/// Client and server may run on different platforms.
#[test]
fn the_same_bits_everywhere() {
    let mechanism = derive(&DistributedGaussianSettings {
        parameters: 5000,
        clients: 100,
        survivors: 80,
        clip_indicator: true,
        ..settings()
    });
    let update: Vec<f32> = (0_u32..5000).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
    let encoded =
        mechanism.encode(&update, clip(0.7), &ROTATION, &mut rng(42)).expect("its length");
    let hash = |hash: u64, value: u32| (hash ^ u64::from(value)).wrapping_mul(0x0100_0000_01b3);
    let encoded_hash = encoded.iter().fold(0xcbf2_9ce4_8422_2325, |h, &v| hash(h, v));
    let decoded = mechanism.decode(&encoded, 80, clip(0.7), &ROTATION).expect("a good sum");
    let decoded_hash = decoded.mean.iter().fold(0xcbf2_9ce4_8422_2325, |h, v| hash(h, v.to_bits()));
    let (scale, bound) = (mechanism.scale(), mechanism.squared_norm_bound());
    assert_eq!(
        (mechanism.bits(), scale.numerator(), scale.denominator(), bound),
        (14, 13_053, 256, 207_970)
    );
    assert_eq!((encoded_hash, decoded_hash), (56_703_342_725_642_382, 8_116_044_204_801_046_483));
}

#[test]
fn lengths_survivors_and_residues_are_checked() {
    let mechanism = derive(&DistributedGaussianSettings { clients: 40, ..settings() });
    let (c, bits) = (clip(1.0), mechanism.bits());
    assert_eq!(
        mechanism.encode(&[0.0; 999], c, &ROTATION, &mut rng(1)),
        Err(EncodeError::WrongLength { expected: 1000, actual: 999 })
    );
    let decode = |sum: &[u32], survivors| mechanism.decode(sum, survivors, c, &ROTATION);
    let sum = vec![0; 1024];
    assert_eq!(
        decode(&sum[..1000], 32),
        Err(DecodeError::WrongLength { expected: 1024, actual: 1000 })
    );
    assert_eq!(decode(&sum, 31), Err(DecodeError::TooFewSurvivors { survivors: 31, needed: 32 }));
    assert_eq!(decode(&sum, 41), Err(DecodeError::TooManySurvivors { survivors: 41, most: 40 }));
    let mut large = sum.clone();
    large[7] = 1 << bits;
    assert_eq!(decode(&large, 32), Err(DecodeError::NotReduced { index: 7, bits }));
    assert!(decode(&sum, 40).is_ok());
}

#[test]
fn settings_are_checked() {
    let error = |settings: DistributedGaussianSettings| {
        DistributedGaussian::derive(&settings).expect_err("bad settings")
    };
    assert_eq!(
        error(DistributedGaussianSettings { parameters: 0, ..settings() }),
        ParameterError::Parameters { parameters: 0 }
    );
    assert_eq!(
        error(DistributedGaussianSettings { survivors: 0, ..settings() }),
        ParameterError::Survivors { survivors: 0, clients: 32 }
    );
    assert_eq!(
        error(DistributedGaussianSettings { survivors: 33, ..settings() }),
        ParameterError::Survivors { survivors: 33, clients: 32 }
    );
    assert_eq!(
        error(DistributedGaussianSettings { noise_multiplier: noise(1e-6), ..settings() }),
        ParameterError::GridTooFine
    );
    // Local noise of many clients on a large model.
    let many = DistributedGaussianSettings {
        parameters: 1 << 26,
        clients: u32::MAX,
        survivors: 1,
        noise_multiplier: noise(100.0),
        clip_indicator: false,
    };
    assert!(matches!(error(many), ParameterError::TooManyBits { bits } if bits > 32));
}
