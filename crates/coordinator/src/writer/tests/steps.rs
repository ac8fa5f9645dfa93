//! Models made by steps in a codec: exact bits for whoever has the model before, and a
//! residual that moves with the durable model.

use fedra_protocol::{CodecName, Sha256Hash};

use super::*;
use crate::storage::Retention;

const UPDATES: [[f32; 4]; 4] =
    [[0.1, 0.2, 0.3, 0.7], [-0.9, 0.11, 1e-3, 3.0], [0.33, -0.5, 0.77, -1.0], [0.5; 4]];

fn in_codec(name: CodecName) -> TaskSettings {
    let settings = settings(PLAN);
    let shape = UpdateShape::Values { len: PARAMETERS, range: settings.update_range };
    TaskSettings {
        model_codec: Some(Codec::new(Some(name), shape).expect("of values")),
        ..settings
    }
}

fn signs() -> TaskSettings {
    in_codec(CodecName::Eden1)
}

/// The record and files of a round that is kept.
fn stored(bench: &Bench, round: u64) -> (RoundRecord, CheckpointFiles) {
    bench.store.storage.checkpoint(&bench.settings.id, round).expect("it is kept")
}

fn residual(bench: &Bench) -> Vec<f32> {
    let newest = *bench.rounds().last().expect("a task");
    let position = Position::of(&bench.settings, &stored(bench, newest).1).expect("sound files");
    position.residual.values().to_vec()
}

/// The model after a round by its step, as a client that has the model before makes it.
fn stepped(bench: &Bench, round: u64, mut parameters: Vec<f32>) -> Vec<f32> {
    let (record, _) = stored(bench, round);
    let step = record.step.expect("a step");
    assert_eq!(step.base, stored(bench, round - 1).0.sha256);
    let storage = &bench.store.storage;
    let file = storage.step(&bench.settings.id, &step.sha256).expect("reads").expect("is kept");
    assert_eq!((file.len() as u64, Sha256Hash::of(&file)), (step.bytes, step.sha256));
    let codec = bench.settings.model_codec.as_ref().expect("models travel by steps");
    assert_eq!(step.codec, codec.name());
    let received = CheckedUpdate::parse(file, codec).expect("sound");
    received.add_to(&mut parameters).expect("values");
    let written = safetensors::write(&bench.settings.model, &parameters).expect("a model");
    assert_eq!(Sha256Hash::of(&written), record.sha256, "to the bit");
    parameters
}

#[test]
fn a_client_that_has_the_model_before_makes_the_new_one_of_the_step() {
    for name in CodecName::ALL.into_iter().filter(|name| *name != CodecName::Packed) {
        let mut bench = Bench::new(in_codec(name));
        let mut client = ZERO.to_vec();
        for number in 1..=20 {
            let update = UPDATES[number as usize % 4];
            let model = bench.round_of(round(number, 0), &update);
            client = stepped(&bench, number, client);
            assert_eq!(client, model, "{name:?}, {number}");
        }
    }
}

#[test]
fn what_a_step_leaves_out_comes_with_later_ones() {
    let mut bench = Bench::new(signs());
    let mut sum = ZERO;
    for (number, update) in (1..).zip(UPDATES) {
        let model = bench.round_of(round(number, 0), &update);
        sum.iter_mut().zip(update).for_each(|(sum, value)| *sum += value);
        let left = residual(&bench);
        assert!(left.iter().any(|value| value.abs() > 0.01), "{left:?}");
        let made: Vec<f32> = model.iter().zip(left).map(|(value, left)| value + left).collect();
        assert_near(&made, &sum, 1e-5);
    }
}

#[test]
fn a_restart_goes_on_from_the_same_residual() {
    let made = |restart: bool| {
        let mut bench = Bench::new(signs());
        let mut models = Vec::new();
        for (number, update) in (1..).zip(UPDATES) {
            models.push(bench.round_of(round(number, 0), &update));
            bench = if restart { bench.restarted() } else { bench };
        }
        (models, residual(&bench))
    };
    assert_eq!(made(true), made(false));
}

