//! Buffered rounds: weights that are discounted by staleness, and what a stale update
//! changes under a central policy.

use fedra_protocol::{BandedNoise, CentralNoise, PrivacyPolicy};

use super::*;
use crate::round::{Mode, RoundPlan};

#[test]
fn a_stale_update_counts_less_and_the_others_no_more_for_it() {
    // The discount of a plan of these tests is 1 / (1 + staleness).
    let mut bench = Bench::new(settings(BUFFERED));
    bench.open(R1);
    bench.add(1, &[1.0, 0.0, 0.0, 4.0], 10);
    let stale = contribution(&bench.settings, &[0.0, 1.0, 0.0, 4.0], 10);
    assert_eq!(bench.fold_stale(2, stale, 1), None);
    assert_eq!(bench.model(R1), [0.5, 0.25, 0.0, 3.0]);
}

#[test]
fn updates_that_are_all_stale_make_a_small_step() {
    let mut bench = Bench::new(settings(BUFFERED));
    bench.open(R1);
    for client in 1..=3 {
        let stale = contribution(&bench.settings, &[1.0; 4], 5);
        assert_eq!(bench.fold_stale(client, stale, 3), None);
    }
    assert_eq!(bench.model(R1), [0.25; 4]);
}

#[test]
fn fresh_updates_count_as_in_a_synchronous_round() {
    let made = |plan| {
        let mut bench = Bench::new(settings(plan));
        bench.open(R1);
        bench.add(1, &[1.0, 0.0, 8.0, 0.0], 1);
        bench.add(2, &[0.0, 1.0, 0.0, 8.0], 7);
        bench.model(R1)
    };
    assert_eq!(made(BUFFERED), made(PLAN));
}

#[test]
fn the_lightest_and_stalest_update_still_counts() {
    let mode = Mode::Buffered { max_staleness: 9, staleness_exponent: 10.0 };
    let mut bench = Bench::new(settings(RoundPlan { mode, ..BUFFERED }));
    bench.open(R1);
    let stale = contribution(&bench.settings, &[16.0; 4], 1);
    assert_eq!(bench.fold_stale(1, stale, 9), None);
    assert_eq!(bench.model(R1), [1.0; 4], "a sixteenth of an example");
}

/// A sum has room for the largest weights of a whole round, in parts of an example.
#[test]
fn as_many_of_the_largest_weights_as_a_round_has_are_all_folded() {
    let plan = RoundPlan { invited: 64, report_goal: 64, max_weight: 100_000, ..BUFFERED };
    let mut bench = Bench::new(settings(plan));
    bench.open(R1);
    for client in 0..64 {
        let value = if client < 32 { 2.0 } else { 1.0 };
        let heavy = contribution(&bench.settings, &[value; 4], 100_000);
        assert_eq!(bench.fold_stale(client, heavy, u32::from(client % 2)), None, "{client}");
    }
    // Half of them count half.
    assert_eq!(bench.model(R1), [1.125; 4]);
}

#[test]
fn weights_beyond_the_room_of_a_sum_are_left_out() {
    let mut bench = Bench::new(settings(BUFFERED));
    bench.open(R1);
    bench.add(1, &[1.0; 4], 100);
    let heavy = contribution(&bench.settings, &[9.0; 4], u64::MAX);
    assert_eq!(bench.fold(2, heavy), Some(UpdateFault::OutOfRange));
    assert_eq!(bench.model(R1), [1.0; 4], "it is in no weight either");
}

const CENTRAL: Mechanism = Mechanism::Central(CentralNoise::Independent);
/// Clipping norm of [`policy`].
const CLIP: f64 = 2.0;

fn central(policy: PrivacyPolicy) -> Bench {
    Bench::new(private_settings(BUFFERED, policy, Counting::Rounds))
}

#[test]
fn under_a_central_policy_a_stale_update_is_clipped_and_then_discounted() {
    let mut bench = central(policy(CENTRAL));
    bench.open(R1);
    bench.add(1, &[0.0, 1.0, 0.0, 0.0], 1);
    let long = contribution(&bench.settings, &[60.0, 0.0, 0.0, 0.0], 1);
    assert_eq!(bench.fold_stale(2, long, 1), None);
    // Half of the clipping norm, over the two updates.
    assert_near(&bench.model(R1), &[0.5, 0.5, 0.0, 0.0], 0.1);
}

/// Two runs that differ in one subject, whose update is zeros in the second, have the same
/// noise here: the same secret, for the same place.
#[test]
fn a_stale_update_changes_the_sum_by_at_most_the_clipping_norm() {
    let models = |values: &[f32; PARAMETERS], staleness| {
        let noisy = PrivacyPolicy { noise_multiplier: 1.0, ..policy(CENTRAL) };
        let mut bench = central(noisy);
        bench.open(R1);
        bench.add(1, &[0.3, -0.2, 0.9, 0.0], 1);
        bench.add(2, &[-8.0, 3.0, 0.0, 0.1], 1);
        let own = contribution(&bench.settings, values, 1);
        assert_eq!(bench.fold_stale(3, own, staleness), None);
        bench.model(R1)
    };
    for values in [[1e6, -1e6, 1e6, 1e6], [9.0, 0.0, -5.0, 1.0], [1e-3, 0.0, 0.0, 0.0]] {
        for staleness in [0, 1, 2, 3] {
            let (with, without) = (models(&values, staleness), models(&ZERO, staleness));
            let square = |(a, b): (&f32, &f32)| (3.0 * (f64::from(*a) - f64::from(*b))).powi(2);
            let change = with.iter().zip(&without).map(square).sum::<f64>().sqrt();
            let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let expected = norm.min(CLIP) / f64::from(1 + staleness);
            assert!((change - expected).abs() < 1e-4, "{values:?} {staleness}: {change}");
            assert!(change <= CLIP + 1e-4);
        }
    }
}

