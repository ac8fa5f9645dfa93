//! Decisions of operators.

use fedra_protocol::ModelSpec;

use super::*;
use crate::round::Standing;
use crate::storage::CheckpointFiles;

fn rolled_back(events: Vec<WriterEvent>) -> Result<GlobalModel, RollBackError> {
    match <[WriterEvent; 1]>::try_from(events) {
        Ok([WriterEvent::RolledBack(result)]) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_decision_is_durable_when_it_is_told() {
    let mut bench = Bench::new(settings(PLAN));
    let decisions = [
        (Operation::Pause, OperatorAction::Pause, Standing::Paused),
        (Operation::Resume, OperatorAction::Resume, Standing::Running),
        (Operation::Stop, OperatorAction::Stop, Standing::Stopped),
    ];
    for (operation, action, standing) in decisions {
        let events = bench.work(WriterJob::Decide(operation));
        let [WriterEvent::Decided(told, Ok(()))] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert_eq!(*told, operation);
        let stored =
            bench.store.storage.tasks.decisions(&bench.settings.id).expect("a store in memory");
        assert_eq!(stored.last(), Some(&Decision { unix_seconds: NOON, action }));
        assert_eq!(
            bench.store.storage.tasks.standing(&bench.settings.id).expect("the same"),
            standing
        );
    }
}

#[test]
fn a_decision_that_is_not_stored_does_not_hold() {
    let mut bench = Bench::new(settings(PLAN));
    bench.store.refuse(Write::Decide);
    let events = bench.work(WriterJob::Decide(Operation::Stop));
    assert!(matches!(events.as_slice(), [WriterEvent::Decided(Operation::Stop, Err(_))]));
    let standing =
        bench.store.storage.tasks.standing(&bench.settings.id).expect("a store in memory");
    assert_eq!(standing, Standing::Running);
}

#[test]
fn a_roll_back_is_one_more_round_with_an_earlier_model() {
    let mut bench = Bench::new(settings(PLAN));
    bench.round_of(R1, &[1.0; 4]);
    bench.round_of(R2, &[1.0; 4]);
    let restored = rolled_back(bench.work(WriterJob::RollBack(1))).expect("it is kept");
    assert_eq!((restored.record.round, restored.record.restored), (3, Some(1)));
    assert_eq!(*restored.parameters, [1.0; 4]);
    assert_eq!(bench.rounds(), [0, 1, 2, 3]);
    let decisions =
        bench.store.storage.tasks.decisions(&bench.settings.id).expect("a store in memory");
    let action = OperatorAction::RollBack { to: 1, round: 3 };
    assert_eq!(decisions, [Decision { unix_seconds: NOON, action }]);
    assert_eq!(bench.round_of(round(4, 0), &[0.5; 4]), [1.5; 4], "rounds go on from there");
}

#[test]
fn a_roll_back_to_a_model_that_is_not_kept_changes_nothing() {
    let mut bench = Bench::new(settings(PLAN));
    bench.round_of(R1, &[1.0; 4]);
    let error = rolled_back(bench.work(WriterJob::RollBack(7))).expect_err("there is none");
    assert!(matches!(error, RollBackError::Store(StoreError::NotKept { round: 7, .. })), "{error}");
    assert_eq!(bench.round_of(R2, &[0.5; 4]), [1.5; 4]);
}

#[test]
fn a_roll_back_that_is_not_stored_changes_nothing() {
    let mut bench = Bench::new(settings(PLAN));
    bench.round_of(R1, &[1.0; 4]);
    bench.store.refuse(Write::RollBack);
    assert!(rolled_back(bench.work(WriterJob::RollBack(0))).is_err());
    bench.store.refuse(None);
    assert_eq!(bench.round_of(R2, &[0.5; 4]), [1.5; 4]);
}

#[test]
fn a_roll_back_to_a_file_of_another_model_is_an_error() {
    let mut bench = Bench::new(settings(PLAN));
    let (record, _) = crate::fixtures::model(&bench.settings, 1, &ZERO);
    let other = ModelSpec::softmax_regression();
    let file = safetensors::write(&other, &vec![0.0; other.parameters()]).expect("a model");
    let files = CheckpointFiles::of_model(file.into());
    let record = RoundRecord { sha256: Sha256Hash::of(&files.model), ..record };
    bench.writer.lease.commit(&record, &files).expect("a store in memory");
    let error = rolled_back(bench.work(WriterJob::RollBack(1))).expect_err("it is damaged");
    assert!(matches!(error, RollBackError::File(_)), "{error}");
}

#[test]
fn a_roll_back_gives_up_nothing_that_is_under_way() {
    let mut bench = Bench::new(settings(PLAN));
    bench.round_of(R1, &[1.0; 4]);
    bench.open(R2);
    bench.add(1, &[1.0; 4], 1);
    rolled_back(bench.work(WriterJob::RollBack(0))).expect("it is kept");
    // The core opens another attempt; until then the sum is that of the old one.
    assert_eq!(bench.round_of(round(3, 0), &[0.5; 4]), [0.5; 4]);
}
