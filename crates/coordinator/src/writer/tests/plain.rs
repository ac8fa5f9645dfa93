//! Rounds without protection: the mean, the record, and what comes to nothing.

use fedra_aggregation::ServerOptimizer;
use fedra_protocol::AdvertisedKeys;

use super::*;

#[test]
fn the_new_model_is_the_old_one_plus_the_weighted_mean() {
    let mut bench = Bench::from(settings(PLAN), &[1.0, 2.0, 3.0, 4.0], [1; 32]);
    bench.open(R1);
    bench.add(1, &[1.0, 0.0, -2.0, 0.5], 1);
    bench.add(2, &[0.0, 4.0, 2.0, 0.5], 3);
    assert_eq!(bench.model(R1), [1.25, 5.0, 4.0, 4.5]);
}

#[test]
fn the_mean_is_the_same_to_the_bit_in_any_order() {
    let updates = [[0.1, 0.2, 0.3, 0.7], [-0.9, 0.11, 1e-7, 3.0], [0.33, -0.5, 0.77, -1.0]];
    let made = |order: [usize; 3]| {
        let mut bench = Bench::new(settings(PLAN));
        bench.open(R1);
        for index in order {
            bench.add(index as u8, &updates[index], 7 + index as u64);
        }
        bench.model(R1)
    };
    assert_eq!(made([0, 1, 2]), made([2, 0, 1]));
}

#[test]
fn a_round_is_stored_with_its_figures() {
    let mut bench = Bench::new(settings(PLAN));
    bench.open(round(1, 2));
    bench.add(1, &[1.0; 4], 10);
    let (debit, made) = bench.finalize(round(1, 2));
    let made = made.expect("a model");
    assert_eq!(debit, None, "there is no policy");
    let (record, files) =
        bench.store.storage.checkpoint(&bench.settings.id, 1).expect("it is stored");
    assert_eq!(files.optimizer_state, None);
    let file = files.model;
    assert_eq!((&record, &file), (&made.record, &made.file));
    let expected = RoundRecord {
        round: 1,
        attempt: 2,
        sha256: Sha256Hash::of(&file),
        model_bytes: file.len() as u64,
        cohort: 4,
        reports: 3,
        weight: 30,
        seconds: 2.5,
        bytes_up: 100,
        bytes_down: 200,
        quality: None,
        client_quality: None,
        clipping_norm: None,
        restored: None,
        refusal: None,
        optimizer_state: None,
        step: None,
        residual: None,
        control: None,
        frozen: None,
    };
    assert_eq!(record, expected);
    let read = safetensors::read(&bench.settings.model, &file).expect("a sound file");
    assert_eq!(read, *made.parameters);
}

#[test]
fn each_round_goes_on_from_the_one_before_it() {
    let mut bench = Bench::new(settings(PLAN));
    assert_eq!(bench.round_of(R1, &[1.0; 4]), [1.0; 4]);
    assert_eq!(bench.round_of(R2, &[0.5; 4]), [1.5; 4]);
    let mut bench = bench.restarted();
    assert_eq!(bench.round_of(round(3, 0), &[0.25; 4]), [1.75; 4]);
}

#[test]
fn an_attempt_begins_with_an_empty_sum() {
    let mut bench = Bench::new(settings(PLAN));
    bench.open(R1);
    bench.add(1, &[64.0; 4], 100);
    assert_eq!(bench.round_of(round(1, 1), &[1.0; 4]), [1.0; 4], "the first was abandoned");
}

#[test]
fn a_contribution_of_another_length_is_left_out() {
    let mut bench = Bench::new(settings(PLAN));
    bench.open(R1);
    bench.add(1, &[1.0; 4], 1);
    let short = contribution(&bench.settings, &[9.0; 3], 1);
    assert_eq!(bench.fold(2, short), Some(UpdateFault::OutOfRange));
    assert_eq!(bench.model(R1), [1.0; 4]);
}

