//! Rounds of secure aggregation with real clients.

use std::collections::BTreeMap;

use fedra_protocol::{AdvertisedKeys, EncryptedShare, RevealedShare};
use fedra_secure_aggregation::client::{AdvertisedKeys as Advertised, Masked, SharedKeys};
use fedra_secure_aggregation::{self as secagg, Share, pack};

use super::*;

const CLIENTS: [u8; 5] = [1, 2, 3, 4, 5];

/// A bench in a round with secure aggregation, and the secrets of its clients.
struct Cohort {
    bench: Bench,
    advertised: BTreeMap<u8, Advertised>,
    shared: BTreeMap<u8, SharedKeys>,
    masked: BTreeMap<u8, Masked>,
}

impl Cohort {
    fn new() -> Self {
        let settings = private_settings(PLAN, policy(Mechanism::Distributed), Counting::Rounds);
        let mut bench = Bench::new(settings);
        bench.open(R1);
        let (advertised, shared, masked) = Default::default();
        Self { bench, advertised, shared, masked }
    }

    /// Five clients that have sent their keys.
    fn advertised() -> Self {
        let mut cohort = Self::new();
        for client in CLIENTS {
            assert_eq!(cohort.advertise(client), None);
        }
        cohort
    }

    /// Five clients that have shared their secrets, but for `silent`.
    fn shared(silent: &[u8]) -> Self {
        let mut cohort = Self::advertised();
        for (client, request) in cohort.prepare(Stage::Shares, &[]) {
            if !silent.contains(&client) {
                let shares = cohort.share(client, &request);
                assert_eq!(cohort.fold(client, shares), None);
            }
        }
        cohort
    }

    /// Five clients that have shared, of which those but `silent` have sent their update.
    fn masked(silent: &[u8]) -> Self {
        let mut cohort = Self::shared(&[]);
        for (client, request) in cohort.prepare(Stage::MaskedInput, &[]) {
            if !silent.contains(&client) {
                let update = cohort.mask(client, &request);
                assert_eq!(cohort.fold(client, update), None);
            }
        }
        cohort
    }

    fn fold(&mut self, client: u8, contribution: Contribution) -> Option<UpdateFault> {
        self.bench.fold(client, contribution)
    }

    /// Prepares a stage at which exactly these clients are left out.
    fn prepare(&mut self, stage: Stage, left_out: &[u8]) -> Vec<(u8, Request)> {
        let (excluded, result) = self.bench.advance(R1, stage, &CLIENTS);
        let mut excluded: Vec<u8> = excluded.into_iter().map(|client| client.0 as u8).collect();
        excluded.sort_unstable();
        assert_eq!(excluded, left_out);
        let requests = result.expect("enough clients are left").requests;
        requests.into_iter().map(|(client, request)| (client.0 as u8, request)).collect()
    }

    fn advertise(&mut self, client: u8) -> Option<UpdateFault> {
        let (machine, keys) = Advertised::generate(&mut self.bench.rng);
        self.advertised.insert(client, machine);
        let keys = AdvertisedKeys { encryption: keys.encryption, masking: keys.masking };
        self.fold(client, Contribution::Answer(Answer::Keys(keys)))
    }

    fn share(&mut self, client: u8, request: &Request) -> Contribution {
        let Request::Shares(directory) = request else { panic!("{request:?}") };
        let neighbours = directory.neighbours.iter().map(|neighbour| {
            let AdvertisedKeys { encryption, masking } = neighbour.keys;
            (neighbour.index, secagg::PublicKeys { encryption, masking })
        });
        let directory = secagg::KeyDirectory {
            own: directory.own,
            cohort: directory.cohort,
            threshold: directory.threshold,
            neighbours: neighbours.collect(),
        };
        let numbers = self.bench.numbers().expect("a policy");
        let TaskSettings { id, privacy: Some(privacy), .. } = &*self.bench.settings else {
            panic!("a task under a policy");
        };
        let terms = privacy.derived.secure_terms(id, R1, &numbers).expect("sound terms");
        let machine = self.advertised.remove(&client).expect("it has advertised");
        let (machine, shares) =
            machine.share(&terms, &directory, &mut self.bench.rng).expect("a sound directory");
        self.shared.insert(client, machine);
        let wire = |share: secagg::EncryptedShare| EncryptedShare {
            peer: share.peer,
            ciphertext: share.ciphertext,
        };
        Contribution::Answer(Answer::Shares(shares.into_iter().map(wire).collect()))
    }

