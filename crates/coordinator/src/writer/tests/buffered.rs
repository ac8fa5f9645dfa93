//! Buffered rounds: weights that are discounted by staleness.

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
