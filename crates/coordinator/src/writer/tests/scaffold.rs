//! Control variate of the server, for clients that train by SCAFFOLD: it follows from the mean
//! updates, is durable with the model, and never parts from those of the clients.

use fedra_protocol::{ClientAlgorithm, LocalTraining, Quality, RawLocalTraining};

use super::*;
use crate::storage::{ControlFile, LossSource};

const CLIENTS: u32 = 4;
/// Steps times the rate.
const REACH: f32 = 0.5;

fn with_variates() -> TaskSettings {
    let training = LocalTraining::new(RawLocalTraining {
        algorithm: ClientAlgorithm::Scaffold,
        epochs: 0,
        steps: 4,
        learning_rate: REACH / 4.0,
        ..RawLocalTraining::default()
    });
    TaskSettings {
        training: training.expect("a sound plan"),
        population: Some(CLIENTS),
        ..settings(PLAN)
    }
}

/// Update of a client in a round.
fn update(round: u64, client: u64) -> [f32; PARAMETERS] {
    let value = |at: usize| ((7 * round + 3 * client + 5 * at as u64) % 11) as f32 / 16.0 - 0.25;
    [0, 1, 2, 3].map(value)
}

/// A round with the updates of these clients; the server's variate after it.
fn round_of(bench: &mut Bench, number: u64, clients: impl IntoIterator<Item = u64>) -> Vec<f32> {
    bench.open(round(number, 0));
    for client in clients {
        bench.add(client as u8, &update(number, client), 1);
    }
    bench.model(round(number, 0));
    control(bench)
}

fn newest(bench: &Bench) -> (RoundRecord, CheckpointFiles) {
    let newest = *bench.rounds().last().expect("a task");
    bench.store.storage.checkpoint(&bench.settings.id, newest).expect("it is kept")
}

/// The newest variate of the server; none before the first.
fn control(bench: &Bench) -> Vec<f32> {
    let (record, files) = newest(bench);
    assert_eq!(record.control, files.control_record());
    let read = |of: ControlFile| safetensors::read(&bench.settings.model, &of.file).expect("sound");
    files.control.map(read).unwrap_or_default()
}

#[test]
fn the_servers_variate_is_the_mean_of_those_of_all_clients() {
    let mut bench = Bench::new(with_variates());
    assert!(control(&bench).is_empty(), "zero");
    // Of the paper: c_i+ = c_i - c + (x - y_i) / (K eta), c+ = c + sum of the changes / N.
    let (mut c, mut own) = ([0.0; PARAMETERS], [[0.0; PARAMETERS]; CLIENTS as usize]);
    for number in 1..=6 {
        // All in even rounds, one or two in others.
        let clients: Vec<u64> = match number % 2 {
            0 => (0..4).collect(),
            _ => (0..=number / 2 % 2).collect(),
        };
        let before = c;
        for &client in &clients {
            for at in 0..PARAMETERS {
                let c_i = &mut own[client as usize][at];
                let change = -before[at] - f64::from(update(number, client)[at]) / f64::from(REACH);
                *c_i += change;
                c[at] += change / f64::from(CLIENTS);
            }
        }
        let found = round_of(&mut bench, number, clients);
        assert_near(&found, &c.map(|value| value as f32), 1e-6);
        let mean = |at: usize| own.iter().map(|of| of[at]).sum::<f64>() / f64::from(CLIENTS);
        assert_near(&found, &[0, 1, 2, 3].map(|at| mean(at) as f32), 1e-6);
    }
}

#[test]
fn a_restart_goes_on_from_the_same_variate() {
    let made = |restart: bool| {
        let mut bench = Bench::new(with_variates());
        let mut variates = Vec::new();
        for number in 1..=4 {
            variates.push(round_of(&mut bench, number, [0, 2]));
            bench = if restart { bench.restarted() } else { bench };
        }
        variates
    };
    assert_eq!(made(true), made(false));
}

#[test]
fn a_model_that_is_not_stored_does_not_move_the_variate() {
    let mut bench = Bench::new(with_variates());
    let first = round_of(&mut bench, 1, [0, 1]);
    bench.store.refuse(Write::Commit);
    bench.open(R2);
    bench.add(3, &[0.5; PARAMETERS], 1);
    assert!(bench.finalize(R2).1.is_err());
    bench.store.refuse(None);
    assert_eq!(control(&bench), first);
    let again = round_of(&mut bench, 2, [2]);
    let mut other = Bench::new(with_variates());
    round_of(&mut other, 1, [0, 1]);
    assert_eq!(again, round_of(&mut other, 2, [2]));
}