#[test]
fn a_model_that_is_not_stored_does_not_move_the_residual() {
    let mut bench = Bench::new(signs());
    bench.round_of(R1, &UPDATES[0]);
    let before = residual(&bench);
    bench.store.refuse(Write::Commit);
    for attempt in 0..3 {
        bench.open(round(2, attempt));
        bench.add(1, &[8.0; 4], 1);
        assert!(bench.finalize(round(2, attempt)).1.is_err());
    }
    bench.store.refuse(None);
    assert_eq!(residual(&bench), before);
    let first = stored(&bench, 1).1.model;
    let first = safetensors::read(&bench.settings.model, &first).expect("a model");
    let model = bench.round_of(round(2, 3), &[0.0; 4]);
    let left = residual(&bench);
    for (at, value) in model.iter().enumerate() {
        let moved = value + left[at] - first[at];
        assert!((moved - before[at]).abs() < 1e-6, "the residual alone: {moved} at {at}");
    }
}

#[test]
fn a_roll_back_restores_the_residual_and_has_no_step() {
    let mut bench = Bench::new(signs());
    let mut left = vec![Vec::new()];
    for (number, update) in (1..).zip(UPDATES) {
        bench.round_of(round(number, 0), &update);
        left.push(residual(&bench));
    }
    bench.work(WriterJob::RollBack(2));
    let mut bench = bench.restarted();
    assert_eq!((stored(&bench, 5).0.step, residual(&bench)), (None, left[2].clone()));
    let second = safetensors::read(&bench.settings.model, &stored(&bench, 2).1.model);
    let model = bench.round_of(round(6, 0), &UPDATES[2]);
    assert_eq!(stepped(&bench, 6, second.expect("a model")), model);
    bench.work(WriterJob::RollBack(0));
    assert_eq!(residual(&bench), left[0]);
}

#[test]
fn a_step_goes_with_its_round_and_its_damage_is_not_the_models() {
    let checkpoints = Retention { last: 2, every: 0, best: false };
    let mut bench = Bench::new(TaskSettings { checkpoints, ..signs() });
    let mut steps = Vec::new();
    for (number, update) in (1..).zip(UPDATES) {
        bench.round_of(round(number, 0), &update);
        steps.push(stored(&bench, number).0.step_blob().expect("a step"));
    }
    let (blobs, task) = (&bench.store.storage.blobs, &bench.settings.id);
    let kept = |bench: &Bench| bench.store.storage.blobs.list(task).expect("lists").blobs;
    let is_kept: Vec<bool> = steps.iter().map(|step| kept(&bench).contains(step)).collect();
    assert_eq!(is_kept, [false, false, true, true]);
    blobs.delete(task, &steps[3]).expect("deletes");
    let found = bench.store.storage.step(task, &steps[3].sha256).expect("reads");
    assert_eq!(found, None);
    let task_again = bench.settings.id.clone();
    let bench = bench.restarted();
    assert_eq!(bench.rounds(), [0, 3, 4], "the model is whole");
    let kept = bench.store.storage.blobs.list(&task_again).expect("lists").blobs;
    assert!(kept.contains(&steps[2]), "a step is no leftover");
}

#[test]
fn a_task_without_the_codec_leaves_the_residual_behind() {
    let mut bench = Bench::new(signs());
    bench.round_of(R1, &UPDATES[0]);
    bench.settings = Arc::new(settings(PLAN));
    let mut bench = bench.restarted();
    bench.round_of(R2, &UPDATES[1]);
    let (record, files) = stored(&bench, 2);
    assert_eq!((record.step, record.residual, files.residual), (None, None, None));
    bench.settings = Arc::new(signs());
    let mut bench = bench.restarted();
    assert!(residual(&bench).is_empty());
    bench.round_of(round(3, 0), &UPDATES[2]);
    assert!(stored(&bench, 3).0.step.is_some());
}

#[test]
fn a_residual_of_another_model_is_damage() {
    let settings = signs();
    let (_, model) = crate::fixtures::model(&settings, 0, &ZERO);
    for (file, expected) in
        [(vec![0; 12], "has 12 bytes"), ([f32::NAN; 4].map(f32::to_le_bytes).concat(), "value 0")]
    {
        let residual = Some(file.into());
        let files = CheckpointFiles { residual, ..CheckpointFiles::of_model(model.clone()) };
        let error = Position::of(&settings, &files).expect_err("it is damaged");
        assert!(matches!(error, CheckpointError::Residual(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