    fn mask(&mut self, client: u8, request: &Request) -> Contribution {
        let Request::MaskedInput(request) = request else { panic!("{request:?}") };
        let domain = |share: &EncryptedShare| secagg::EncryptedShare {
            peer: share.peer,
            ciphertext: share.ciphertext.clone(),
        };
        let shares: Vec<_> = request.shares.iter().map(domain).collect();
        let numbers = self.bench.numbers().expect("a policy");
        let privacy = self.bench.settings.privacy.as_ref().expect("a policy");
        let encoding = privacy.derived.encoding().expect("clients encode");
        let clip = ClippingNorm::new(numbers.clipping_norm).expect("a sound norm");
        let input = encoding.encode(&update(client), clip, &numbers.rotation, &mut self.bench.rng);
        let machine = self.shared.remove(&client).expect("it has shared");
        let (machine, words) =
            machine.mask(&shares, input.expect("a sound update")).expect("sound shares");
        self.masked.insert(client, machine);
        encoded(pack(&words, encoding.bits()))
    }

    fn unmask(
        &mut self,
        client: u8,
        request: &Request,
    ) -> (Vec<RevealedShare>, Vec<RevealedShare>) {
        let Request::Unmasking(request) = request else { panic!("{request:?}") };
        let machine = self.masked.remove(&client).expect("it has sent its update");
        let answer = machine.unmask(&request.survivors).expect("enough survivors");
        let wire =
            |(peer, share): (secagg::Index, Share)| RevealedShare { peer, share: share.to_bytes() };
        let self_masks = answer.self_masks.into_iter().map(wire).collect();
        (self_masks, answer.pairwise.into_iter().map(wire).collect())
    }
}

fn unmasking(self_masks: Vec<RevealedShare>, pairwise: Vec<RevealedShare>) -> Contribution {
    Contribution::Answer(Answer::UnmaskingShares { self_masks, pairwise })
}

/// Within the clipping norm, and different for each client.
fn update(client: u8) -> Vec<f32> {
    (1..=PARAMETERS as u8).map(|place| if place == client { 1.5 } else { -0.1 }).collect()
}

fn mean(clients: &[u8]) -> Vec<f32> {
    let share = 1.0 / clients.len() as f32;
    (0..PARAMETERS)
        .map(|place| clients.iter().map(|client| update(*client)[place] * share).sum())
        .collect()
}

#[test]
fn the_model_of_a_secure_round_is_the_mean_of_those_who_sent_their_update() {
    let mut cohort = Cohort::masked(&[2]);
    let requests = cohort.prepare(Stage::UnmaskingShares, &[]);
    let asked: Vec<u8> = requests.iter().map(|(client, _)| *client).collect();
    assert_eq!(asked.len(), 4);
    assert!(!asked.contains(&2), "it has dropped out");
    for (client, request) in requests {
        let (self_masks, pairwise) = cohort.unmask(client, &request);
        assert_eq!(pairwise.len(), 1, "for the one that has dropped out");
        assert_eq!(cohort.fold(client, unmasking(self_masks, pairwise)), None);
    }
    let (debit, model) = cohort.bench.finalize(R1);
    assert!(debit.is_none(), "it was paid for already");
    assert_near(&model.expect("a model").parameters, &mean(&[1, 3, 4, 5]), 0.1);
    assert_eq!(cohort.bench.rounds(), [0, 1]);
}

