//! Robust estimators in the writer: in rounds of training, and in no others.

use fedra_aggregation::accumulator::Estimator;

use super::*;
use crate::round::RoundPlan;

/// A task whose rounds close at six updates.
fn robust(estimator: Estimator) -> TaskSettings {
    let plan = RoundPlan { invited: 6, report_goal: 6, ..PLAN };
    TaskSettings { estimator, ..settings(plan) }
}

#[test]
fn a_round_makes_its_model_of_the_estimate() {
    let mut bench = Bench::new(robust(Estimator::Median));
    bench.open(R1);
    for (client, value) in [(1, 2.0), (2, 60.0), (3, 1.0)] {
        bench.add(client, &[value; PARAMETERS], 100);
    }
    assert_eq!(bench.model(R1), [2.0; PARAMETERS]);
    // The same in another order.
    bench.open(R2);
    for (client, value) in [(1, -60.0), (2, 1.0), (3, 0.5)] {
        bench.add(client, &[value; PARAMETERS], 1);
    }
    assert_eq!(bench.model(R2), [2.5; PARAMETERS]);
}

#[test]
fn a_round_with_fewer_updates_than_the_estimator_needs_makes_no_model() {
    let mut bench = Bench::new(robust(Estimator::MultiKrum { byzantine: 1 }));
    bench.open(R1);
    for client in 1..=4 {
        bench.add(client, &[1.0; PARAMETERS], 1);
    }
    let error = bench.finalize(R1).1.expect_err("five are needed");
    assert!(
        error.to_string().contains("there are 4 updates, and the estimator needs 5"),
        "{error}"
    );
    bench.open(round(1, 1));
    for client in 1..=5 {
        bench.add(client, &[1.0; PARAMETERS], 1);
    }
    assert_eq!(bench.model(round(1, 1)), [1.0; PARAMETERS]);
}

#[test]
fn more_updates_than_there_is_memory_for_are_left_out() {
    let mut bench = Bench::new(robust(Estimator::Median));
    bench.open(R1);
    for client in 1..=6 {
        bench.add(client, &[1.0; PARAMETERS], 1);
    }
    let beyond = contribution(&bench.settings, &[9.0; PARAMETERS], 1);
    assert!(bench.fold(7, beyond).is_some());
    assert_eq!(bench.model(R1), [1.0; PARAMETERS]);
}
