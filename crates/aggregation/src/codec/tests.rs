//! Known bit patterns, refusals, and properties of every codec.

mod compressed;

use bytes::Bytes;
use fedra_protocol::Loss;
use half::f16;
use proptest::prelude::*;

use super::*;
use crate::CheckedUpdate;

const SEED: [u8; 32] = [7; 32];

/// The default of a classifier, 64.
fn narrow() -> UpdateRange {
    UpdateRange::default_for(Loss::SoftmaxCrossEntropy)
}

fn range(log2: u32) -> UpdateRange {
    UpdateRange::new(1 << log2).expect("at most 2^24")
}

fn values(name: CodecName, len: usize, range: UpdateRange) -> Codec {
    Codec::new(Some(name), UpdateShape::Values { len, range }).expect("for values")
}

/// The update as its receiver has it.
fn sent(codec: &Codec, values: &[f32]) -> Result<CheckedUpdate, UpdateError> {
    CheckedUpdate::parse(codec.values().expect("values").encode(values, &SEED).into(), codec)
}

/// The values as their receiver has them.
fn received(codec: &Codec, values: &[f32]) -> Vec<f32> {
    sent(codec, values).expect("sound").to_vec().expect("values")
}

/// The exact codecs: of these, every value is rounded by itself.
const VALUE_CODECS: [(CodecName, usize); 2] = [(CodecName::F32, 4), (CodecName::F16, 2)];

/// Values and the bytes in which each codec sends them.
const GOLDEN: &str = include_str!("../../tests/golden/codecs.txt");

#[test]
fn the_bytes_of_every_codec_are_what_they_were() {
    let update = [0.0, -0.0, 1.0, -2.0, 0.1, 65504.0, 1e6, 6.0e-8, 1e-9, 0.333_333_34];
    let words = [1, 0x1fff, 0, 0x1234, 0x0fed];
    let line = |name: CodecName, bytes: Vec<u8>| format!("{} {}", name.name(), hex::encode(bytes));
    let bytes = |name| match name {
        CodecName::Packed => Packed::new(words.len(), 13).encode(&words),
        name => {
            let codec = values(name, update.len(), range(24));
            codec.values().expect("values").encode(&update, &SEED)
        }
    };
    let lines: Vec<String> = CodecName::ALL.map(|name| line(name, bytes(name))).into();
    let golden: Vec<&str> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, golden);
}

#[test]
fn half_precision_rounds_to_the_nearest_and_ties_to_even() {
    let (one, grid) = (1.0_f32, 2.0_f32.powi(-10));
    let least = 2.0_f32.powi(-24);
    for (value, bits) in [
        (0.0, 0x0000),
        (-0.0, 0x8000),
        (1.0, 0x3c00),
        (-1.0, 0xbc00),
        (0.5, 0x3800),
        (65504.0, 0x7bff),
        // Between two neighbours of 1: below, at and above the middle.
        (one + 0.49 * grid, 0x3c00),
        (one + 0.5 * grid, 0x3c00),
        (one + 0.51 * grid, 0x3c01),
        (one + 1.5 * grid, 0x3c02),
        // Subnormal.
        (least, 0x0001),
        (0.5 * least, 0x0000),
        (0.51 * least, 0x0001),
        (1.5 * least, 0x0002),
        (2.0_f32.powi(-14), 0x0400),
        (-f32::MIN_POSITIVE, 0x8000),
        // Beyond the largest, which the nearest even would be an infinity for.
        (65519.0, 0x7bff),
        (65520.0, 0x7bff),
        (-1e6, 0xfbff),
        (f32::MAX, 0x7bff),
    ] {
        let codec = values(CodecName::F16, 1, range(24));
        let bytes = codec.values().expect("values").encode(&[value], &SEED);
        assert_eq!(bytes, u16::to_le_bytes(bits), "{value}");
    }
}

#[test]
fn every_half_that_is_finite_survives_both_directions() {
    let all: Vec<f32> = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()).collect();
    let finite: Vec<f32> = all.into_iter().filter(|value| value.is_finite()).collect();
    let codec = values(CodecName::F16, finite.len(), range(16));
    let back = received(&codec, &finite);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(&finite));
}

