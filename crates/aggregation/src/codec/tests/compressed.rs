//! Codecs that lose something: known answers, errors in the mean, hostile bytes.

use fedra_keystream::KeystreamRng;
use fedra_protocol::SentShare;
use rand::{RngExt, SeedableRng};

use super::super::positions::Positions;
use super::*;

fn share(parts_per_million: u32) -> SentShare {
    SentShare::new(parts_per_million).expect("at most half")
}

const ROTATED: [CodecName; 4] =
    [CodecName::Int8, CodecName::Int4, CodecName::Eden2, CodecName::Eden1];

fn compressed(parts_per_million: u32) -> [CodecName; 6] {
    let share = share(parts_per_million);
    let [a, b, c, d] = ROTATED;
    [a, b, c, d, CodecName::TopK(share), CodecName::Stc(share)]
}

fn encoded(codec: &Codec, values: &[f32], seed: u64) -> Vec<u8> {
    let mut all = [1; 32];
    all[..8].copy_from_slice(&seed.to_le_bytes());
    codec.values().expect("values").encode(values, &all)
}

fn decoded(codec: &Codec, bytes: Vec<u8>) -> Vec<f32> {
    CheckedUpdate::parse(bytes.into(), codec).expect("sound").to_vec().expect("values")
}

fn refused(codec: &Codec, bytes: Vec<u8>) -> UpdateError {
    CheckedUpdate::parse(bytes.into(), codec).map(drop).expect_err("not sound")
}

/// About normally distributed values, and a few large ones.
fn update(len: usize) -> Vec<f32> {
    let mut rng = KeystreamRng::from_seed([3; 32]);
    let mut normal = || (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
    let mut update: Vec<f32> = (0..len).map(|_| normal() / 100.0).collect();
    update.iter_mut().step_by(97).for_each(|value| *value *= 20.0);
    update
}

fn square(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|value| value * value).sum()
}

/// Mean squared error over |x|^2.
fn error(found: &[f64], update: &[f32]) -> f64 {
    let differences = found.iter().zip(update).map(|(a, b)| a - f64::from(*b));
    square(differences) / square(update.iter().map(|value| f64::from(*value)))
}

#[test]
fn a_million_parameters_take_these_bytes() {
    let lengths = compressed(10_000).map(|name| {
        let CodecBounds { bytes, memory } = values(name, 1_000_000, narrow()).bounds();
        assert!(memory <= 300 << 10, "{name:?} is decoded block by block: {memory}");
        assert!(matches!(bytes, UpdateLength::Exactly(_)), "its length says nothing of it");
        bytes.most()
    });
    // 124 blocks of 4 bytes beside their words; 16 chunks, of which the last is shorter.
    assert_eq!(lengths, [1_000_504, 500_504, 250_504, 125_504, 30_733, 12_029]);
}

#[test]
fn little_is_filled_up() {
    for len in [1, 2, 255, 256, 257, 511, 513, 4097, 8191, 8193, 100_001] {
        for name in ROTATED {
            let bits = match name {
                CodecName::Int8 => 8,
                CodecName::Int4 => 4,
                CodecName::Eden2 => 2,
                _ => 1,
            };
            let bytes = values(name, len, narrow()).bounds().bytes.most() as usize;
            // At most 127 values, and 4 bytes for each block.
            let most = 8 + (bits * (len + 127)).div_ceil(8) + 4 * (len / 8192 + 6);
            assert!(bytes <= most, "{name:?}: {bytes} for {len}");
        }
    }
}

#[test]
fn signs_and_a_scale_of_two_values() {
    let codec = values(CodecName::Eden1, 2, narrow());
    for seed in 0..20 {
        // Rotated twice: 3 and 1, in some order and with some signs, which alone are sent
        // with the scale 10 / 4.
        let back = decoded(&codec, encoded(&codec, &[3.0, -1.0], seed));
        assert!((back[0] - 2.5).abs() < 1e-5 && (back[1] + 2.5).abs() < 1e-5, "{back:?}");
    }
    let codec = values(CodecName::Eden1, 1, narrow());
    assert_eq!(decoded(&codec, encoded(&codec, &[-3.0], 1)), [-3.0]);
}

#[test]
fn a_value_between_two_levels_is_either() {
    let codec = values(CodecName::Int4, 2, narrow());
    let mut signs = [0; 2];
    for seed in 0..100 {
        // Rotated: 6 over the root of 2, the outermost level, and 0, halfway between the
        // levels of a fifteenth of that.
        let back = decoded(&codec, encoded(&codec, &[3.0, 3.0], seed));
        let (sum, difference) = (back[0] + back[1], back[0] - back[1]);
        assert!((sum.abs() - 6.0).abs() < 0.41 && difference.abs() < 0.41, "{back:?}");
        signs[usize::from(back[0] > back[1])] += 1;
    }
    assert!(signs.iter().all(|times| *times > 30), "{signs:?}");
}

