//! Effects of an operator's decision on rounds.

use super::*;

fn stopped(round: RoundId) -> Effect {
    Effect::Abandon(round, AbandonReason::Stopped)
}

fn rolled_back(round: RoundId) -> Effect {
    Effect::Abandon(round, AbandonReason::RolledBack)
}

/// A script in which the first round is being stored.
fn finalizing(plan: RoundPlan) -> Script {
    let mut script = Script::new(plan);
    script.join(4);
    (1..=3).for_each(|id| drop(script.report(id, R1)));
    script
}

#[test]
fn standing_follows_operations_and_a_stop_is_for_good() {
    use Operation::{Pause, Resume, Stop};
    use Standing::{Paused, Running, Stopped};
    for (before, operation, after) in [
        (Running, Pause, Paused),
        (Paused, Pause, Paused),
        (Paused, Resume, Running),
        (Running, Resume, Running),
        (Running, Stop, Stopped),
        (Paused, Stop, Stopped),
        (Stopped, Resume, Stopped),
        (Stopped, Pause, Stopped),
    ] {
        assert_eq!(before.after(operation), after, "{before:?} {operation:?}");
    }
    assert_eq!(serde_json::to_string(&[Running, Paused, Stopped]).expect("text"), {
        r#"["running","paused","stopped"]"#
    });
    assert_eq!(serde_json::from_str::<Operation>("\"pause\"").expect("an operation"), Pause);
}

#[test]
fn a_pause_lets_the_round_under_way_complete() {
    let mut script = Script::new(PLAN);
    script.join(4);
    assert_eq!(script.operate(Operation::Pause), []);
    assert_eq!(script.phase(), RoundPhase::Collecting);
    assert_eq!(script.rounds.standing(), Standing::Paused);
    (1..=3).for_each(|id| drop(script.report(id, R1)));
    assert_eq!(script.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert_eq!((script.phase(), script.round()), (RoundPhase::Paused, R2));
    // No round begins, even after a long time and with new clients.
    assert_eq!(script.rounds.wake_at(), None);
    assert_eq!(script.wait(PLAN.deadline), []);
    assert_eq!(script.step(joined(5)), []);
    assert_eq!(script.report(4, R1), [answer(4, R1, LATE)]);
    assert_eq!(script.report(4, R2), [answer(4, R2, UNKNOWN)]);
    assert_eq!(script.operate(Operation::Resume)[0], Effect::Open(R2));
}

#[test]
fn a_pause_between_rounds_holds_at_once_and_an_attempt_that_fails_is_the_last() {
    let mut script = Script::new(PLAN);
    script.join(2);
    assert_eq!(script.operate(Operation::Pause), []);
    assert_eq!((script.phase(), script.round()), (RoundPhase::Paused, R1));
    assert_eq!(script.operate(Operation::Resume), []);
    assert_eq!(invited(&script.wait(PLAN.selection_window)), [1, 2]);

    script.operate(Operation::Pause);
    script.step(Event::Left(ClientId(1)));
    assert_eq!((script.phase(), script.round()), (RoundPhase::Paused, round(1, 1)));
}

#[test]
fn a_resume_while_the_round_goes_on_takes_the_pause_back() {
    let mut script = finalizing(PLAN);
    script.operate(Operation::Pause);
    script.operate(Operation::Resume);
    assert_eq!(script.step(Event::Stored(R1))[1], Effect::Open(R2));
}

#[test]
fn a_stop_abandons_the_attempt_and_ends_the_task() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.report(1, R1);
    let effects = script.operate(Operation::Stop);
    assert_eq!(effects, [dismiss(2, R1), dismiss(3, R1), dismiss(4, R1), stopped(R1)]);
    assert!(script.rounds.is_finished());
    assert_eq!(script.round(), round(0, 0));
    assert_eq!(script.report(2, R1), [answer(2, R1, LATE)]);
    assert_eq!(script.operate(Operation::Resume), []);
    assert_eq!(script.wait(PLAN.deadline), []);
    assert!(script.rounds.is_finished());
}

