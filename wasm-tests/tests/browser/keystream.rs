//! The vectors of WASM give the keystream of the standard and the numbers of `rand_chacha`.

use fedra_keystream::{Keystream, KeystreamRng};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wasm_bindgen_test::wasm_bindgen_test;

fn keystream(key: &[u8; 32], position: u64, len: usize) -> Vec<u8> {
    let mut stream = Keystream::new(key);
    stream.seek(position);
    let mut bytes = vec![0xaa; len];
    stream.write(&mut bytes);
    bytes
}

/// RFC 8439, appendix A.1, test vectors 2 and 4: their first words.
#[wasm_bindgen_test]
fn the_keystream_is_that_of_the_standard() {
    let mut key = [0; 32];
    assert_eq!(hex::encode(keystream(&key, 64, 16)), "9f07e7be5551387a98ba977c732d080d");
    key[1] = 0xff;
    assert_eq!(hex::encode(keystream(&key, 128, 16)), "72d54dfbf12ec44b362692df94137f32");
}

/// From positions and over lengths around the blocks, and near the end.
#[wasm_bindgen_test]
fn the_keystream_is_that_of_rand_chacha() {
    let words = [0, 1, 15, 16, 63, 64, 65, 1000, (1 << 36) - 2000];
    let lengths = [0, 1, 3, 63, 64, 65, 255, 256, 257, 1023, 5000];
    for (seed, word) in (0_u8..).zip(words) {
        let key = [seed.wrapping_mul(37); 32];
        for len in lengths {
            let mut old = ChaCha20Rng::from_seed(key);
            old.set_word_pos(word);
            let mut expected = vec![0; len];
            old.fill_bytes(&mut expected);
            let position = u64::try_from(4 * word).expect("within the keystream");
            assert_eq!(keystream(&key, position, len), expected, "{len} bytes from {position}");
        }
    }
}

#[wasm_bindgen_test]
fn the_numbers_are_those_of_rand_chacha() {
    let (mut old, mut new) = (ChaCha20Rng::from_seed([3; 32]), KeystreamRng::from_seed([3; 32]));
    // Also chooses what is drawn next.
    let mut choice = ChaCha20Rng::from_seed([4; 32]);
    for _ in 0..2000 {
        match choice.next_u32() % 3 {
            0 => assert_eq!(old.next_u32(), new.next_u32()),
            1 => assert_eq!(old.next_u64(), new.next_u64()),
            _ => {
                let len = (choice.next_u32() % 2500) as usize;
                let (mut left, mut right) = (vec![0; len], vec![1; len]);
                old.fill_bytes(&mut left);
                new.fill_bytes(&mut right);
                assert_eq!(left, right);
            }
        }
    }
}
