//! State of the server optimizer: it moves with the durable model, and with nothing else.

use fedra_aggregation::ServerOptimizer;

use super::*;
use crate::settings::{Decay, Schedule};

/// Half of the velocity is kept.
fn momentum() -> TaskSettings {
    let optimizer = ServerOptimizer::Momentum { learning_rate: 1.0, momentum: 0.5 };
    TaskSettings { optimizer, ..settings(PLAN) }
}

fn stored(bench: &Bench) -> OptimizerState {
    let newest = *bench.rounds().last().expect("a task");
    let checkpoint = bench.store.storage.checkpoint(&bench.settings.id, newest);
    let (_, files) = checkpoint.expect("it is kept");
    Position::of(&bench.settings, &files).expect("sound files").state
}

fn velocity(value: f32) -> OptimizerState {
    OptimizerState::Momentum { velocity: vec![value; PARAMETERS] }
}

#[test]
fn the_state_is_stored_with_its_round() {
    let mut bench = Bench::new(momentum());
    assert_eq!(stored(&bench), OptimizerState::Empty);
    assert_eq!(bench.round_of(R1, &[1.0; 4]), [1.0; 4]);
    assert_eq!(stored(&bench), velocity(1.0));
    assert_eq!(bench.round_of(R2, &[1.0; 4]), [2.5; 4]);
    assert_eq!(stored(&bench), velocity(1.5));
    assert_eq!(bench.round_of(round(3, 0), &[-0.75; 4]), [2.5; 4]);
    assert_eq!(stored(&bench), velocity(0.0));
}

#[test]
fn a_restart_goes_on_with_the_same_bits() {
    let updates = [[0.1, 0.2, 0.3, 0.7], [-0.9, 0.11, 1e-7, 3.0], [0.33, -0.5, 0.77, -1.0]];
    let made = |optimizer: &ServerOptimizer, restart: bool| {
        let server_schedule = Schedule { warmup_rounds: 1, decay: Decay::Cosine { rounds: 4 } };
        let optimizer = optimizer.clone();
        let settings = TaskSettings { optimizer, server_schedule, ..settings(PLAN) };
        let mut bench = Bench::new(settings);
        let mut models = Vec::new();
        for (number, update) in (1..).zip(updates) {
            models.push(bench.round_of(round(number, 0), &update));
            bench = if restart { bench.restarted() } else { bench };
        }
        models
    };
    let (learning_rate, momentum, beta2, tau) = (0.7, 0.9, 0.99, 1e-3);
    for optimizer in [
        ServerOptimizer::Momentum { learning_rate, momentum },
        ServerOptimizer::Adagrad { learning_rate, momentum, tau },
        ServerOptimizer::Adam { learning_rate, momentum, beta2, tau },
        ServerOptimizer::Yogi { learning_rate, momentum, beta2, tau },
    ] {
        assert_eq!(made(&optimizer, true), made(&optimizer, false), "{optimizer:?}");
    }
}

#[test]
fn a_step_has_the_rate_of_its_round() {
    let server_schedule =
        Schedule { warmup_rounds: 1, decay: Decay::Step { every: 1, factor: 0.25, rounds: 3 } };
    let mut bench = Bench::new(TaskSettings { server_schedule, ..settings(PLAN) });
    assert_eq!(bench.round_of(R1, &[8.0; 4]), [4.0; 4], "half of it in the warm-up");
    // An attempt that fails has no part in it.
    bench.open(R2);
    assert_eq!(bench.round_of(round(2, 1), &[8.0; 4]), [12.0; 4]);
    assert_eq!(bench.round_of(round(3, 0), &[8.0; 4]), [14.0; 4]);
    assert_eq!(bench.round_of(round(4, 0), &[8.0; 4]), [16.0; 4], "it stays");
    // A roll-back is a round, and does not turn the schedule back.
    bench.work(WriterJob::RollBack(1));
    assert_eq!(bench.round_of(round(6, 0), &[8.0; 4]), [6.0; 4]);
}

#[test]
fn a_model_that_is_not_stored_does_not_move_the_state() {
    let mut bench = Bench::new(momentum());
    bench.round_of(R1, &[1.0; 4]);
    bench.store.refuse(Write::Commit);
    for attempt in 0..3 {
        bench.open(round(2, attempt));
        bench.add(1, &[8.0; 4], 1);
        assert!(bench.finalize(round(2, attempt)).1.is_err());
    }
    bench.store.refuse(None);
    assert_eq!(stored(&bench), velocity(1.0));
    assert_eq!(bench.round_of(round(2, 3), &[1.0; 4]), [2.5; 4]);
}

#[test]
fn a_roll_back_restores_the_state_of_its_round() {
    let mut bench = Bench::new(momentum());
    for number in 1..=3 {
        bench.round_of(round(number, 0), &[1.0; 4]);
    }
    assert_eq!(stored(&bench), velocity(1.75));
    bench.work(WriterJob::RollBack(1));
    assert_eq!(stored(&bench), velocity(1.0));
    assert_eq!(bench.round_of(round(5, 0), &[1.0; 4]), [2.5; 4]);
    bench.work(WriterJob::RollBack(0));
    assert_eq!(stored(&bench), OptimizerState::Empty);
    let mut bench = bench.restarted();
    assert_eq!(bench.round_of(round(7, 0), &[1.0; 4]), [1.0; 4]);
}

#[test]
fn another_optimizer_begins_without_the_state() {
    let mut bench = Bench::new(momentum());
    bench.round_of(R1, &[1.0; 4]);
    bench.settings = Arc::new(settings(PLAN));
    let mut bench = bench.restarted();
    assert_eq!(bench.round_of(R2, &[1.0; 4]), [2.0; 4], "plain averaging");
    bench.settings = Arc::new(momentum());
    let mut bench = bench.restarted();
    assert_eq!(stored(&bench), OptimizerState::Empty);
    assert_eq!(bench.round_of(round(3, 0), &[1.0; 4]), [3.0; 4], "from no velocity");
}

#[test]
fn a_state_of_another_model_is_damage() {
    let settings = momentum();
    let (_, model) = crate::fixtures::model(&settings, 0, &ZERO);
    let state = OptimizerState::Momentum { velocity: vec![1.0; 3] }.encode().expect("finite");
    let files = CheckpointFiles {
        optimizer_state: state.map(Bytes::from),
        ..CheckpointFiles::of_model(model)
    };
    let error = Position::of(&settings, &files).expect_err("it has three values");
    assert!(matches!(error, CheckpointError::State(_)), "{error}");
    assert!(error.to_string().contains("velocity has 3 values"), "{error}");
}
