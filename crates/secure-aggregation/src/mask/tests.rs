//! The keystream against the standard, masks that cancel, and the division of
//! work, which must not show.

use super::*;

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn mask(byte: u8, sign: Sign) -> Mask {
    Mask { key: Zeroizing::new([byte; 32]), sign }
}

/// RFC 8439, appendix A.1, test vector 1: key, nonce and counter of zero.
#[test]
fn a_mask_is_the_chacha20_keystream_in_little_endian_words() {
    let keystream: [u8; 8] = [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90];
    let masked = |bits, words: usize| {
        let mut words = vec![0; words];
        apply(&[mask(0, Sign::Add)], &mut words, bits, threads(1));
        words
    };
    assert_eq!(masked(8, 8), keystream.map(u32::from));
    assert_eq!(masked(5, 8), keystream.map(|byte| u32::from(byte) & 31));
    assert_eq!(masked(16, 4), [0xb876, 0xade0, 0xf1a0, 0x903d]);
    assert_eq!(masked(9, 4), [0x076, 0x1e0, 0x1a0, 0x03d]);
    assert_eq!(masked(32, 2), [0xade0_b876, 0x903d_f1a0]);
    assert_eq!(masked(17, 2), [0x0_b876, 0x1_f1a0]);
}

#[test]
fn what_is_added_can_be_taken_away() {
    for bits in 1..=32 {
        let largest = u32::MAX >> (32 - bits);
        let input: Vec<u32> =
            (0..5000_u32).map(|i| i.wrapping_mul(0x9e37_79b9) & largest).collect();
        let mut words = input.clone();
        apply(&[mask(1, Sign::Add), mask(2, Sign::Subtract)], &mut words, bits, threads(1));
        assert!(words.iter().all(|&word| word <= largest));
        assert_ne!(words, input);
        apply(&[mask(2, Sign::Add), mask(1, Sign::Subtract)], &mut words, bits, threads(1));
        assert_eq!(words, input, "{bits} bits");
    }
}

#[test]
fn threads_do_not_show_in_the_result() {
    let masks = [mask(1, Sign::Add), mask(2, Sign::Subtract), mask(3, Sign::Add)];
    for length in [1, BLOCK_WORDS - 1, BLOCK_WORDS, BLOCK_WORDS + 1, 5 * BLOCK_WORDS + 77] {
        for bits in [8, 12, 23] {
            let mut expected = vec![0; length];
            apply(&masks, &mut expected, bits, threads(1));
            for count in [2, 3, 7, 100] {
                let mut words = vec![0; length];
                apply(&masks, &mut words, bits, threads(count));
                assert_eq!(words, expected, "{length} words, {count} threads");
            }
        }
    }
}

#[test]
fn the_masks_of_a_pair_cancel() {
    for (own, peer) in [(0, 1), (7, 3)] {
        assert_eq!(Sign::of_pair(own, peer), Sign::of_pair(peer, own).opposite());
    }
}
