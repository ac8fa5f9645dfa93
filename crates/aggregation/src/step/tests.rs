//! Exact bits at both ends, and error feedback.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use fedra_protocol::{CodecName, SentShare, UpdateRange};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::codec::{Codec, UpdateShape};

/// More than a block of each codec, and no power of two.
const LEN: usize = 70_001;

fn codecs() -> impl Iterator<Item = Codec> {
    let shape = UpdateShape::Values { len: LEN, range: UpdateRange::new(1).unwrap() };
    let names = CodecName::ALL.into_iter().filter(|name| *name != CodecName::Packed);
    let tenth = SentShare::new(100_000).unwrap();
    let names = names.map(move |name| name.with_share(tenth).unwrap_or(name));
    names.map(move |name| Codec::new(Some(name), shape).unwrap())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_chain_of_steps_gives_the_same_bits_at_both_ends() {
    for codec in codecs() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let initial: Vec<f32> = (0..LEN).map(|_| rng.random_range(-1.0..1.0)).collect();
        let (mut server, mut client) = (initial.clone(), initial);
        let mut residual = Vec::new();
        for round in 0..20 {
            let wanted: Vec<f32> =
                server.iter().map(|value| value + rng.random_range(-0.01..0.01)).collect();
            let form = codec.values().unwrap();
            let step = Step::towards(&wanted, &server, &residual, form, 1.0, &[round; 32]).unwrap();
            let received = CheckedUpdate::parse(step.bytes.into(), &codec).unwrap();
            received.add_to(&mut client).unwrap();
            assert_eq!(bits(&client), bits(&step.parameters), "{:?}, {round}", codec.name());
            (server, residual) = (step.parameters, step.residual);
        }
    }
}

#[test]
fn steps_and_the_residual_are_the_sum_of_the_wanted_steps() {
    for codec in codecs() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let (mut server, mut residual) = (vec![0.0; LEN], Vec::new());
        let mut sum = vec![0.0_f64; LEN];
        for round in 0..20 {
            let moves: Vec<f32> = (0..LEN).map(|_| rng.random_range(-0.01..0.01)).collect();
            let wanted: Vec<f32> = server.iter().zip(&moves).map(|(at, by)| at + by).collect();
            // What the server wants is rounded to float32, too.
            sum.iter_mut()
                .zip(wanted.iter().zip(&server))
                .for_each(|(sum, (wanted, at))| *sum += f64::from(*wanted) - f64::from(*at));
            let form = codec.values().unwrap();
            let step = Step::towards(&wanted, &server, &residual, form, 1.0, &[round; 32]).unwrap();
            (server, residual) = (step.parameters, step.residual);
        }
        let name = codec.name();
        for ((sent, left), sum) in server.iter().zip(&residual).zip(sum) {
            let difference = f64::from(*sent) + f64::from(*left) - sum;
            assert!(difference.abs() < 1e-7, "{name:?}: {sent} and {left} for {sum}");
        }
        let left = residual.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        let moved = LEN as f64 * 20.0 * 0.01_f64.powi(2) / 3.0;
        assert!(left < moved / 2.0, "{name:?} leaves out {left} of {moved}");
    }
}

#[test]
fn what_is_beyond_the_range_comes_with_later_steps() {
    let shape = UpdateShape::Values { len: 2, range: UpdateRange::new(1).unwrap() };
    let codec = Codec::standard(shape);
    let form = codec.values().unwrap();
    let (mut server, mut residual) = (vec![0.0, 0.0], Vec::new());
    for (round, (wanted, expected)) in
        [([2.5, -0.5], [1.0, -0.5]), ([1.0, -0.5], [2.0, -0.5]), ([2.0, 0.0], [2.5, 0.0])]
            .into_iter()
            .enumerate()
    {
        let step = Step::towards(&wanted, &server, &residual, form, 1.0, &[0; 32]).unwrap();
        (server, residual) = (step.parameters, step.residual);
        assert_eq!(server, expected, "{round}");
    }
    assert_eq!(residual, [0.0, 0.0]);
}

#[test]
fn there_is_no_step_to_what_is_not_finite() {
    let shape = UpdateShape::Values { len: 1, range: UpdateRange::new(1).unwrap() };
    let codec = Codec::standard(shape);
    let form = codec.values().unwrap();
    for wanted in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(Step::towards(&[wanted], &[0.0], &[], form, 1.0, &[0; 32]), None, "{wanted}");
    }
}