#[test]
fn an_adaptive_clipping_norm_does_not_depend_on_staleness() {
    let next = |values: &[f32], staleness| {
        let adaptive = PrivacyPolicy { target_quantile: Some(0.5), ..policy(CENTRAL) };
        let mut bench = central(adaptive);
        bench.open(R1);
        for client in 1..=5 {
            let own = contribution(&bench.settings, values, 1);
            assert_eq!(bench.fold_stale(client, own, staleness), None);
        }
        bench.finalize(R1).1.expect("a model").record.clipping_norm.expect("under a policy")
    };
    for values in [[0.1; PARAMETERS], [9.0; PARAMETERS]] {
        assert_eq!(next(&values, 0).to_bits(), next(&values, 3).to_bits());
    }
}

/// Guard behind the round machine's own: a client may be known under another number, or be
/// taken for free by mistake.
#[test]
fn a_subject_is_in_a_sum_and_in_its_debit_once() {
    let mut bench = central(policy(CENTRAL));
    bench.open(R1);
    bench.add(1, &[1.0, 0.0, 0.0, 0.0], 1);
    bench.add(2, &[1.0, 0.0, 0.0, 0.0], 1);
    let again = contribution(&bench.settings, &[0.0, 1.0, 0.0, 0.0], 1);
    assert_eq!(bench.fold_stale(1, again, 1), Some(UpdateFault::Duplicate));
    let (debit, model) = bench.finalize(R1);
    assert_eq!(debit.expect("it is due").subjects, [subject(1), subject(2)]);
    assert_near(&model.expect("a model").parameters, &[1.0, 0.0, 0.0, 0.0], 0.1);
    // In the next sum it counts again.
    bench.open(R2);
    bench.add(1, &[1.0, 0.0, 0.0, 0.0], 1);
    assert_eq!(bench.finalize(R2).0.expect("it is due").subjects, [subject(1)]);
}

#[test]
fn an_update_without_a_subject_is_in_no_central_sum() {
    let mut bench = central(policy(CENTRAL));
    bench.open(R1);
    let contribution = contribution(&bench.settings, &[1.0; PARAMETERS], 1);
    let (client, round) = (ClientId(1), R1);
    let job = WriterJob::Fold { client, subject: None, round, contribution, staleness: 0 };
    let events = bench.work(job);
    assert!(matches!(events[..], [WriterEvent::LeftOut(..)]), "no debit could name it: {events:?}");
}

#[test]
fn a_sum_that_lost_updates_below_the_minimum_is_neither_paid_for_nor_released() {
    let mut bench = central(PrivacyPolicy { minimum_survivors: 2, ..policy(CENTRAL) });
    bench.open(R1);
    bench.add(1, &[1.0; PARAMETERS], 1);
    let again = contribution(&bench.settings, &[1.0; PARAMETERS], 1);
    assert!(bench.fold(1, again).is_some());
    let (debit, model) = bench.finalize(R1);
    let error = model.expect_err("one update is fewer than two");
    assert!(matches!(error, WriterError::TooFew { there: 1, needed: 2 }), "{error}");
    assert_eq!((debit, bench.debits(), bench.rounds()), (None, Vec::new(), vec![0]));
}

/// A buffer whose predecessor was not stored goes on as its next attempt. Its noise must not
/// be that of its first name, which a later round may have.
#[test]
fn a_buffer_is_paid_for_and_has_its_noise_under_its_new_name() {
    let banded = BandedNoise { rounds: 4, separation: 1, band: 2, exponent: 50 };
    let noises = [CentralNoise::Tree { rounds: 4 }, CentralNoise::Banded(banded)];
    for mechanism in noises.map(Mechanism::Central).into_iter().chain([CENTRAL]) {
        let noisy = || central(PrivacyPolicy { noise_multiplier: 1.0, ..policy(mechanism) });
        let mut bench = noisy();
        bench.open(R2);
        bench.add(1, &ZERO, 1);
        assert!(bench.work(WriterJob::Renumber { from: R1, to: R2 }).is_empty(), "not its name");
        assert!(bench.work(WriterJob::Renumber { from: R2, to: round(1, 1) }).is_empty());
        let (debit, model) = bench.finalize(round(1, 1));
        let debit = debit.expect("it is due");
        assert_eq!((debit.round, debit.attempt), (1, 1));
        let noise = |attempt| noisy().round_of(attempt, &ZERO);
        let made = model.expect("a model").parameters.to_vec();
        assert_eq!(made, noise(round(1, 1)), "{mechanism:?}");
        let mut next = noisy();
        let (before, after) = (next.round_of(R1, &ZERO), next.round_of(R2, &ZERO));
        let moves = before.iter().zip(&after).map(|(before, after)| after - before);
        let furthest = moves.zip(&made).map(|(of, made)| (of - made).abs()).fold(0.0, f32::max);
        assert!(furthest > 1e-3, "that of round 2: {mechanism:?}");
        // Attempts at a step of a tree or a band have the same noise: one of them is released.
        assert_eq!(made == noise(R1), mechanism != CENTRAL);
    }
}
