//! Masked updates as packed words.

use arbitrary::{Result, Unstructured};
use fedra_secure_aggregation::{add_packed, pack, unpack};

/// Packed words of some number of bits: [bits, words, bytes...].
pub fn packing(data: &[u8]) {
    // Bytes that are too short for a case are none.
    let _ = one(&mut Unstructured::new(data));
}

fn one(input: &mut Unstructured<'_>) -> Result<()> {
    let bits = input.int_in_range(1..=32)?;
    let words: usize = input.int_in_range(0..=64)?;
    let packed = input.bytes(input.len())?;
    let before: Vec<u32> = (0..words as u32).map(|i| u32::MAX - i).collect();
    let mut sum = before.clone();
    let added = add_packed(packed, bits, &mut sum);
    match unpack(packed, words, bits) {
        Ok(unpacked) => {
            assert_eq!(added, Ok(()));
            assert_eq!(pack(&unpacked, bits), packed, "there is one way to pack words");
            let expected = before.iter().zip(&unpacked).map(|(a, b)| a.wrapping_add(*b));
            assert!(expected.eq(sum));
        }
        Err(error) => {
            assert_eq!(added, Err(error));
            assert_eq!(sum, before, "a refused update leaves no trace");
        }
    }
    Ok(())
}
