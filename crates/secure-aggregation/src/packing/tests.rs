//! Golden bytes, round trips, and what is refused.

use proptest::prelude::*;

use super::*;

#[test]
fn the_first_word_is_in_the_lowest_bits() {
    assert_eq!(pack(&[1, 2, 3], 4), [0x21, 0x03]);
    assert_eq!(pack(&[1, 0, 1, 1, 0, 0, 0, 0, 1], 1), [0b1101, 1]);
    // 0b101, 0b01010..., 12 bits each.
    assert_eq!(pack(&[0xabc, 0x123], 12), [0xbc, 0x3a, 0x12]);
    assert_eq!(pack(&[0x1234], 16), [0x34, 0x12]);
    assert_eq!(pack(&[0x1_2345, 0x0_6789], 20), [0x45, 0x23, 0x91, 0x78, 0x06]);
    assert_eq!(pack(&[0x1234_5678], 32), [0x78, 0x56, 0x34, 0x12]);
    assert_eq!(pack(&[], 7), []);
}

#[test]
fn another_length_is_refused() {
    let packed = pack(&[1, 2, 3], 12);
    assert_eq!(packed.len(), 5);
    for words in [0, 1, 2, 4, 1 << 30] {
        assert!(matches!(unpack(&packed, words, 12), Err(PackingError::Length { .. })), "{words}");
    }
    assert!(unpack(&packed[..4], 3, 12).is_err());
    assert_eq!(unpack(&packed, 3, 12), Ok(vec![1, 2, 3]));
}

#[test]
fn bits_after_the_last_word_are_refused() {
    for bit in 4..8 {
        let mut packed = pack(&[1, 2, 3], 4);
        packed[1] |= 1 << bit;
        assert_eq!(unpack(&packed, 3, 4), Err(PackingError::Padding));
    }
}

proptest! {
    #[test]
    fn what_is_packed_unpacks(
        bits in 1_u32..=32,
        words in prop::collection::vec(any::<u32>(), 0..200),
        sum in prop::collection::vec(any::<u32>(), 200),
    ) {
        let words: Vec<u32> = words.iter().map(|word| word >> (32 - bits)).collect();
        let packed = pack(&words, bits);
        prop_assert_eq!(packed.len(), packed_len(words.len(), bits));
        prop_assert_eq!(unpack(&packed, words.len(), bits).unwrap(), words.clone());
        // Adding is unpacking and adding.
        let mut added = sum[..words.len()].to_vec();
        add_packed(&packed, bits, &mut added).unwrap();
        let expected: Vec<u32> =
            sum.iter().zip(&words).map(|(sum, word)| sum.wrapping_add(*word)).collect();
        prop_assert_eq!(added, expected);
    }

    #[test]
    fn arbitrary_bytes_unpack_to_what_packs_to_them(
        bits in 1_u32..=32,
        words in 0_usize..40,
        bytes in prop::collection::vec(any::<u8>(), 0..170),
    ) {
        if let Ok(unpacked) = unpack(&bytes, words, bits) {
            prop_assert_eq!(pack(&unpacked, bits), bytes);
        }
    }
}