#[test]
fn a_contribution_of_another_kind_is_left_out() {
    let mut bench = Bench::new(settings(PLAN));
    bench.open(R1);
    bench.add(1, &[1.0; 4], 1);
    let keys = Answer::Keys(AdvertisedKeys { encryption: [1; 32], masking: [2; 32] });
    let unmasking = Answer::UnmaskingShares { self_masks: Vec::new(), pairwise: Vec::new() };
    let wrong = [
        (encoded(vec![1; 16]), UpdateFault::OutOfRange),
        (Contribution::Answer(keys), UpdateFault::InvalidKeys),
        (Contribution::Answer(Answer::Shares(Vec::new())), UpdateFault::InvalidShares),
        (Contribution::Answer(unmasking), UpdateFault::InvalidShares),
    ];
    for (contribution, fault) in wrong {
        assert_eq!(bench.fold(2, contribution), Some(fault));
    }
    assert_eq!(bench.model(R1), [1.0; 4]);
}

#[test]
fn a_contribution_without_weight_is_left_out() {
    let mut bench = Bench::new(settings(PLAN));
    bench.open(R1);
    let nothing = contribution(&bench.settings, &[1.0; 4], 0);
    assert_eq!(bench.fold(1, nothing), Some(UpdateFault::OutOfRange));
}

#[test]
fn a_contribution_without_an_attempt_means_nothing() {
    let mut bench = Bench::new(settings(PLAN));
    let late = contribution(&bench.settings, &[1.0; 4], 1);
    assert_eq!(bench.fold(1, late), None);
}

#[test]
fn a_round_without_a_sum_makes_no_model() {
    let mut bench = Bench::new(settings(PLAN));
    let none = |result| matches!(result, Err(WriterError::Sum(SumError::NoAttempt)));
    assert!(none(bench.finalize(R1).1), "it was never opened");
    bench.open(R1);
    let error = bench.finalize(R1).1.expect_err("nothing was folded");
    assert!(matches!(error, WriterError::Sum(SumError::Finish(FinishError::Empty))), "{error}");
    bench.round_of(round(1, 1), &[1.0; 4]);
    assert!(none(bench.finalize(round(1, 1)).1), "it has been made");
    assert_eq!(bench.rounds(), [0, 1]);
}

#[test]
fn a_model_that_would_not_be_finite_is_not_made_and_the_next_round_works() {
    let steep = ServerOptimizer::Averaging { learning_rate: 1e39 };
    let mut bench = Bench::new(TaskSettings { optimizer: steep, ..settings(PLAN) });
    bench.open(R1);
    bench.add(1, &[0.0, 1.0, 0.0, 0.0], 1);
    let error = bench.finalize(R1).1.expect_err("it would be infinite");
    assert!(matches!(error, WriterError::NotFinite(_)), "{error}");
    assert!(error.to_string().contains("server_optimizer.learning_rate"), "{error}");
    assert_eq!(bench.rounds(), [0]);
    assert_eq!(bench.round_of(round(1, 1), &ZERO), ZERO, "the parameters are as they were");
    assert_eq!(bench.rounds(), [0, 1]);
}

#[test]
fn a_model_that_is_not_stored_changes_nothing() {
    let mut bench = Bench::new(settings(PLAN));
    bench.round_of(R1, &[1.0; 4]);
    bench.store.refuse(Write::Commit);
    bench.open(R2);
    bench.add(1, &[9.0; 4], 1);
    let error = bench.finalize(R2).1.expect_err("the store refuses it");
    assert!(matches!(error, WriterError::Store(_)), "{error}");
    assert_eq!(bench.rounds(), [0, 1]);
    bench.store.refuse(None);
    assert_eq!(bench.round_of(round(2, 1), &[1.0; 4]), [2.0; 4]);
}