#[test]
fn a_secure_round_is_paid_for_before_its_updates_are_asked_for() {
    let mut cohort = Cohort::advertised();
    let (_, prepared) = cohort.bench.advance(R1, Stage::Shares, &CLIENTS);
    let prepared = prepared.expect("five clients are enough");
    assert!(prepared.debit.is_none(), "nothing is released yet");
    for (client, request) in prepared.requests {
        let client = client.0 as u8;
        let shares = cohort.share(client, &request);
        cohort.fold(client, shares);
    }
    assert_eq!(cohort.bench.debits(), []);
    let (_, prepared) = cohort.bench.advance(R1, Stage::MaskedInput, &CLIENTS);
    let debit = prepared.expect("five clients are enough").debit.expect("it is due");
    assert_eq!(debit.subjects, CLIENTS.map(subject));
    assert_eq!((debit.round, debit.attempt), (1, 0));
    assert_eq!(cohort.bench.debits(), [debit]);
}

#[test]
fn a_secure_round_that_cannot_be_paid_for_asks_for_no_update() {
    let mut cohort = Cohort::shared(&[]);
    cohort.bench.store.refuse(Write::Debit);
    let (_, result) = cohort.bench.advance(R1, Stage::MaskedInput, &CLIENTS);
    assert!(matches!(result, Err(WriterError::Store(_))));
}

#[test]
fn a_client_that_has_not_shared_is_left_out_and_the_others_go_on() {
    let mut cohort = Cohort::shared(&[4]);
    let requests = cohort.prepare(Stage::MaskedInput, &[4]);
    assert_eq!(requests.len(), 4);
    for (client, request) in requests {
        let update = cohort.mask(client, &request);
        assert_eq!(cohort.fold(client, update), None);
    }
    for (client, request) in cohort.prepare(Stage::UnmaskingShares, &[]) {
        let (self_masks, pairwise) = cohort.unmask(client, &request);
        assert_eq!(cohort.fold(client, unmasking(self_masks, pairwise)), None);
    }
    assert_near(&cohort.bench.model(R1), &mean(&[1, 2, 3, 5]), 0.1);
}

#[test]
fn an_answer_to_another_step_is_left_out() {
    let (keys, shares, range) =
        (UpdateFault::InvalidKeys, UpdateFault::InvalidShares, UpdateFault::OutOfRange);
    let none = || unmasking(Vec::new(), Vec::new());
    let some_keys = || {
        let keys = AdvertisedKeys { encryption: [1; 32], masking: [2; 32] };
        Contribution::Answer(Answer::Keys(keys))
    };
    let no_shares = || Contribution::Answer(Answer::Shares(Vec::new()));

    // Before anyone has a seat.
    let mut cohort = Cohort::advertised();
    assert_eq!(cohort.fold(1, no_shares()), Some(shares));
    assert_eq!(cohort.fold(1, encoded(vec![0; 8])), Some(range));
    assert_eq!(cohort.fold(1, none()), Some(shares));

    let mut cohort = Cohort::shared(&[]);
    assert_eq!(cohort.fold(6, some_keys()), Some(keys));
    assert_eq!(cohort.fold(1, encoded(vec![0; 8])), Some(range));
    assert_eq!(cohort.fold(1, none()), Some(shares));

    let mut cohort = Cohort::masked(&[]);
    assert_eq!(cohort.fold(6, some_keys()), Some(keys));
    assert_eq!(cohort.fold(1, no_shares()), Some(shares));
    assert_eq!(cohort.fold(1, none()), Some(shares));

    let plain = contribution(&cohort.bench.settings, &ZERO, 1);
    assert_eq!(cohort.fold(1, plain), Some(range), "not what its clients send");
}

#[test]
fn a_subject_has_one_place_in_a_sum() {
    let mut cohort = Cohort::new();
    assert_eq!(cohort.advertise(1), None);
    assert_eq!(cohort.advertise(1), Some(UpdateFault::Duplicate));
}

#[test]
fn an_answer_that_breaks_the_rules_is_left_out() {
    let mut cohort = Cohort::new();
    assert_eq!(cohort.advertise(1), None);
    let low_order = AdvertisedKeys { encryption: [0; 32], masking: [0; 32] };
    assert_eq!(
        cohort.fold(2, Contribution::Answer(Answer::Keys(low_order))),
        Some(UpdateFault::InvalidKeys)
    );

    let mut cohort = Cohort::advertised();
    cohort.prepare(Stage::Shares, &[]);
    assert_eq!(
        cohort.fold(1, Contribution::Answer(Answer::Shares(Vec::new()))),
        Some(UpdateFault::InvalidShares),
        "there is none for anybody"
    );

    let mut cohort = Cohort::shared(&[]);
    cohort.prepare(Stage::MaskedInput, &[]);
    assert_eq!(cohort.fold(1, encoded(vec![0; 3])), Some(UpdateFault::OutOfRange));
}