#[test]
fn a_stop_in_every_other_phase() {
    let mut selecting = Script::new(PLAN);
    selecting.join(2);
    assert_eq!(selecting.operate(Operation::Stop), []);
    assert!(selecting.rounds.is_finished());

    let mut paused = Script::new(PLAN);
    paused.operate(Operation::Pause);
    assert_eq!(paused.operate(Operation::Stop), []);
    assert!(paused.rounds.is_finished());

    let mut securing = Script::new(SECURE);
    securing.join(4);
    securing.all_send(&[1, 2, 3], Stage::Keys);
    securing.prepare(Stage::Shares);
    securing.send(1, R1, Stage::Shares);
    let effects = securing.operate(Operation::Stop);
    // The update of the first is still to come.
    assert_eq!(effects, [dismiss(1, R1), dismiss(2, R1), dismiss(3, R1), stopped(R1)]);

    // What is being stored is stored.
    let mut storing = finalizing(PLAN);
    assert_eq!(storing.operate(Operation::Stop), []);
    assert_eq!(storing.phase(), RoundPhase::Finalizing);
    assert_eq!(storing.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert_eq!((storing.phase(), storing.round()), (RoundPhase::Finished, R1));

    let mut failing = finalizing(PLAN);
    failing.operate(Operation::Stop);
    let not_stored = Effect::Abandon(R1, AbandonReason::NotStored);
    assert_eq!(failing.step(Event::NotStored(R1)), [not_stored]);
    assert!(failing.rounds.is_finished());
}

#[test]
fn a_task_starts_as_its_operator_left_it() {
    let paused = Rounds::new(PLAN, 4, 1, Budget::Left, Standing::Paused);
    assert_eq!(paused.progress().phase, RoundPhase::Paused);
    assert_eq!(paused.progress().round, round(5, 1));
    let mut script = Script::after(paused);
    assert_eq!(script.join(4), []);
    script.operate(Operation::Resume);
    assert_eq!(script.wait(PLAN.selection_window)[0], Effect::Open(round(5, 1)));

    let stopped = Rounds::new(PLAN, 4, 0, Budget::Left, Standing::Stopped);
    assert!(stopped.is_finished());
    assert_eq!(stopped.progress().round, round(4, 0));
    let over = Rounds::new(PLAN, 4, 0, Budget::Spent, Standing::Paused);
    assert!(over.is_finished(), "there is nothing to resume");
}

#[test]
fn a_roll_back_takes_the_number_of_the_round_under_way() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.report(1, R1);
    let effects = script.step(Event::Restored(1));
    assert_eq!(effects[..4], [dismiss(2, R1), dismiss(3, R1), dismiss(4, R1), rolled_back(R1)]);
    assert_eq!(effects[4], Effect::Open(R2));
    assert_eq!(invited(&effects), [1, 2, 3, 4]);
    assert_eq!(script.report(2, R1), [answer(2, R1, LATE)]);
}

#[test]
fn a_roll_back_between_rounds_and_under_the_eyes_of_a_pause() {
    let mut script = Script::new(PLAN);
    script.join(1);
    assert_eq!(script.step(Event::Restored(1)), []);
    assert_eq!((script.phase(), script.round()), (RoundPhase::Selecting, R2));
    script.operate(Operation::Pause);
    assert_eq!(script.step(Event::Restored(2)), []);
    assert_eq!((script.phase(), script.round()), (RoundPhase::Paused, round(3, 0)));
    script.operate(Operation::Stop);
    assert_eq!(script.step(Event::Restored(3)), []);
    assert!(script.rounds.is_finished());
    assert_eq!(script.round(), round(3, 0));
    // News of one that is known changes nothing.
    assert_eq!(script.step(Event::Restored(3)), []);
    assert_eq!(script.round(), round(3, 0));
}

#[test]
fn a_roll_back_that_comes_before_the_model_of_the_round_has_won() {
    let mut script = finalizing(PLAN);
    let effects = script.step(Event::Restored(1));
    assert_eq!(effects[..2], [rolled_back(R1), Effect::Open(R2)]);
    // The store has no place for the other model of round 1.
    assert_eq!(script.step(Event::NotStored(R1)), []);
    assert_eq!(script.round(), R2);
}

#[test]
fn a_roll_back_of_a_round_that_is_stored_and_not_announced_abandons_nothing() {
    let mut script = finalizing(PLAN);
    let effects = script.step(Event::Restored(2));
    assert_eq!(effects[0], Effect::Open(round(3, 0)), "{effects:?}");
    assert_eq!(script.step(Event::Stored(R1)), []);
    assert_eq!(script.round(), round(3, 0));

    // In buffered rounds the open one starts from it.
    let mut script = finalizing(BUFFERED);
    let effects = script.step(Event::Restored(2));
    let abandoned = effects.iter().filter(|effect| matches!(effect, Effect::Abandon(..)));
    assert_eq!(abandoned.collect::<Vec<_>>(), [&rolled_back(R2)]);
    assert_eq!(script.round().round, 3);
}

#[test]
fn a_start_waits_with_a_round_that_is_stored_and_not_announced() {
    let start = |standing| {
        let counts = RoundCounts { cohort: 4, reported: 3, weight: 30 };
        let rounds = Rounds::storing(PLAN, R1, counts, Budget::Left, standing);
        let mut script = Script::after(rounds);
        assert_eq!(script.join(4), []);
        assert_eq!(script.wait(PLAN.deadline), []);
        let progress = script.rounds.progress();
        let seen = (progress.phase, progress.round, progress.cohort, progress.reported);
        assert_eq!(seen, (RoundPhase::Finalizing, R1, 4, 3));
        script
    };
    let mut script = start(Standing::Running);
    let effects = script.step(Event::Stored(R1));
    assert_eq!(effects[..2], [Effect::Complete(R1), Effect::Open(R2)]);
    let mut script = start(Standing::Running);
    assert_eq!(script.step(Event::Restored(2))[0], Effect::Open(round(3, 0)));
    let mut script = start(Standing::Paused);
    assert_eq!(script.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert_eq!((script.phase(), script.round()), (RoundPhase::Paused, R2));
}

#[test]
fn a_roll_back_abandons_secure_aggregation() {
    let mut script = Script::new(SECURE);
    script.join(4);
    script.all_send(&[1, 2, 3], Stage::Keys);
    let effects = script.step(Event::Restored(1));
    assert_eq!(effects[..4], [dismiss(1, R1), dismiss(2, R1), dismiss(3, R1), rolled_back(R1)]);
    assert_eq!(script.step(Event::Prepared(R1, Stage::Shares)), []);
}
