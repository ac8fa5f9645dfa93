//! Messages of a client that a server refuses, and rounds that it abandons.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{ONE, advertised, generator, input, masked, shared, terms};
use fedra_secure_aggregation::client::AdvertisedKeys;
use fedra_secure_aggregation::server::{Abandoned, Advertising, Fault, Step, WrongShare};
use fedra_secure_aggregation::{Assumptions, PackingError, Share, UnmaskingShares, pack};

#[test]
fn a_server_refuses_bad_keys_and_a_full_cohort() {
    let terms = terms(3, 4, 16);
    let mut rng = generator(1);
    let mut advertising = Advertising::new(terms, Assumptions::default(), 2);
    let mut keys = || AdvertisedKeys::generate(&mut rng).1;
    let (mut first, second, third) = (keys(), keys(), keys());
    assert_eq!(advertising.add(first), Ok(0));
    assert_eq!(advertising.add(first), Err(Fault::DuplicateKey));
    first.encryption = second.encryption;
    assert_eq!(advertising.add(first), Err(Fault::DuplicateKey));
    first.masking = first.encryption;
    assert_eq!(advertising.add(first), Err(Fault::DuplicateKey));
    first.masking = [0; 32];
    assert_eq!(advertising.add(first), Err(Fault::BadKey));
    assert_eq!(advertising.add(second), Ok(1));
    assert_eq!(advertising.add(third), Err(Fault::CohortFull { cohort: 2 }));
    assert_eq!(
        advertising.close(&mut rng).map(|_| ()).unwrap_err(),
        Abandoned::TooFewClients { step: Step::AdvertiseKeys, clients: 2, minimum: 3 }
    );
}

#[test]
fn a_server_refuses_shares_for_the_wrong_neighbours() {
    let mut rng = generator(1);
    let terms = terms(3, 4, 16);
    let (mut sharing, mut seated) = advertised(&terms, 5, &mut rng);
    let (client, directory) = seated.swap_remove(1);
    let (_, shares) = client.share(&terms, &directory, &mut rng).unwrap();

    let outside = Fault::NotInCohort { client: 5, cohort: 5 };
    assert_eq!(sharing.add(5, shares.clone()), Err(outside));
    let wrong = Err(Fault::WrongRecipients { client: 1 });
    assert_eq!(sharing.add(1, shares[1..].to_vec()), wrong);
    assert_eq!(sharing.add(1, [&shares[..], &shares[..1]].concat()), wrong);
    assert_eq!(sharing.add(0, shares.clone()), Err(Fault::WrongRecipients { client: 0 }));
    let mut long = shares.clone();
    long[2].ciphertext.push(0);
    assert_eq!(sharing.add(1, long), Err(Fault::WrongCiphertext { client: 1, peer: 3 }));

    assert_eq!(sharing.add(1, shares.clone()), Ok(()));
    assert_eq!(sharing.add(1, shares), Err(Fault::Repeated { client: 1 }));
    assert_eq!(sharing.clients(), 1);
}

#[test]
fn a_server_counts_a_masked_input_once_and_whole() {
    let terms = terms(3, 4, 12);
    let mut rng = generator(1);
    let (mut collecting, states) = shared(&terms, 4, &mut rng);
    let mut inputs = Vec::new();
    let mut waiting = Vec::new();
    for (index, (client, mail)) in (0..).zip(states) {
        inputs.push(input(&terms, &mut rng));
        let (client, words) = client.mask(&mail, inputs.last().unwrap().clone()).unwrap();
        waiting.push((index, client));

        let length = Fault::WrongLength { expected: 4, actual: 3 };
        assert_eq!(collecting.add(index, &words[..3]), Err(length));
        let range = Fault::WordOutOfRange { position: 1 };
        assert_eq!(collecting.add(index, &[0, 4096, 0, 0]), Err(range));
        let packed = pack(&words, 12);
        assert!(matches!(
            collecting.add_packed(index, &packed[1..]),
            Err(Fault::Packing(PackingError::Length { .. }))
        ));
        assert_eq!(collecting.awaited(), (index..4).collect::<Vec<_>>());
        if index % 2 == 0 {
            collecting.add(index, &words).unwrap();
        } else {
            collecting.add_packed(index, &packed).unwrap();
        }
        assert_eq!(collecting.add(index, &words), Err(Fault::Repeated { client: index }));
        let again = collecting.add_packed(index, &packed);
        assert_eq!(again, Err(Fault::Repeated { client: index }));
    }
    let outside = Fault::NotInCohort { client: 4, cohort: 4 };
    assert_eq!(collecting.add(4, &[0; 4]), Err(outside));
    assert_eq!(collecting.clients(), 4);

    let (mut unmasking, survivors) = collecting.close().unwrap();
    for (index, client) in waiting {
        unmasking.add(index, client.unmask(&survivors).unwrap()).unwrap();
    }
    let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
    assert_eq!(unmasking.close(ONE).unwrap().sum, common::plain_sum(&terms, &inputs));
}