#[test]
fn an_update_is_decoded_wherever_it_lies_in_memory() {
    let update: Vec<f32> = (0..3000).map(|i| i as f32 / 128.0 - 10.0).collect();
    for (name, _) in VALUE_CODECS {
        let codec = values(name, update.len(), narrow());
        for offset in 0..8 {
            let mut bytes = vec![0; offset];
            bytes.extend(codec.values().expect("values").encode(&update, &SEED));
            let bytes = Bytes::from(bytes).slice(offset..);
            let checked = CheckedUpdate::parse(bytes, &codec).expect("sound");
            assert_eq!(checked.to_vec(), Ok(update.clone()), "{name:?} at {offset}");
        }
    }
}

#[test]
fn a_codec_says_how_long_its_updates_are() {
    for (name, size) in VALUE_CODECS {
        let codec = values(name, 1000, narrow());
        assert_eq!(codec.bounds().bytes, UpdateLength::Exactly(1000 * size));
        assert!(codec.bounds().memory < 1 << 16, "it decodes block by block");
        assert_eq!(codec.name(), name);
    }
    let codec = Codec::standard(UpdateShape::Words { len: 10, bits: 13 });
    assert_eq!(codec.bounds(), CodecBounds { bytes: UpdateLength::Exactly(17), memory: 0 });
    let most = UpdateLength::AtMost(17);
    assert!(most.admits(0) && most.admits(17) && !most.admits(18));
    assert_eq!((most.most(), most.to_string().as_str()), (17, "at most 17"));
}

#[test]
fn a_codec_is_for_one_shape_and_the_standard_one_is_not_stated() {
    let (clear, words) =
        (UpdateShape::Values { len: 4, range: narrow() }, UpdateShape::Words { len: 4, bits: 8 });
    let others = CodecName::ALL.into_iter();
    let others = others.filter(|name| ![CodecName::F32, CodecName::Packed].contains(name));
    for (shape, standard, stated) in
        [(clear, CodecName::F32, others.collect()), (words, CodecName::Packed, Vec::new())]
    {
        let codec = Codec::new(None, shape).expect("a standard");
        assert_eq!((codec.name(), codec.stated_name(), codec.shape()), (standard, None, shape));
        for name in CodecName::ALL {
            match Codec::new(Some(name), shape) {
                Ok(codec) if stated.contains(&name) => assert_eq!(codec.stated_name(), Some(name)),
                Ok(codec) => assert_eq!((codec.name(), name), (standard, standard)),
                Err(misfit) => {
                    assert!(name != standard && !stated.contains(&name), "{misfit}");
                    assert!(misfit.to_string().contains("distributed or local"), "{misfit}");
                }
            }
        }
    }
    let codec = Codec::standard(words);
    assert!(codec.values().is_err() && codec.words().is_ok());
    let codec = Codec::standard(clear);
    assert!(codec.values().is_ok() && codec.words().is_err());
}

#[test]
fn the_first_fault_is_named() {
    for (name, size) in VALUE_CODECS {
        let codec = values(name, 4, narrow());
        let bytes = codec.values().expect("values").encode(&[1.0; 3], &SEED);
        let (expected, actual) = (UpdateLength::Exactly(4 * size), 3 * size);
        let fault = CheckedUpdate::parse(bytes.into(), &codec).map(drop);
        assert_eq!(fault, Err(UpdateError::WrongLength { expected, actual }));
        let odd = CheckedUpdate::parse(vec![0; 4 * size + 1].into(), &codec).map(drop);
        assert_eq!(odd, Err(UpdateError::WrongLength { expected, actual: 4 * size + 1 }));

        let codec = values(name, 1000, narrow());
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut update = vec![0.5; 1000];
            (update[700], update[900]) = (bad, 1e4);
            let fault = sent(&codec, &update).map(drop);
            assert_eq!(fault, Err(UpdateError::NotFinite { index: 700 }), "{name:?}");
        }
        assert_eq!(received(&values(name, 0, narrow()), &[]), []);
    }
}

