//! Every accumulator: its bounds, its mean, and what it turns down. The steps of secure
//! aggregation are tested with the coordinator's writer.

mod noise;
mod robust;

use std::sync::Arc;

use differential_privacy::{
    CentralGaussian, CentralGaussianSettings, ClippingNorm, DistributedGaussian,
    DistributedGaussianSettings, NoiseMultiplier,
};
use fedra_protocol::{BandedNoise, CentralNoise, CodecName, RoundId, UpdateRange};
use fedra_secure_aggregation::{Context, Terms};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::codec::{Codec, UpdateShape};
use crate::sum::{FixedPointSum, MAX_TOTAL_WEIGHT};

const LEN: usize = 4;
const ROUND: RoundId = RoundId { round: 1, attempt: 0 };

fn range() -> UpdateRange {
    UpdateRange::new(64).expect("a power of two")
}

fn update(name: CodecName, values: &[f32]) -> CheckedUpdate {
    let shape = UpdateShape::Values { len: values.len(), range: range() };
    let codec = Codec::new(Some(name), shape).expect("for values");
    let bytes = codec.values().expect("values").encode(values, &[0; 32]);
    CheckedUpdate::parse(bytes.into(), &codec).expect("sound")
}

fn plain(values: &[f32]) -> CheckedUpdate {
    update(CodecName::F32, values)
}

fn central() -> CentralGaussian {
    CentralGaussian::derive(&CentralGaussianSettings {
        parameters: LEN,
        clients: 3,
        fraction_bits: 30,
        noise_multiplier: NoiseMultiplier::new(1e-3).expect("in range"),
        clip_indicator: false,
    })
    .expect("a mechanism")
}

fn clip() -> ClippingNorm {
    ClippingNorm::new(2.0).expect("in range")
}

fn clipped() -> Clipped {
    let noise = ServerNoise::new(central(), [1; 32], CentralNoise::Independent);
    Clipped::new(noise.into(), clip(), ROUND)
}

fn decoding() -> Decoding {
    let encoding = DistributedGaussian::derive(&DistributedGaussianSettings {
        parameters: LEN,
        clients: 3,
        survivors: 2,
        noise_multiplier: NoiseMultiplier::new(0.01).expect("in range"),
        clip_indicator: false,
    });
    Decoding { encoding: encoding.expect("a mechanism"), clip: clip(), rotation: [3; 32] }
}

/// An encoded update, as a local policy has it.
fn words(values: &[f32], rng: &mut ChaCha20Rng) -> CheckedUpdate {
    let Decoding { encoding, clip, rotation } = decoding();
    let words = encoding.encode(values, clip, &rotation, rng).expect("of the right length");
    let codec = Codec::standard(UpdateShape::new(LEN, range(), Some(&encoding)));
    let bytes = codec.words().expect("words").encode(&words);
    CheckedUpdate::parse(bytes.into(), &codec).expect("sound")
}

fn masked() -> Masked {
    let encoding = decoding().encoding;
    let terms = Terms::new(Context::new(&[]), 2, encoding.len(), encoding.bits());
    Masked::new(ROUND, terms.expect("sound terms"), 3, decoding())
}

fn add(sum: &mut impl RoundAccumulator, update: CheckedUpdate, weight: Weight) {
    sum.add(Contributor(1), update, weight).expect("it fits");
}

fn assert_near(mean: &Mean, expected: [f64; LEN], error: f64) {
    assert_eq!(mean.delta.len(), LEN);
    for (value, expected) in mean.delta.iter().zip(expected) {
        assert!((value - expected).abs() <= error, "{mean:?} for {expected}");
    }
}

#[test]
fn the_plain_mean_is_weighted_and_the_same_in_every_codec_that_is_exact() {
    for name in [CodecName::F32, CodecName::F16] {
        let mut sum = Box::new(Plain::new(LEN, range()));
        add(&mut *sum, update(name, &[1.0, 0.0, -2.0, 0.5]), Weight::of(1));
        add(&mut *sum, update(name, &[0.0, 4.0, 2.0, 0.5]), Weight::of(3));
        assert_eq!(sum.finish().expect("a mean"), Mean::of(vec![0.25, 3.0, 1.0, 0.5]));
    }
}

#[test]
fn codecs_may_differ_within_a_round() {
    let mut sum = Box::new(Plain::new(LEN, range()));
    add(&mut *sum, update(CodecName::F16, &[1.0; LEN]), Weight::of(1));
    add(&mut *sum, update(CodecName::F32, &[2.0; LEN]), Weight::of(1));
    assert_eq!(sum.finish().expect("a mean").delta, [1.5; LEN]);
}

