//! Arbitrary messages are answered with an error or taken, never with a panic.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{ONE, advertised, generator, masked, shared, terms};
use fedra_secure_aggregation::{
    EncryptedShare, KeyDirectory, PublicKeys, Share, UnmaskingShares, unpack,
};
use proptest::prelude::*;

fn small_index() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..8, any::<u32>()]
}

fn key() -> impl Strategy<Value = [u8; 32]> {
    prop_oneof![any::<[u8; 32]>(), Just([0; 32]), Just([9; 32])]
}

fn encrypted_shares() -> impl Strategy<Value = Vec<EncryptedShare>> {
    let length = prop_oneof![Just(EncryptedShare::LEN), 0_usize..200];
    let ciphertext = length.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length));
    let share = (small_index(), ciphertext)
        .prop_map(|(peer, ciphertext)| EncryptedShare { peer, ciphertext });
    prop::collection::vec(share, 0..6)
}

fn shares() -> impl Strategy<Value = Vec<(u32, Share)>> {
    let share = any::<[u8; 31]>().prop_map(|bytes| {
        let mut canonical = [0; 32];
        canonical[..31].copy_from_slice(&bytes);
        Share::from_bytes(canonical).unwrap()
    });
    prop::collection::vec((small_index(), share), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn directories(
        own in small_index(),
        cohort in prop_oneof![0_u32..10, any::<u32>()],
        threshold in small_index(),
        neighbours in prop::collection::vec((small_index(), key(), key()), 0..10),
    ) {
        let mut rng = generator(1);
        let (_, mut seated) = advertised(&terms(2, 4, 16), 3, &mut rng);
        let neighbours = neighbours
            .into_iter()
            .map(|(peer, encryption, masking)| (peer, PublicKeys { encryption, masking }))
            .collect();
        let directory = KeyDirectory { own, cohort, threshold, neighbours };
        let _ = seated.swap_remove(0).0.share(&terms(2, 4, 16), &directory, &mut rng);
    }

    /// Random keys are mostly sound: a directory of the right form is taken.
    #[test]
    fn directories_of_the_right_form(keys in prop::collection::vec((key(), key()), 4)) {
        let mut rng = generator(1);
        let (_, mut seated) = advertised(&terms(2, 4, 16), 5, &mut rng);
        let (client, mut directory) = seated.swap_remove(0);
        for ((_, known), (encryption, masking)) in directory.neighbours.iter_mut().zip(keys) {
            *known = PublicKeys { encryption, masking };
        }
        let _ = client.share(&terms(2, 4, 16), &directory, &mut rng);
    }

    #[test]
    fn encrypted_shares_to_a_client(messages in encrypted_shares(), input: [u32; 4]) {
        let (_, mut states) = shared(&terms(2, 4, 32), 4, &mut generator(1));
        let (client, _) = states.swap_remove(0);
        prop_assert!(client.mask(&messages, input.to_vec()).is_err());
    }

    #[test]
    fn messages_to_a_server(
        from in small_index(),
        messages in encrypted_shares(),
        words in prop::collection::vec(any::<u32>(), 0..6),
        bytes in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let terms = terms(2, 4, 13);
        let (mut sharing, _) = advertised(&terms, 4, &mut generator(1));
        let _ = sharing.add(from, messages);
        let (mut collecting, _) = shared(&terms, 4, &mut generator(1));
        let taken = collecting.add(from, &words).is_ok();
        prop_assert!(!taken || words.len() == 4 && from < 4);
        let _ = collecting.add_packed(from, &bytes);
        let _ = unpack(&bytes, words.len(), 13);
    }

    #[test]
    fn lists_of_survivors(survivors in prop::collection::vec(small_index(), 0..6)) {
        let mut all = masked(&terms(2, 4, 16), 4, &[], &mut generator(1));
        let _ = all.clients.swap_remove(0).1.unmask(&survivors);
    }

    /// Shares of the right owners, but of nothing: no panic, no sum that would
    /// be claimed to be one of a dropped client's.
    #[test]
    fn unmasking_shares(
        from in small_index(),
        self_masks in shares(),
        pairwise in shares(),
        some in shares(),
    ) {
        let terms = terms(3, 4, 16);
        let mut all = masked(&terms, 5, &[4], &mut generator(1));
        let _ = all.server.add(from, UnmaskingShares { self_masks, pairwise });

        let mut all = masked(&terms, 5, &[4], &mut generator(1));
        for (index, client) in all.clients {
            let mut answer = client.unmask(&all.survivors).unwrap();
            if let Some((_, share)) = some.get(index as usize) {
                answer.pairwise[0].1 = share.clone();
            }
            all.server.add(index, answer).unwrap();
        }
        let inputs: Vec<&[u32]> = all.inputs.iter().map(Vec::as_slice).collect();
        if let Ok(opened) = all.server.close(ONE) {
            prop_assert_eq!(opened.sum, common::plain_sum(&terms, &inputs));
        }
    }
}
