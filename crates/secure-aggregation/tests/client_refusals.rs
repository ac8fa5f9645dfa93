//! Messages of a server that a client refuses.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{advertised, generator, masked, shared, terms};
use fedra_secure_aggregation::client::{AdvertisedKeys, ClientError};
use fedra_secure_aggregation::server::Advertising;
use fedra_secure_aggregation::{Assumptions, Context, GraphError, KeyDirectory, Share, Terms};

/// Offers client 1 of `cohort` a directory that `change` has been at.
fn offered(cohort: u32, change: impl FnOnce(&mut KeyDirectory)) -> Result<(), ClientError> {
    let mut rng = generator(1);
    let terms = terms(3, 4, 16);
    let (_, mut seated) = advertised(&terms, cohort, &mut rng);
    let (client, mut directory) = seated.swap_remove(1);
    change(&mut directory);
    client.share(&terms, &directory, &mut rng).map(|_| ())
}

#[test]
fn a_client_takes_an_honest_directory() {
    assert_eq!(offered(5, |_| ()), Ok(()));
    assert_eq!(offered(60, |_| ()), Ok(()));
}

#[test]
fn a_client_refuses_a_cohort_below_the_minimum() {
    let refused = offered(5, |directory| {
        directory.cohort = 2;
        directory.neighbours.truncate(1);
    });
    assert_eq!(refused, Err(ClientError::CohortTooSmall { cohort: 2, minimum: 3 }));
}

#[test]
fn a_client_refuses_an_unsafe_graph() {
    let unsafe_graph = |error| Err(ClientError::UnsafeGraph(error));
    let too_few = offered(5, |directory| directory.neighbours.truncate(2));
    assert_eq!(too_few, unsafe_graph(GraphError::NotComplete { cohort: 5, degree: 2 }));
    let low = offered(5, |directory| directory.threshold = 1);
    assert_eq!(low, unsafe_graph(GraphError::Threshold { threshold: 1, degree: 4 }));
    let high = offered(5, |directory| directory.threshold = 5);
    assert_eq!(high, unsafe_graph(GraphError::Threshold { threshold: 5, degree: 4 }));
    let minority = offered(9, |directory| directory.threshold = 3);
    assert_eq!(minority, unsafe_graph(GraphError::LessThanHalf { threshold: 3, degree: 8 }));
    let sparse = offered(60, |directory| {
        directory.neighbours.truncate(10);
        directory.threshold = 5;
    });
    assert!(matches!(sparse, Err(ClientError::UnsafeGraph(GraphError::Collusion { .. }))));
}

#[test]
fn a_client_refuses_neighbours_that_are_not_its_own() {
    let wrong = Err(ClientError::WrongNeighbours { own: 1 });
    assert_eq!(offered(5, |directory| directory.neighbours.swap(0, 1)), wrong);
    assert_eq!(offered(5, |directory| directory.neighbours[3].0 = 5), wrong);
    assert_eq!(offered(5, |directory| directory.neighbours[0].0 = 1), wrong);
    assert_eq!(offered(5, |directory| directory.neighbours[1].0 = 0), wrong);
    // A client from the other side of the ring.
    assert_eq!(offered(60, |directory| directory.neighbours[10].0 += 20), wrong);
    let moved = offered(5, |directory| directory.own = 2);
    assert_eq!(moved, Err(ClientError::WrongNeighbours { own: 2 }));
    let outside = offered(5, |directory| directory.own = 5);
    assert_eq!(outside, Err(ClientError::WrongNeighbours { own: 5 }));
}

#[test]
fn a_client_refuses_a_key_that_is_there_twice() {
    let twice = Err(ClientError::DuplicateKey { peer: 3 });
    let copied = offered(5, |directory| {
        directory.neighbours[2].1.masking = directory.neighbours[0].1.masking;
    });
    assert_eq!(copied, twice);
    let other_role = offered(5, |directory| {
        directory.neighbours[2].1.encryption = directory.neighbours[0].1.masking;
    });
    assert_eq!(other_role, twice);
    let same = offered(5, |directory| {
        directory.neighbours[2].1.masking = directory.neighbours[2].1.encryption;
    });
    assert_eq!(same, twice);
}

#[test]
fn a_client_refuses_its_own_key_as_a_neighbours() {
    let mut rng = generator(1);
    let terms = terms(3, 4, 16);
    let (own, keys) = AdvertisedKeys::generate(&mut rng);
    let (_, seated) = advertised(&terms, 5, &mut rng);
    let mut directory = seated[1].1.clone();
    directory.neighbours[1].1.encryption = keys.encryption;
    let refused = own.share(&terms, &directory, &mut rng).map(|_| ());
    assert_eq!(refused, Err(ClientError::DuplicateKey { peer: 2 }));
}

