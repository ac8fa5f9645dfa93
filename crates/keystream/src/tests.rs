//! Keystreams against the standard, against the crate `chacha20`, and random numbers
//! against `rand_chacha`.

use std::panic::catch_unwind;

use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::{KeystreamRng, native, vectors};

/// RFC 8439, appendix A.1, the vectors with a nonce of zero: key, block and its keystream.
const STANDARD: [(&str, u64, &str); 4] = [
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        0,
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7\
         da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    ),
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        1,
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed\
         29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    ),
    (
        "0000000000000000000000000000000000000000000000000000000000000001",
        1,
        "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a\
         8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
    ),
    (
        "00ff000000000000000000000000000000000000000000000000000000000000",
        2,
        "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca\
         13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
    ),
];

/// `len` bytes from `position` on, by both implementations, which must agree.
fn both(key: &[u8; 32], position: u64, len: usize) -> Vec<u8> {
    let (mut native, mut vectors) = (native::Keystream::new(key), vectors::Keystream::new(key));
    native.seek(position);
    vectors.seek(position);
    // Not zeros: the keystream overwrites what is there.
    let (mut bytes, mut others) = (vec![0xaa; len], vec![0x55; len]);
    native.write(&mut bytes);
    vectors.write(&mut others);
    assert_eq!(bytes, others, "{len} bytes from {position}");
    bytes
}

#[test]
fn the_bytes_are_those_of_the_standard() {
    for (key, block, expected) in STANDARD {
        let key: [u8; 32] = hex::decode(key).expect("hexadecimal").try_into().expect("32 bytes");
        assert_eq!(hex::encode(both(&key, 64 * block, 64)), expected);
    }
}

#[test]
fn the_last_bytes_are_there_and_none_after_them() {
    const END: u64 = 64 << 32;
    both(&[7; 32], END - 64 - 300, 300);
    let beyond = |len| {
        let native = catch_unwind(|| {
            let mut stream = native::Keystream::new(&[7; 32]);
            stream.seek(END - 300);
            stream.write(&mut vec![0; len]);
        });
        let vectors = catch_unwind(|| {
            let mut stream = vectors::Keystream::new(&[7; 32]);
            stream.seek(END - 300);
            stream.write(&mut vec![0; len]);
        });
        (native.is_err(), vectors.is_err())
    };
    assert_eq!(beyond(200), (false, false));
    assert_eq!(beyond(301), (true, true));
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_the_cipher(
        key: [u8; 32],
        position in prop_oneof![0_u64..2000, 0_u64..1 << 37],
        lengths in prop::collection::vec(0_usize..1000, 1..6),
    ) {
        let mut cipher = chacha20::ChaCha20::new(&key.into(), &[0; 12].into());
        cipher.seek(position);
        let mut streams = (native::Keystream::new(&key), vectors::Keystream::new(&key));
        streams.0.seek(position);
        streams.1.seek(position);
        for len in lengths {
            let mut written = [vec![0; len], vec![1; len], vec![2; len]];
            cipher.apply_keystream(&mut written[0]);
            streams.0.write(&mut written[1]);
            streams.1.write(&mut written[2]);
            prop_assert_eq!(&written[0], &written[1]);
            prop_assert_eq!(&written[0], &written[2]);
        }
    }

    #[test]
    fn the_numbers_are_those_of_rand_chacha(
        seed: [u8; 32],
        draws in prop::collection::vec((0_u8..3, 0_usize..3000), 1..400),
    ) {
        let mut old = ChaCha20Rng::from_seed(seed);
        let mut new = KeystreamRng::from_seed(seed);
        for (kind, len) in draws {
            match kind {
                0 => prop_assert_eq!(old.next_u32(), new.next_u32()),
                1 => prop_assert_eq!(old.next_u64(), new.next_u64()),
                _ => {
                    let (mut left, mut right) = (vec![0; len], vec![1; len]);
                    old.fill_bytes(&mut left);
                    new.fill_bytes(&mut right);
                    prop_assert_eq!(left, right);
                }
            }
        }
    }
}

#[test]
fn a_small_seed_stands_for_the_same_numbers() {
    let (mut old, mut new) = (ChaCha20Rng::seed_from_u64(42), KeystreamRng::seed_from_u64(42));
    assert_eq!(old.next_u64(), new.next_u64());
}

#[test]
fn nothing_of_a_key_is_printed() {
    let rng = KeystreamRng::from_seed([0xab; 32]);
    assert_eq!(format!("{rng:?}"), "KeystreamRng { .. }");
}