#[test]
fn variates_begin_anew_after_an_operators_roll_back() {
    let mut bench = Bench::new(with_variates());
    (1..=3).for_each(|number| drop(round_of(&mut bench, number, [0, 1])));
    assert_eq!(newest(&bench).0.control.map(|control| control.since), Some(1));
    bench.work(WriterJob::RollBack(1));
    assert_eq!((newest(&bench).0.restored, newest(&bench).0.control), (Some(1), None));
    assert!(control(&bench).is_empty());
    let mut bench = bench.restarted();
    // c = |S| / N * (x - y) / (K eta), as in a first round.
    let expected = update(5, 2).map(|value| -value / REACH / CLIENTS as f32);
    assert_near(&round_of(&mut bench, 5, [2]), &expected, 1e-6);
    assert_eq!(newest(&bench).0.control.map(|control| control.since), Some(5));
}

const GATE: Gate =
    Gate { source: LossSource::Server, loss_increase: 0.5, loss_limit: None, rollbacks: 3 };

fn refuse(bench: &mut Bench, round: u64) {
    let refusal = GateRefusal { round, loss: None, limit: None, in_a_row: 1 };
    let done = bench.work(WriterJob::Refuse(GATE, refusal));
    assert!(matches!(done[..], [WriterEvent::Refused(_, Ok(_))]), "{done:?}");
}

/// The clients whose updates are in a refused model have moved theirs.
#[test]
fn a_model_that_the_gate_refuses_leaves_the_variate_that_was_made_with_it() {
    let mut bench = Bench::new(with_variates());
    let variates = [1, 2].map(|number| round_of(&mut bench, number, [0, 1]));
    bench.writer.lease.set_quality(1, Quality::of_loss(0.5)).expect("notes");
    refuse(&mut bench, 2);
    let record = newest(&bench).0;
    assert_eq!((record.round, record.restored), (3, Some(1)));
    assert_eq!(control(&bench), variates[1]);
    let mut bench = bench.restarted();
    // The next round goes on from it: an update of zeros takes a quarter of it away.
    bench.open(round(4, 0));
    bench.add(1, &ZERO, 1);
    bench.model(round(4, 0));
    let expected: Vec<f32> = variates[1].iter().map(|value| value * 0.75).collect();
    assert_near(&control(&bench), &expected, 1e-6);
    assert_eq!(newest(&bench).0.control.map(|control| control.since), Some(1));
}

#[test]
fn variates_begin_anew_where_the_refused_models_is_gone() {
    let mut bench = Bench::new(with_variates());
    (1..=2).for_each(|number| drop(round_of(&mut bench, number, [0, 1])));
    let key = newest(&bench).0.control_blob().expect("a variate");
    bench.store.storage.blobs.delete(&bench.settings.id, &key).expect("deletes");
    refuse(&mut bench, 2);
    assert!(control(&bench).is_empty());
}

#[test]
fn variates_begin_anew_after_rounds_of_another_algorithm() {
    let mut bench = Bench::new(with_variates());
    round_of(&mut bench, 1, [0, 1]);
    bench.settings = Arc::new(settings(PLAN));
    let mut bench = bench.restarted();
    assert!(round_of(&mut bench, 2, [0, 1]).is_empty());
    bench.settings = Arc::new(with_variates());
    let mut bench = bench.restarted();
    round_of(&mut bench, 3, [0, 1]);
    assert_eq!(newest(&bench).0.control.map(|control| control.since), Some(3));
}

#[test]
fn a_variate_of_another_model_is_damage() {
    let settings = with_variates();
    let (_, model) = crate::fixtures::model(&settings, 0, &ZERO);
    let file = Bytes::from_static(b"no file of a model");
    let control = Some(ControlFile { since: 1, file });
    let files = CheckpointFiles { control, ..CheckpointFiles::of_model(model) };
    let error = Position::of(&settings, &files).expect_err("it is damaged");
    assert!(error.to_string().starts_with("the control variate: "), "{error}");
}

#[test]
fn a_variate_that_is_not_finite_makes_no_round() {
    let mut settings = with_variates();
    settings.training = LocalTraining::new(RawLocalTraining {
        learning_rate: f32::from_bits(1),
        ..settings.training.into()
    })
    .expect("a sound plan");
    let mut bench = Bench::new(settings);
    bench.open(R1);
    bench.add(1, &[8.0; PARAMETERS], 1);
    assert!(matches!(bench.finalize(R1).1, Err(WriterError::NotFinite(_))));
}