#[test]
fn the_largest_values_and_where_they_are() {
    let update = [0.0, -2.0, 0.5, 0.0, 1.0, 0.25, 0.0, 4.0];
    // Positions 1, 4 and 7: low bits 1, 0, 1; high parts 0, 2, 3, with bits 0, 3, 5 set.
    let codec = values(CodecName::TopK(share(375_000)), 8, narrow());
    let bytes = encoded(&codec, &update, 0);
    assert_eq!(hex::encode(&bytes), "0529".to_owned() + "00c0" + "003c" + "0044");
    assert_eq!(decoded(&codec, bytes), [0.0, -2.0, 0.0, 0.0, 1.0, 0.0, 0.0, 4.0]);
    let codec = values(CodecName::Stc(share(375_000)), 8, narrow());
    let bytes = encoded(&codec, &update, 0);
    assert_eq!(hex::encode(&bytes), "0529".to_owned() + "55551540" + "01");
    let mean = 7.0 / 3.0;
    assert_eq!(decoded(&codec, bytes), [0.0, -mean, 0.0, 0.0, mean, 0.0, 0.0, mean]);
}

#[test]
fn of_equal_magnitudes_the_first_are_sent() {
    let codec = values(CodecName::TopK(share(500_000)), 6, narrow());
    let sent = |update: [f32; 6]| decoded(&codec, encoded(&codec, &update, 0));
    assert_eq!(sent([1.0, -1.0, 2.0, 1.0, 1.0, 0.0]), [1.0, -1.0, 2.0, 0.0, 0.0, 0.0]);
    assert_eq!(sent([0.0, 64.0, 0.0, 0.0, -64.0, 0.0]), [0.0, 64.0, 0.0, 0.0, -64.0, 0.0]);
}

#[test]
fn an_update_of_zeros_stays_one_and_one_without_values_has_none() {
    for name in compressed(10_000) {
        for len in [0, 1, 300, 70_000] {
            let codec = values(name, len, narrow());
            let back = decoded(&codec, encoded(&codec, &vec![0.0; len], 5));
            assert_eq!(back, vec![0.0; len], "{name:?}");
        }
    }
}

#[test]
fn the_error_of_one_update_is_that_of_the_papers() {
    let update = update(8192);
    for (name, least, most) in [
        // Steps of a fifteenth, and of a 255th, of twice the largest of normal values.
        (CodecName::Int8, 5e-5, 3e-4),
        (CodecName::Int4, 0.02, 0.08),
        (CodecName::Eden2, 0.123, 0.143),
        (CodecName::Eden1, 0.54, 0.60),
    ] {
        let codec = values(name, update.len(), narrow());
        for seed in 0..5 {
            let back = decoded(&codec, encoded(&codec, &update, seed));
            let back: Vec<f64> = back.into_iter().map(f64::from).collect();
            let error = error(&back, &update);
            assert!((least..most).contains(&error), "{name:?}: {error}");
        }
    }
}

#[test]
fn errors_cancel_out_in_the_mean_of_many() {
    const TIMES: usize = 1000;
    // Of spread and of concentrated updates.
    let few = [[3.0, 2.0, 1.0].as_slice(), &[0.0; 997]].concat();
    let singles = [3e-4, 0.08, 0.15, 0.62];
    let cases = ROTATED.into_iter().zip(singles);
    for ((name, single), update) in
        cases.flat_map(|case| [(case, update(1000)), (case, few.clone())])
    {
        let codec = values(name, update.len(), narrow());
        let mut mean = vec![0.0; update.len()];
        for seed in 0..TIMES as u64 {
            for (mean, value) in
                mean.iter_mut().zip(decoded(&codec, encoded(&codec, &update, seed)))
            {
                *mean += f64::from(value) / TIMES as f64;
            }
        }
        let error = error(&mean, &update);
        // What two rotations of a short block leave is a bias of a hundredth of the norm.
        assert!(error < single / TIMES as f64 + 1e-4, "{name:?}: {error}");
    }
}

#[test]
fn a_received_value_is_limited_to_the_range() {
    for name in ROTATED {
        let codec = values(name, 300, range(0));
        let mut bytes = encoded(&codec, &[0.9; 300], 1);
        bytes[8..12].copy_from_slice(&512.0_f32.to_le_bytes());
        let back = decoded(&codec, bytes);
        assert!(back.iter().all(|value| value.abs() <= 1.0), "{name:?}");
        assert!(back.contains(&1.0) || back.contains(&-1.0), "{name:?}");
    }
}

