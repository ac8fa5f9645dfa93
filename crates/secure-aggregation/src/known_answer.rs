//! A round with fixed seeds, hashed message by message: the same bytes must
//! come out on every platform. For tests, in the browser too.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};

use crate::client::AdvertisedKeys;
use crate::server::Advertising;
use crate::{Assumptions, Context, EncryptedShare, Share, Terms, pack};

/// Expected result of [`known_answer`], in hexadecimal.
pub const KNOWN_ANSWER: &str = "aad564189f5d60f9ce48dee9e78359d9325b404b0ce044316f8789da0348abba";

/// Cohort, words and bits of each round: a complete graph and a sparse one, and
/// every width of keystream, beyond one block.
const ROUNDS: [(u32, usize, u32); 3] = [(5, 5000, 13), (60, 40, 24), (4, 100, 7)];

/// Runs rounds with fixed seeds in which one client drops out, and returns the
/// SHA-256 of all messages and sums, in hexadecimal.
///
/// # Panics
///
/// If the protocol does not work on this platform.
#[must_use]
pub fn known_answer() -> String {
    let mut hash = Sha256::new();
    for (seed, (clients, words, bits)) in (1..).zip(ROUNDS) {
        round(seed, clients, words, bits, &mut hash);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn round(seed: u64, clients: u32, words: usize, bits: u32, hash: &mut Sha256) {
    let works = "nobody lies";
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let terms = Terms::new(Context::new(&[b"known answer"]), 3, words, bits).expect(works);

    let mut advertising = Advertising::new(terms, Assumptions::default(), clients);
    let mut advertised = Vec::new();
    for _ in 0..clients {
        let (client, keys) = AdvertisedKeys::generate(&mut rng);
        hash.update(keys.encryption);
        hash.update(keys.masking);
        advertising.add(keys).expect(works);
        advertised.push(client);
    }

    let (mut sharing, directories) = advertising.close(&mut rng).expect(works);
    let mut sharers = BTreeMap::new();
    for (client, directory) in advertised.into_iter().zip(directories) {
        let (client, shares) = client.share(&terms, &directory, &mut rng).expect(works);
        for EncryptedShare { peer, ciphertext } in &shares {
            hash.update(peer.to_le_bytes());
            hash.update(ciphertext);
        }
        sharing.add(directory.own, shares).expect(works);
        sharers.insert(directory.own, client);
    }

    let (mut collecting, deliveries) = sharing.close().expect(works);
    let mut expected = vec![0; words];
    let mut masked = Vec::new();
    for (index, shares) in deliveries.into_iter().skip(1) {
        let input: Vec<u32> =
            (0..words as u32).map(|i| (i * 31 + index) & terms.largest_word()).collect();
        for (sum, word) in expected.iter_mut().zip(&input) {
            *sum = (*sum + word) & terms.largest_word();
        }
        let client = sharers.remove(&index).expect(works);
        let (client, output) = client.mask(&shares, input).expect(works);
        hash.update(pack(&output, bits));
        collecting.add(index, &output).expect(works);
        masked.push((index, client));
    }

    let (mut unmasking, survivors) = collecting.close().expect(works);
    for (index, client) in masked {
        let answer = client.unmask(&survivors).expect(works);
        let share =
            |(owner, share): &(u32, Share)| [&owner.to_le_bytes(), &share.to_bytes()[..]].concat();
        answer.self_masks.iter().chain(&answer.pairwise).for_each(|pair| hash.update(share(pair)));
        unmasking.add(index, answer).expect(works);
    }
    let result = unmasking.close(NonZeroUsize::MIN).expect(works);
    assert_eq!(result.sum, expected);
    hash.update(pack(&result.sum, bits));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_known_one() {
        assert_eq!(known_answer(), KNOWN_ANSWER);
    }
}