#[test]
fn shares_that_are_not_those_that_were_asked_for_are_left_out() {
    let mut cohort = Cohort::masked(&[2]);
    for (client, request) in cohort.prepare(Stage::UnmaskingShares, &[]) {
        let (self_masks, pairwise) = cohort.unmask(client, &request);
        let mut wrong = self_masks.clone();
        wrong[0].share = [0xff; 32];
        let fault = Some(UpdateFault::InvalidShares);
        assert_eq!(cohort.fold(client, unmasking(wrong, pairwise.clone())), fault, "no number");
        let missing = unmasking(self_masks[1..].to_vec(), pairwise.clone());
        assert_eq!(cohort.fold(client, missing), fault);
        // A fault leaves the step as it was.
        assert_eq!(cohort.fold(client, unmasking(self_masks, pairwise)), None);
    }
    assert_near(&cohort.bench.model(R1), &mean(&[1, 3, 4, 5]), 0.1);
}

#[test]
fn a_share_with_another_value_does_not_change_the_mean() {
    let mut cohort = Cohort::masked(&[]);
    for (client, request) in cohort.prepare(Stage::UnmaskingShares, &[]) {
        let (mut self_masks, pairwise) = cohort.unmask(client, &request);
        if client == 3 {
            self_masks[0].share[0] ^= 1;
        }
        assert_eq!(cohort.fold(client, unmasking(self_masks, pairwise)), None);
    }
    assert_near(&cohort.bench.model(R1), &mean(&CLIENTS), 0.1);
}

#[test]
fn a_round_with_too_few_clients_is_abandoned_for_good() {
    let mut cohort = Cohort::new();
    cohort.advertise(1);
    cohort.advertise(2);
    let (_, result) = cohort.bench.advance(R1, Stage::Shares, &[1, 2]);
    let error = result.expect_err("two are too few");
    assert!(matches!(error, WriterError::Secure(SecureError::Abandoned(_))), "{error}");
    let (excluded, result) = cohort.bench.advance(R1, Stage::MaskedInput, &[]);
    assert!(excluded.is_empty() && result.expect("nothing to do").requests.is_empty());
    let error = cohort.bench.finalize(R1).1.expect_err("there is no sum");
    let WriterError::Sum(SumError::Finish(FinishError::Secure(SecureError::NotThere))) = error
    else {
        panic!("{error}");
    };
}

#[test]
fn a_round_is_abandoned_in_any_step_that_too_few_answer() {
    let mut sharing = Cohort::shared(&[1, 2, 3]);
    let (_, result) = sharing.bench.advance(R1, Stage::MaskedInput, &CLIENTS);
    assert!(matches!(result, Err(WriterError::Secure(SecureError::Abandoned(_)))));
    assert_eq!(sharing.bench.debits(), [], "no update was asked for");

    let mut masking = Cohort::masked(&[1, 2, 3]);
    let (_, result) = masking.bench.advance(R1, Stage::UnmaskingShares, &CLIENTS);
    assert!(matches!(result, Err(WriterError::Secure(SecureError::Abandoned(_)))));

    let mut unmasking = Cohort::masked(&[]);
    unmasking.prepare(Stage::UnmaskingShares, &[]);
    let error = unmasking.bench.finalize(R1).1.expect_err("no mask can be taken off");
    let WriterError::Sum(SumError::Finish(FinishError::Secure(SecureError::Abandoned(_)))) = error
    else {
        panic!("{error}");
    };
}

#[test]
fn a_secure_round_that_is_finalized_too_early_makes_no_model() {
    for mut cohort in [Cohort::advertised(), Cohort::shared(&[]), Cohort::masked(&[])] {
        assert!(cohort.bench.finalize(R1).1.is_err());
        assert_eq!(cohort.bench.rounds(), [0]);
    }
}