#[test]
fn a_scale_that_is_none_is_named() {
    let stc = CodecName::Stc(share(10_000));
    // The second block or chunk begins with its scale, or has it after its positions.
    let place = |name| match name {
        CodecName::Int8 => 8 + 4 + 8192,
        CodecName::Int4 => 8 + 4 + 4096,
        CodecName::Eden2 => 8 + 4 + 2048,
        CodecName::Eden1 => 8 + 4 + 1024,
        _ => 492 + 210 + 4 + 82 + 1 + 1,
    };
    for name in [ROTATED.as_slice(), &[stc]].concat() {
        let (len, most) = if name == stc { (65536 + 2, 64.0) } else { (8192 + 2, 512.0 * 64.0) };
        let codec = values(name, len, narrow());
        let sound = encoded(&codec, &vec![0.5; len], 1);
        let with = |scale: f32| {
            let mut bytes = sound.clone();
            bytes[place(name)..place(name) + 4].copy_from_slice(&scale.to_le_bytes());
            bytes
        };
        decoded(&codec, with(most));
        for bad in [f32::NAN, f32::INFINITY, -1.0, most.next_up()] {
            let found = refused(&codec, with(bad));
            assert!(matches!(found, UpdateError::Scale { block: 1, .. }), "{name:?}: {found}");
            assert!(found.to_string().ends_with(&format!("from 0 to {most}")), "{found}");
        }
    }
}

#[test]
fn bits_that_mean_nothing_are_zero() {
    for name in [CodecName::Int4, CodecName::Eden2, CodecName::Eden1, CodecName::Stc(share(1))] {
        let codec = values(name, 1, narrow());
        let mut bytes = encoded(&codec, &[0.5], 1);
        *bytes.last_mut().expect("not empty") |= 0x80;
        assert_eq!(refused(&codec, bytes), UpdateError::Padding, "{name:?}");
    }
}

#[test]
fn values_and_positions_of_a_sparse_update_are_checked() {
    let codec = values(CodecName::TopK(share(375_000)), 8, narrow());
    let sound = encoded(&codec, &[0.0, -2.0, 0.5, 0.0, 1.0, 0.25, 0.0, 4.0], 0);
    let with = |at: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[at] = byte;
        refused(&codec, bytes)
    };
    let positions = UpdateError::Positions { block: 0 };
    // Four bits set, and two; a padding bit; positions 1, 1, 7; bits that lead beyond 7.
    for bitmap in [0x2d, 0x28, 0x69, 0x13] {
        assert_eq!(with(1, bitmap), positions, "{bitmap:x}");
    }
    // Low bits 1, 0 of one high part.
    assert_eq!(with(1, 0x23), positions);
    assert_eq!(with(0, 0x0d), positions, "padding of the low bits");
    assert_eq!(with(5, 0x7c), UpdateError::NotFinite { index: 4 });
    let beyond = with(7, 0x55);
    assert!(matches!(beyond, UpdateError::OutOfRange { index: 7, .. }), "{beyond}");
    let short = refused(&codec, sound[1..].to_vec());
    let expected = UpdateLength::Exactly(8);
    assert_eq!(short, UpdateError::WrongLength { expected, actual: 7 });
}

proptest! {
    #[test]
    fn positions_have_one_code(
        chosen in prop::collection::vec(any::<bool>(), 1..400),
        noise in prop::collection::vec(any::<u8>(), 200),
    ) {
        let positions: Vec<u32> =
            (0..).zip(&chosen).filter(|(_, chosen)| **chosen).map(|(at, _)| at).collect();
        prop_assume!(!positions.is_empty());
        let code = Positions::new(positions.len(), chosen.len());
        let bytes = code.encode(&positions);
        prop_assert_eq!(bytes.len(), code.bytes());
        prop_assert_eq!(code.decode(&bytes), Some(positions));
        if let Some(found) = noise.get(..code.bytes()).and_then(|noise| code.decode(noise)) {
            prop_assert_eq!(code.encode(&found), &noise[..code.bytes()]);
        }
    }

    #[test]
    fn what_is_sent_is_sound(
        update in prop::collection::vec(-64.0_f32..=64.0, 0..700),
        seed in any::<u64>(),
    ) {
        for name in compressed(100_000) {
            let codec = values(name, update.len(), narrow());
            let bytes = encoded(&codec, &update, seed);
            prop_assert!(codec.bounds().bytes.admits(bytes.len() as u64));
            let back = decoded(&codec, bytes);
            prop_assert_eq!(back.len(), update.len());
            prop_assert!(back.iter().all(|value| value.abs() <= 64.0));
        }
    }

    #[test]
    fn any_bytes_of_a_compressed_update_are_judged_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 700),
        len in 0..600_usize,
        log2 in 0_u32..=24,
    ) {
        for name in compressed(400_000) {
            let codec = values(name, len, range(log2));
            let length = codec.bounds().bytes.most() as usize;
            let Some(bytes) = bytes.get(..length) else { continue };
            let Ok(update) = CheckedUpdate::parse(bytes.to_vec().into(), &codec) else { continue };
            let values = update.to_vec().expect("values");
            prop_assert_eq!(values.len(), len);
            prop_assert!(values.iter().all(|value| value.abs() <= range(log2).magnitude()));
        }
    }
}