#[test]
fn old_models_are_removed_and_one_that_stays_does_no_harm() {
    let checkpoints = crate::storage::Retention { last: 1, every: 0, best: false };
    let mut bench = Bench::new(TaskSettings { checkpoints, ..settings(PLAN) });
    bench.round_of(R1, &[1.0; 4]);
    assert_eq!(bench.rounds(), [0, 1]);
    bench.store.refuse(Write::Prune);
    assert_eq!(bench.round_of(R2, &[1.0; 4]), [2.0; 4]);
    assert_eq!(bench.rounds(), [0, 1, 2]);
    bench.store.refuse(None);
    bench.round_of(round(3, 0), &[1.0; 4]);
    assert_eq!(bench.rounds(), [0, 3]);
}

#[test]
fn parameters_of_another_model_make_no_model() {
    let settings = Arc::new(settings(PLAN));
    let store = FlakyStore::with(&settings, &ZERO);
    let writer = writer(&settings, &store, &[0.0; 3], [1; 32]).expect("a sound store");
    let rng = StdRng::seed_from_u64(5);
    let mut bench = Bench { settings, store, writer, rng };
    bench.open(R1);
    bench.add(1, &[1.0; 4], 1);
    let error = bench.finalize(R1).1.expect_err("the mean has four values");
    assert!(matches!(error, WriterError::Apply(_)), "{error}");
}

#[test]
fn a_contribution_is_left_out_by_the_round_of_its_invitation() {
    let mut bench = Bench::new(settings(BUFFERED));
    bench.open(R2);
    let short = contribution(&bench.settings, &[1.0; 3], 1);
    let (client, subject, round, staleness) = (ClientId(2), Some(subject(2)), R1, 1);
    let job = WriterJob::Fold { client, subject, round, contribution: short, staleness };
    let events = bench.work(job);
    let expected = (ClientId(2), R1, UpdateFault::OutOfRange);
    assert!(
        matches!(events[..], [WriterEvent::LeftOut(of, from, why)] if (of, from, why) == expected),
        "{events:?}"
    );
}

#[test]
fn a_stage_without_protection_asks_for_nothing_and_costs_nothing() {
    let mut bench = Bench::new(settings(PLAN));
    assert!(matches!(
        bench.advance(R1, Stage::Update, &[]).1,
        Err(WriterError::Sum(SumError::NoAttempt))
    ));
    bench.open(R1);
    let prepared = bench.advance(R1, Stage::Update, &[1]).1.expect("nothing to prepare");
    assert!(prepared.requests.is_empty() && prepared.debit.is_none());
    let (_, shares) = bench.advance(R1, Stage::Shares, &[1]);
    let error = shares.expect_err("there is no secure aggregation");
    assert!(matches!(error, WriterError::Secure(SecureError::NotThere)), "{error}");
}

#[test]
fn only_an_update_counts_as_folded_bytes() {
    let settings = settings(PLAN);
    let bytes = |contribution| {
        let (client, subject, round) = (ClientId(1), None, R1);
        WriterJob::Fold { client, subject, round, contribution, staleness: 0 }.folded_bytes()
    };
    assert_eq!(bytes(contribution(&settings, &ZERO, 1)), 16);
    assert_eq!(bytes(encoded(vec![0; 5])), 5);
    assert_eq!(bytes(Contribution::Answer(Answer::Shares(Vec::new()))), 0);
    assert_eq!(WriterJob::RollBack(1).folded_bytes(), 0);
}

#[test]
fn a_room_is_given_back_once_its_update_is_folded() {
    let mut bench = Bench::new(settings(PLAN));
    bench.open(R1);
    let held = Arc::new(());
    let room = Room::held_by(Arc::clone(&held));
    let update = crate::fixtures::checked(&bench.settings, &[1.0; 4]);
    assert_eq!(bench.fold(1, Contribution::Update(Received { update, room }, 1)), None);
    assert_eq!(Arc::strong_count(&held), 1);
}