#[test]
fn a_value_beyond_the_range_of_its_task_is_named() {
    for (name, _) in VALUE_CODECS {
        for log2 in 0..=24 {
            let codec = values(name, 3, range(log2));
            let most = range(log2).magnitude();
            assert!(sent(&codec, &[-most, most, 0.0]).is_ok(), "{name:?} 2^{log2}");
            let above = if name == CodecName::F32 { most.next_up() } else { most * 1.01 };
            let fault = sent(&codec, &[most, -above, f32::NAN]).map(drop);
            if name == CodecName::F16 && log2 >= 16 {
                // No half is beyond such a range.
                assert_eq!(fault, Err(UpdateError::NotFinite { index: 2 }));
                continue;
            }
            let Err(error @ UpdateError::OutOfRange { index: 1, value, .. }) = fault else {
                panic!("{name:?} 2^{log2}: {fault:?}")
            };
            assert!(value < -most, "{value}");
            let text = error.to_string();
            assert!(text.ends_with(&format!("update_range of {}", 1 << log2)), "{text}");
        }
    }
}

#[test]
fn words_are_checked_before_they_are_added() {
    let codec = Codec::standard(UpdateShape::Words { len: 5, bits: 13 });
    let words = [1, 2, 3, 4, 0x1fff];
    let bytes = codec.words().expect("words").encode(&words);
    let update = CheckedUpdate::parse(bytes.clone().into(), &codec).expect("sound");
    let mut sum = [10_u32; 5];
    codec.words().expect("words").add_to(update.bytes(), &mut sum).expect("of its length");
    assert_eq!(sum, words.map(|word| word + 10));
    let mut padded = bytes.clone();
    *padded.last_mut().expect("not empty") |= 0x80;
    let check = |bytes: Vec<u8>| CheckedUpdate::parse(bytes.into(), &codec).map(drop);
    assert_eq!(check(padded), Err(UpdateError::Padding));
    let expected = UpdateLength::Exactly(9);
    let short = bytes[1..].to_vec();
    assert_eq!(check(short), Err(UpdateError::WrongLength { expected, actual: 8 }));
}

proptest! {
    #[test]
    fn float32_is_exact(
        update in prop::collection::vec(-64.0_f32..=64.0, 0..3000),
    ) {
        let codec = values(CodecName::F32, update.len(), narrow());
        prop_assert_eq!(received(&codec, &update), update);
    }

    #[test]
    fn half_precision_has_a_bounded_error(
        update in prop::collection::vec(
            prop_oneof![-65504.0_f32..=65504.0, -1.0_f32..1.0, -1e-4_f32..1e-4, -1e-7_f32..1e-7],
            0..3000,
        ),
    ) {
        let codec = values(CodecName::F16, update.len(), range(16));
        for (back, value) in received(&codec, &update).into_iter().zip(update) {
            let error = (f64::from(back) - f64::from(value)).abs();
            let relative = f64::from(value).abs() * 2.0_f64.powi(-11);
            prop_assert!(error <= relative.max(2.0_f64.powi(-25)), "{} as {}", value, back);
        }
    }

    #[test]
    fn any_bytes_are_judged_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        len in 0..16_usize,
        log2 in 0_u32..=24,
    ) {
        let most = range(log2).magnitude();
        let singles = bytes.len() == 4 * len
            && bytes.chunks(4).all(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).abs() <= most);
        let halves = bytes.len() == 2 * len
            && bytes.chunks(2).all(|b| {
                let value = f16::from_le_bytes([b[0], b[1]]).to_f32();
                value.is_finite() && value.abs() <= most
            });
        for (name, sound) in [(CodecName::F32, singles), (CodecName::F16, halves)] {
            let codec = values(name, len, range(log2));
            let update = CheckedUpdate::parse(bytes.clone().into(), &codec);
            prop_assert_eq!(update.is_ok(), sound);
            let Ok(update) = update else { continue };
            let values = update.to_vec().expect("values");
            prop_assert_eq!(values.len(), len);
            prop_assert!(values.iter().all(|value| value.abs() <= most));
            prop_assert_eq!(codec.values().expect("values").encode(&values, &SEED), bytes.clone());
        }
    }
}