#[test]
fn a_server_wants_nothing_from_clients_that_left() {
    let terms = terms(3, 4, 16);
    let mut rng = generator(1);
    let (mut sharing, seated) = advertised(&terms, 6, &mut rng);
    for (client, directory) in seated.into_iter().skip(1) {
        let (_, shares) = client.share(&terms, &directory, &mut rng).unwrap();
        sharing.add(directory.own, shares).unwrap();
    }
    let (mut collecting, _) = sharing.close().unwrap();
    assert_eq!(collecting.add(0, &[0; 4]), Err(Fault::DroppedOut { client: 0 }));

    let mut all = masked(&terms, 6, &[2], &mut rng);
    let answer = all.clients.swap_remove(0).1.unmask(&all.survivors).unwrap();
    assert_eq!(all.server.add(2, answer.clone()), Err(Fault::DroppedOut { client: 2 }));
    all.server.add(0, answer.clone()).unwrap();
    assert_eq!(all.server.add(0, answer), Err(Fault::Repeated { client: 0 }));
}

#[test]
fn a_server_refuses_answers_of_the_wrong_kind() {
    let mut all = masked(&terms(3, 4, 16), 6, &[2], &mut generator(1));
    let right = all.clients.swap_remove(0).1.unmask(&all.survivors).unwrap();
    let mut refused = |change: &dyn Fn(&mut UnmaskingShares)| {
        let mut answer = right.clone();
        change(&mut answer);
        assert_eq!(all.server.add(0, answer), Err(Fault::WrongShares { client: 0 }));
    };
    refused(&|answer| drop(answer.self_masks.pop()));
    refused(&|answer| drop(answer.pairwise.pop()));
    refused(&|answer| answer.self_masks.swap(0, 1));
    refused(&|answer| std::mem::swap(&mut answer.self_masks, &mut answer.pairwise));
    // Both kinds for one neighbour.
    refused(&|answer| answer.self_masks.insert(1, (2, answer.pairwise[0].1.clone())));
    refused(&|answer| answer.pairwise.push((3, answer.pairwise[0].1.clone())));
    all.server.add(0, right).unwrap();
}

/// Unmasks with one share changed and only `answers` clients answering.
fn with_wrong_share(
    dropped: &[u32],
    answers: usize,
    change: impl Fn(u32, &mut UnmaskingShares),
) -> Result<(bool, Vec<WrongShare>), Abandoned> {
    let terms = terms(3, 4, 16);
    let mut all = masked(&terms, 9, dropped, &mut generator(1));
    for (index, client) in all.clients.into_iter().take(answers) {
        let mut answer = client.unmask(&all.survivors).unwrap();
        change(index, &mut answer);
        all.server.add(index, answer).unwrap();
    }
    let inputs: Vec<&[u32]> = all.inputs.iter().map(Vec::as_slice).collect();
    let opened = all.server.close(ONE)?;
    Ok((opened.sum == common::plain_sum(&terms, &inputs), opened.wrong_shares))
}

fn other_share() -> Share {
    Share::from_bytes([1; 32]).unwrap()
}

#[test]
fn a_wrong_share_of_a_masking_secret_is_found_out() {
    let spoil = |liar: u32| {
        move |index: u32, answer: &mut UnmaskingShares| {
            if index == liar {
                answer.pairwise[0].1 = other_share();
            }
        }
    };
    // Nine clients, threshold 4, client 8 dropped: five answers are enough.
    let named = vec![WrongShare { owner: 8, sender: 2 }];
    assert_eq!(with_wrong_share(&[8], 8, spoil(2)), Ok((true, named.clone())));
    assert_eq!(with_wrong_share(&[8], 5, spoil(2)), Ok((true, named)));
    // Without a spare share the key gives it away, but not whose fault it is.
    let all_lie = |_: u32, answer: &mut UnmaskingShares| answer.pairwise[0].1 = other_share();
    assert_eq!(with_wrong_share(&[8], 8, all_lie), Err(Abandoned::WrongShares { owner: 8 }));
}

#[test]
fn a_wrong_share_of_a_self_mask_is_found_out_if_there_are_spare_ones() {
    let spoil = |index: u32, answer: &mut UnmaskingShares| {
        if index == 2 {
            answer.self_masks[0].1 = other_share();
        }
    };
    // Client 2's first neighbour is client 0, whose seed has as many shares as
    // there are other answers: 8, 6, 5 with a threshold of 4.
    let named = vec![WrongShare { owner: 0, sender: 2 }];
    assert_eq!(with_wrong_share(&[], 9, spoil), Ok((true, named.clone())));
    assert_eq!(with_wrong_share(&[], 7, spoil), Ok((true, named)));
    assert_eq!(with_wrong_share(&[], 6, spoil), Err(Abandoned::WrongShares { owner: 0 }));
    // With just the threshold it goes unnoticed, as documented: the sum is off.
    assert_eq!(with_wrong_share(&[], 5, spoil), Ok((false, vec![])));
}

#[test]
fn a_round_with_too_few_answers_is_not_opened() {
    let all = |_: u32, _: &mut UnmaskingShares| ();
    assert_eq!(with_wrong_share(&[], 5, all), Ok((true, vec![])));
    assert_eq!(
        with_wrong_share(&[], 4, all),
        Err(Abandoned::TooFewShares { owner: 0, shares: 3, needed: 4 })
    );
}

#[test]
fn a_round_below_the_minimum_of_survivors_is_abandoned_before_anybody_is_asked() {
    let terms = terms(4, 4, 16);
    let (mut collecting, states) = shared(&terms, 5, &mut generator(1));
    for (index, (client, mail)) in (0..3).zip(states) {
        let (_, words) = client.mask(&mail, vec![0; 4]).unwrap();
        collecting.add(index, &words).unwrap();
    }
    assert_eq!(
        collecting.close().map(|_| ()).unwrap_err(),
        Abandoned::TooFewClients { step: Step::MaskedInput, clients: 3, minimum: 4 }
    );
}
