//! Every codec: received bytes are checked, and what passes is decoded and encoded again.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use fedra_aggregation::codec::UpdateCodec;
use fedra_aggregation::{CheckedUpdate, Codec, UpdateShape};
use fedra_protocol::limits::MAX_SENT_SHARE;
use fedra_protocol::{CodecName, SentShare, UpdateRange};

/// An update in some codec: [codec, elements, share, range or bits, bytes...].
pub fn codec(data: &[u8]) {
    // Bytes that are too short for a case are none.
    let _ = one(&mut Unstructured::new(data));
}

fn one(input: &mut Unstructured<'_>) -> Result<()> {
    let name = *input.choose(&CodecName::ALL)?;
    let len = input.int_in_range(0..=40)?;
    let name = match name.is_sparse() {
        true => {
            let share = SentShare::new(input.int_in_range(1..=MAX_SENT_SHARE)?);
            name.with_share(share.expect("at most half")).expect("it sends a share")
        }
        false => name,
    };
    let shape = match name {
        CodecName::Packed => UpdateShape::Words { len, bits: input.int_in_range(1..=32)? },
        _ => {
            let range = UpdateRange::new(1 << input.int_in_range(0..=24)?).expect("at most 2^24");
            UpdateShape::Values { len, range }
        }
    };
    let codec = Codec::new(Some(name), shape).expect("it is for this shape");
    let bytes = Bytes::copy_from_slice(input.bytes(input.len())?);
    match CheckedUpdate::parse(bytes.clone(), &codec) {
        Ok(update) => sound(&codec, &update),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

fn sound(codec: &Codec, update: &CheckedUpdate) {
    assert!(codec.bounds().bytes.admits(update.bytes().len() as u64), "{codec:?}");
    match codec.shape() {
        UpdateShape::Values { len, range } => {
            let values = update.to_vec().expect("values");
            assert_eq!(values.len(), len);
            assert!(values.iter().all(|value| value.abs() <= range.magnitude()), "{values:?}");
            let again = codec.values().expect("values").encode(&values, &[7; 32]);
            if matches!(codec.name(), CodecName::F32 | CodecName::F16) {
                assert_eq!(update.bytes(), &again, "there is one form of these values");
            }
            assert!(CheckedUpdate::parse(again.into(), codec).is_ok(), "what is sent is sound");
        }
        UpdateShape::Words { len, .. } => {
            let words = codec.words().expect("words");
            let mut sum = vec![0; len];
            words.add_to(update.bytes(), &mut sum).expect("it was checked");
            assert_eq!(update.bytes(), &words.encode(&sum), "there is one form of these words");
            assert!(words.check(update.bytes()).is_ok());
        }
    }
}