#[test]
fn a_client_refuses_keys_of_low_order() {
    let mut one = [0; 32];
    one[0] = 1;
    let mut alias_of_zero = [0xff; 32];
    alias_of_zero[0] = 0xed;
    alias_of_zero[31] = 0x7f;
    for bad in [[0; 32], one, alias_of_zero] {
        let refused = Err(ClientError::BadKey { peer: 4 });
        assert_eq!(offered(5, |directory| directory.neighbours[3].1.masking = bad), refused);
        assert_eq!(offered(5, |directory| directory.neighbours[3].1.encryption = bad), refused);
    }
}

#[test]
fn a_client_refuses_an_input_that_does_not_fit() {
    let terms = terms(3, 4, 12);
    let masked = |input: &[u32]| {
        let (_, mut states) = shared(&terms, 5, &mut generator(1));
        let (client, mail) = states.swap_remove(0);
        client.mask(&mail, input.to_vec()).map(|_| ())
    };
    assert_eq!(masked(&[0; 3]), Err(ClientError::WrongLength { expected: 4, actual: 3 }));
    assert_eq!(masked(&[0, 0, 4096, 0]), Err(ClientError::WordOutOfRange { position: 2 }));
    assert_eq!(masked(&[4095; 4]), Ok(()));
}

#[test]
fn a_tampered_replayed_or_misdirected_share_is_refused_and_named() {
    let terms = terms(3, 4, 16);
    let mut rng = generator(1);
    let (_, other_round) = shared(&terms, 5, &mut rng);
    let refused = |change: &dyn Fn(&mut Vec<Vec<_>>)| {
        let (_, states) = shared(&terms, 5, &mut generator(2));
        let (clients, mut mail): (Vec<_>, Vec<_>) = states.into_iter().unzip();
        change(&mut mail);
        let client = clients.into_iter().next().unwrap();
        client.mask(&mail[0], vec![0; 4]).map(|_| ()).unwrap_err()
    };
    let bad = |peer| ClientError::BadShares { peer };

    assert_eq!(refused(&|mail| mail[0][2].ciphertext[7] ^= 1), bad(3));
    assert_eq!(refused(&|mail| mail[0][1].ciphertext.clear()), bad(2));
    // From another round with the same terms, between the same two clients.
    assert_eq!(refused(&|mail| mail[0][0] = other_round[0].1[0].clone()), bad(1));
    // What client 1 sent to client 2.
    assert_eq!(refused(&|mail| mail[0][0] = mail[2][1].clone()), bad(1));
    // What client 1 sent us, said to be client 2's.
    assert_eq!(refused(&|mail| mail[0][1].ciphertext = mail[0][0].ciphertext.clone()), bad(2));
    // What we sent to client 1, back to us.
    assert_eq!(refused(&|mail| mail[0][0].ciphertext = mail[1][0].ciphertext.clone()), bad(1));
    assert_eq!(
        refused(&|mail| {
            let again = mail[0][3].clone();
            mail[0].push(again);
        }),
        ClientError::RepeatedShares { peer: 4 }
    );
    assert_eq!(refused(&|mail| mail[0][0].peer = 0), ClientError::UnknownPeer { peer: 0 });
    assert_eq!(refused(&|mail| mail[0][3].peer = 9), ClientError::UnknownPeer { peer: 9 });
}

/// Five clients, one of which was told something else about the round.
#[test]
fn shares_under_other_terms_do_not_open() {
    let ours = terms(3, 4, 16);
    let other = |context: &[u8], minimum, words, bits| {
        Terms::new(Context::new(&[context]), minimum, words, bits).unwrap()
    };
    for theirs in [
        other(b"another round", 3, 4, 16),
        other(b"test", 4, 4, 16),
        other(b"test", 3, 5, 16),
        other(b"test", 3, 4, 15),
    ] {
        let mut rng = generator(3);
        let mut advertising = Advertising::new(ours, Assumptions::default(), 5);
        let mut clients = Vec::new();
        for _ in 0..5 {
            let (client, keys) = AdvertisedKeys::generate(&mut rng);
            advertising.add(keys).unwrap();
            clients.push(client);
        }
        let (mut sharing, directories) = advertising.close(&mut rng).unwrap();
        let odd = directories[0].own;
        let mut states = Vec::new();
        for (i, (client, directory)) in clients.into_iter().zip(&directories).enumerate() {
            let terms = if i == 0 { &theirs } else { &ours };
            let (client, shares) = client.share(terms, directory, &mut rng).unwrap();
            sharing.add(directory.own, shares).unwrap();
            states.push((directory.own, client));
        }
        let (_, deliveries) = sharing.close().unwrap();
        for (own, client) in states.into_iter().skip(1) {
            let mail = &deliveries[own as usize].1;
            let refused = client.mask(mail, vec![0; 4]).map(|_| ());
            assert_eq!(refused, Err(ClientError::BadShares { peer: odd }));
        }
    }
}

