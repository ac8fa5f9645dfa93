//! Requests of operators, and of a server that stops.

use fedra_protocol::RoundPhase;

use super::*;
use crate::fixtures::{PLAN, R1, Write, settings};
use crate::messages::OperateError;
use crate::round::{Operation, RoundPlan, Standing};

fn operate(bench: &mut Bench, operation: Operation) -> Result<Standing, OperateError> {
    let at_once = bench.request(|id| Command::Operate(operation, id));
    match reply(at_once).or_else(|| reply(bench.write())) {
        Some(Reply::Operated(done)) => done,
        other => panic!("no reply to {operation:?}: {other:?}"),
    }
}

fn roll_back(bench: &mut Bench, to: u64) -> Result<u64, OperateError> {
    let at_once = bench.request(|id| Command::RollBack(to, id));
    match reply(at_once).or_else(|| reply(bench.write())) {
        Some(Reply::RolledBack(done)) => done,
        other => panic!("no reply: {other:?}"),
    }
}

/// A task with one completed round.
fn after_a_round(plan: RoundPlan) -> Bench {
    let mut bench = Bench::new(settings(plan));
    bench.join_all(3);
    bench.wait(PLAN.selection_window);
    (1..=3).for_each(|client| drop(bench.report(client, R1, &[1.0; 4])));
    bench.write();
    assert_eq!(bench.core.view().model.round, 1);
    bench
}

#[test]
fn a_decision_holds_when_it_is_durable_and_makes_sense_once() {
    let mut bench = Bench::new(settings(PLAN));
    assert!(matches!(
        operate(&mut bench, Operation::Resume),
        Err(OperateError::WrongState(Standing::Running))
    ));
    assert!(matches!(operate(&mut bench, Operation::Pause), Ok(Standing::Paused)));
    assert_eq!(bench.core.view().progress.phase, RoundPhase::Paused);
    assert_eq!(bench.core.view().standing, Standing::Paused);
    assert!(operate(&mut bench, Operation::Pause).is_err());
    bench.join_all(4);
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.core.progress().cohort, 0, "no round begins");
    assert!(matches!(operate(&mut bench, Operation::Resume), Ok(Standing::Running)));
    assert_eq!(bench.core.progress().cohort, 4);
    assert!(matches!(operate(&mut bench, Operation::Stop), Ok(Standing::Stopped)));
    for operation in [Operation::Pause, Operation::Resume, Operation::Stop] {
        let refused = operate(&mut bench, operation);
        assert!(matches!(refused, Err(OperateError::WrongState(Standing::Stopped))));
    }
    // And after a start of the server.
    let bench = Bench::on(settings(PLAN), bench.store.clone());
    assert_eq!(bench.core.view().progress.phase, RoundPhase::Finished);
    assert_eq!(bench.core.view().standing, Standing::Stopped);
}

#[test]
fn a_decision_that_cannot_be_stored_does_not_hold() {
    let mut bench = Bench::new(settings(PLAN));
    bench.store.refuse(Write::Decide);
    assert!(matches!(operate(&mut bench, Operation::Pause), Err(OperateError::Store(_))));
    assert_ne!(bench.core.view().progress.phase, RoundPhase::Paused);
}

#[test]
fn one_request_is_carried_out_at_a_time() {
    let mut bench = Bench::new(settings(PLAN));
    assert!(reply(bench.request(|id| Command::Operate(Operation::Pause, id))).is_none());
    let busy = reply(bench.request(|id| Command::Operate(Operation::Stop, id)));
    assert!(matches!(busy, Some(Reply::Operated(Err(OperateError::Busy)))));
    assert!(matches!(reply(bench.write()), Some(Reply::Operated(Ok(Standing::Paused)))));
}

#[test]
fn a_finished_task_takes_no_decision() {
    let mut bench = after_a_round(RoundPlan { rounds: Some(1), ..PLAN });
    assert!(matches!(operate(&mut bench, Operation::Pause), Err(OperateError::Finished)));
}

#[test]
fn the_model_of_a_roll_back_is_evaluated_for_its_matrix() {
    let mut bench = after_a_round(PLAN);
    drop(bench.request(|id| Command::RollBack(0, id)));
    let rolled_back = bench.write();
    assert!(rolled_back.iter().any(|action| matches!(action, Action::Evaluate(2, _))));
}

#[test]
fn an_earlier_model_comes_back_as_a_new_round() {
    let mut bench = after_a_round(PLAN);
    assert_eq!(bench.model(), [1.0; 4]);
    assert!(matches!(roll_back(&mut bench, 0), Ok(2)));
    assert_eq!(bench.model(), [0.0; 4]);
    let record = bench.core.view().history.back().cloned().expect("a round");
    assert_eq!((record.round, record.restored), (2, Some(0)));
    assert!(matches!(roll_back(&mut bench, 7), Err(OperateError::RollBack(_))));
    // The next round starts from it.
    let opened = bench.wait(Duration::from_secs(60));
    let round = invitation(&opened, 1).expect("an invitation");
    assert_eq!(round.round, 3);
    (1..=3).for_each(|client| drop(bench.report(client, round, &[0.25; 4])));
    bench.write();
    assert_eq!(bench.model(), [0.25; 4]);
}

#[test]
fn a_stopped_task_has_no_way_back() {
    let mut bench = after_a_round(PLAN);
    assert!(operate(&mut bench, Operation::Stop).is_ok());
    assert!(matches!(roll_back(&mut bench, 0), Err(OperateError::WrongState(_))));
}

#[test]
fn a_server_that_stops_waits_for_the_round_under_way_and_begins_no_other() {
    let mut bench = Bench::new(settings(PLAN));
    bench.join_all(3);
    bench.wait(PLAN.selection_window);
    assert!(reply(bench.request(Command::Drain)).is_none());
    (1..=3).for_each(|client| drop(bench.report(client, R1, &[1.0; 4])));
    assert!(matches!(reply(bench.write()), Some(Reply::Drained)));
    assert!(matches!(operate(&mut bench, Operation::Pause), Err(OperateError::GoingAway)));
    assert!(matches!(roll_back(&mut bench, 0), Err(OperateError::GoingAway)));
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.core.progress().cohort, 0);
    // It is not the operator's pause: after a start rounds go on.
    let mut bench = Bench::on(settings(PLAN), bench.store.clone());
    bench.join_all(4);
    assert_eq!(bench.core.progress().cohort, 4);
}

#[test]
fn a_server_with_nothing_under_way_stops_at_once() {
    let mut bench = Bench::new(settings(PLAN));
    bench.join_all(1);
    assert!(matches!(reply(bench.request(Command::Drain)), Some(Reply::Drained)));
}