#[test]
fn stale_updates_count_less_and_the_others_no_more_for_it() {
    let made = |discount: f64| {
        let mut sum = Box::new(Plain::buffered(LEN, range(), 100));
        add(&mut *sum, plain(&[1.0, 0.0, 0.0, 0.0]), Weight::of(1));
        add(&mut *sum, plain(&[0.0, 1.0, 0.0, 0.0]), Weight { examples: 1, discount });
        sum.finish().expect("a mean").delta
    };
    assert_eq!(made(1.0), [0.5, 0.5, 0.0, 0.0]);
    assert_eq!(made(0.25), [0.5, 0.125, 0.0, 0.0]);
    // In sixteenths, and never nothing.
    assert_eq!(made(1e-9), [0.5, 1.0 / 32.0, 0.0, 0.0]);
}

#[test]
fn parts_of_an_example_leave_room_for_the_largest_weights() {
    let mut sum = Plain::buffered(LEN, range(), MAX_TOTAL_WEIGHT);
    add(&mut sum, plain(&[1.0; LEN]), Weight { examples: MAX_TOTAL_WEIGHT, discount: 0.9 });
    let mean = Box::new(sum).finish().expect("a mean");
    assert_near(&mean, [0.9; LEN], 1e-6);
}

#[test]
fn a_clipped_mean_has_the_servers_noise_and_no_weights() {
    let mut sum = Box::new(clipped());
    add(&mut *sum, update(CodecName::F16, &[0.0, 1.0, 0.0, 0.0]), Weight::of(7));
    add(&mut *sum, plain(&[60.0, 0.0, 0.0, 0.0]), Weight::of(1));
    assert_near(&sum.finish().expect("a mean"), [1.0, 0.5, 0.0, 0.0], 0.01);
}

#[test]
fn an_encoded_mean_is_that_of_the_updates() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut sum = Box::new(PackedSum::new(decoding()));
    for values in [[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.5]] {
        add(&mut *sum, words(&values, &mut rng), Weight::of(1));
    }
    let third = 1.0 / 3.0;
    assert_near(&sum.finish().expect("a mean"), [third, third, 0.0, 0.5], 0.2);
}

#[test]
fn an_update_in_another_form_leaves_no_trace() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (values, other) = (plain(&[1.0; LEN]), words(&[1.0; LEN], &mut rng));
    let refused = |sum: &mut dyn RoundAccumulator, update: &CheckedUpdate| {
        let done = sum.add(Contributor(1), update.clone(), Weight::of(1));
        assert!(done.is_err(), "{sum:?}");
    };
    let mut sum = Box::new(Plain::new(LEN, range()));
    add(&mut *sum, values.clone(), Weight::of(1));
    refused(&mut *sum, &other);
    refused(&mut *sum, &plain(&[1.0; LEN - 1]));
    assert_eq!(sum.finish().expect("a mean").delta, [1.0; LEN]);

    let mut sum = Box::new(clipped());
    add(&mut *sum, values.clone(), Weight::of(1));
    refused(&mut *sum, &other);
    refused(&mut *sum, &plain(&[1.0; LEN - 1]));
    assert_near(&sum.finish().expect("a mean"), [1.0; LEN], 0.01);

    refused(&mut PackedSum::new(decoding()), &values);
    refused(&mut masked(), &values);
    refused(&mut masked(), &other);
}

#[test]
fn a_round_without_secure_aggregation_has_no_steps_and_takes_no_answers() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let sums: [Box<dyn RoundAccumulator>; 3] = [
        Box::new(Plain::new(LEN, range())),
        Box::new(clipped()),
        Box::new(PackedSum::new(decoding())),
    ];
    for mut sum in sums {
        let answer = sum.answer(Contributor(1), Answer::Shares(Vec::new()));
        assert!(matches!(answer, Err(ContributionError::OutOfPlace)));
        assert!(matches!(sum.advance(&mut rng), Err(SecureError::NotThere)));
    }
}

#[test]
fn there_is_no_mean_of_nothing() {
    let finished = Box::new(Plain::new(LEN, range())).finish();
    assert!(matches!(finished, Err(FinishError::Empty)));
    assert!(Box::new(PackedSum::new(decoding())).finish().is_err());
    let finished = Box::new(masked()).finish();
    assert!(matches!(finished, Err(FinishError::Secure(SecureError::NotThere))));
}

#[test]
fn every_accumulator_knows_its_memory_before_its_first_update() {
    let wide = UpdateRange::new(1 << 20).expect("a power of two");
    let memory = |sum: &dyn RoundAccumulator| sum.bounds().memory;
    assert_eq!(memory(&Plain::new(1000, range())), 8_000);
    assert_eq!(memory(&Plain::buffered(1000, wide, 1)), 16_000);
    assert_eq!(FixedPointSum::memory(usize::MAX, wide), u64::MAX);
    assert_eq!(memory(&clipped()), 20 * LEN as u64);
    let encoded = 4 * decoding().encoding.len() as u64;
    assert_eq!(memory(&PackedSum::new(decoding())), encoded);
    // Each of three clients shares its secrets with two others.
    assert_eq!(memory(&masked()), encoded + 3 * 2 * 256);
}