#[test]
fn a_client_needs_shares_from_the_threshold() {
    let terms = terms(3, 4, 16);
    for (kept, expected) in
        [(2, Ok(())), (1, Err(ClientError::TooFewShares { received: 1, needed: 2 }))]
    {
        let (_, mut states) = shared(&terms, 5, &mut generator(1));
        let (client, mail) = states.swap_remove(0);
        assert_eq!(client.mask(&mail[..kept], vec![0; 4]).map(|_| ()), expected);
    }
}

#[test]
fn a_client_refuses_lists_of_survivors_that_cannot_be() {
    let unmasked = |survivors: &[u32]| {
        let mut all = masked(&terms(3, 4, 16), 6, &[], &mut generator(1));
        all.clients.swap_remove(1).1.unmask(survivors).map(|_| ())
    };
    assert_eq!(unmasked(&[0, 1, 3]), Ok(()));
    let too_few = |survivors| Err(ClientError::TooFewSurvivors { survivors, minimum: 3 });
    assert_eq!(unmasked(&[]), too_few(0));
    assert_eq!(unmasked(&[0, 1]), too_few(2));
    for odd in [&[1, 0, 3][..], &[0, 1, 1, 3], &[0, 1, 3, 6], &[0, 1, u32::MAX]] {
        assert_eq!(unmasked(odd), Err(ClientError::BadSurvivors));
    }
    assert_eq!(unmasked(&[0, 2, 3]), Err(ClientError::NotASurvivor));
}

#[test]
fn a_client_refuses_a_survivor_that_never_shared_with_it() {
    let terms = terms(3, 4, 16);
    let (_, mut states) = shared(&terms, 6, &mut generator(1));
    let (client, mut mail) = states.swap_remove(0);
    mail.retain(|share| share.peer != 4);
    let (client, _) = client.mask(&mail, vec![0; 4]).unwrap();
    let refused = client.unmask(&[0, 1, 2, 4]).map(|_| ());
    assert_eq!(refused, Err(ClientError::ImpossibleSurvivor { peer: 4 }));
}

/// For every list of survivors a client gives one kind of share per neighbour.
#[test]
fn a_client_never_gives_both_kinds() {
    for pattern in 0..32_u32 {
        // Client 0 is asked; the others survive by the bits.
        let survivors: Vec<u32> =
            (0..6).filter(|&i| i == 0 || pattern & (1 << (i - 1)) != 0).collect();
        if survivors.len() < 3 {
            continue;
        }
        let mut all = masked(&terms(3, 4, 16), 6, &[], &mut generator(1));
        let answer = all.clients.swap_remove(0).1.unmask(&survivors).unwrap();
        let owners = |shares: &[(u32, Share)]| shares.iter().map(|s| s.0).collect::<Vec<_>>();
        let (seeds, secrets) = (owners(&answer.self_masks), owners(&answer.pairwise));
        assert_eq!(seeds, survivors[1..]);
        assert_eq!(secrets, (1..6).filter(|i| !survivors.contains(i)).collect::<Vec<_>>());
    }
}

#[test]
fn secrets_are_not_printed() {
    let terms = terms(3, 4, 16);
    let mut rng = generator(1);
    let (_, mut seated) = advertised(&terms, 5, &mut rng);
    let (client, directory) = seated.swap_remove(0);
    assert!(format!("{client:?}").starts_with("AdvertisedKeys { public: "));
    let (client, _) = client.share(&terms, &directory, &mut rng).unwrap();
    let printed = format!("{client:?}");
    assert!(printed.starts_with("SharedKeys") && printed.ends_with(", own: 0, .. }"), "{printed}");
    let all = masked(&terms, 5, &[], &mut rng);
    let printed = format!("{:?}", all.clients[0].1);
    assert!(printed.starts_with("Masked") && printed.ends_with("own: 0, .. }"), "{printed}");
    assert!(format!("{:?}", all.server).ends_with("answers: 0, .. }"));
}
