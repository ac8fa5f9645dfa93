//! Connections that break: who is waited for, and for how long.

use super::*;

const NANO: Duration = Duration::from_nanos(1);

fn lost(id: u64) -> Event {
    Event::Lost(ClientId(id))
}

fn returned(id: u64) -> Event {
    Event::Returned(ClientId(id), Availability::Available)
}

#[test]
fn a_lost_client_is_waited_for_until_its_grace_is_over() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.report(1, R1);
    script.report(2, R1);
    script.step(Event::Left(ClientId(3)));
    assert_eq!(script.step(lost(4)), []);
    assert_eq!(script.rounds.progress().left, 1);
    assert_eq!(script.rounds.progress().clients, 2);
    // The last worker is lost: the round ends at the end of its grace.
    assert_eq!(script.rounds.wake_at(), Some(Time(GRACE)));
    assert_eq!(script.wait(GRACE - NANO), []);
    assert_eq!(script.wait(NANO), [dismiss(4, R1), finalize(R1, 4, 2)]);
}

#[test]
fn a_client_that_returns_in_its_grace_has_lost_nothing() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.step(lost(1));
    script.wait(GRACE - NANO);
    // No second invitation: the coordinator repeats its order.
    assert_eq!(script.step(returned(1)), []);
    assert_eq!(script.rounds.wake_at(), Some(Time(PLAN.deadline)));
    assert_eq!(script.wait(GRACE), []);
    assert_eq!(script.rounds.progress().left, 0);
    assert_eq!(script.report(1, R1), [answer(1, R1, ACCEPTED)]);
    assert_eq!(script.report(1, R1), [answer(1, R1, TWICE)]);
}

#[test]
fn a_client_that_returns_later_is_expected_again_while_the_round_is_open() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.step(lost(1));
    script.wait(GRACE);
    assert_eq!(script.rounds.progress().left, 1);
    script.step(returned(1));
    assert_eq!(script.rounds.progress().left, 0);
    assert_eq!(script.report(1, R1), [answer(1, R1, ACCEPTED)]);

    // Once the round is over, it is not.
    script.step(lost(2));
    script.report(3, R1);
    let closed = script.report(4, R1);
    assert_eq!(closed, [answer(4, R1, ACCEPTED), dismiss(2, R1), finalize(R1, 4, 3)]);
    assert_eq!(script.step(returned(2)), []);
    assert_eq!(script.report(2, R1), [answer(2, R1, LATE)]);
}

#[test]
fn a_client_that_has_left_for_good_is_not_expected_again() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.step(lost(1));
    script.step(Event::Left(ClientId(1)));
    assert_eq!(script.rounds.wake_at(), Some(Time(PLAN.deadline)), "its grace is over");
    script.step(joined(1));
    assert_eq!(script.report(1, R1), [answer(1, R1, NOT_INVITED)]);
}

#[test]
fn a_round_that_cannot_reach_its_minimum_waits_for_the_graces() {
    let mut script = Script::new(PLAN);
    script.join(4);
    for id in 1..=4 {
        assert_eq!(script.step(lost(id)), []);
        script.wait(NANO);
    }
    assert_eq!(script.rounds.wake_at(), Some(Time(GRACE)));
    script.now = Time(GRACE);
    assert_eq!(script.step(Event::TimePassed), []);
    assert_eq!(script.rounds.wake_at(), Some(Time(GRACE + NANO)));
    script.wait(NANO);
    let abandoned = script.wait(NANO);
    assert_eq!(abandoned.last(), Some(&Effect::Abandon(R1, AbandonReason::TooFewReports)));
    assert_eq!(script.rounds.wake_at(), None, "nobody is there to select");
}

#[test]
fn a_lost_client_is_not_selected_and_a_returned_one_is() {
    let mut script = Script::new(PLAN);
    script.join(2);
    script.step(lost(1));
    assert_eq!(script.rounds.wake_at(), None);
    assert_eq!(script.wait(PLAN.selection_window), []);
    script.step(returned(1));
    assert_eq!(invited(&script.wait(PLAN.selection_window)), [1, 2]);
}

#[test]
fn a_client_that_returns_is_available_again() {
    let mut script = Script::new(PLAN);
    script.join(2);
    script.step(Event::AvailabilityChanged(ClientId(1), Availability::Paused));
    script.step(lost(1));
    script.step(returned(1));
    assert_eq!(invited(&script.wait(PLAN.selection_window)), [1, 2]);
}

#[test]
fn a_report_that_arrives_after_the_connection_broke_counts() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.step(lost(1));
    assert_eq!(script.report(1, R1), [answer(1, R1, ACCEPTED)]);
    assert_eq!(script.rounds.wake_at(), Some(Time(PLAN.deadline)));
    script.wait(GRACE);
    let progress = script.rounds.progress();
    assert_eq!((progress.reported, progress.left), (1, 0));
}

#[test]
fn without_a_grace_a_lost_client_is_lost_at_once() {
    let mut script = Script::new(RoundPlan { reconnect_grace: Duration::ZERO, ..PLAN });
    script.join(4);
    script.report(1, R1);
    script.report(2, R1);
    script.step(lost(3));
    assert_eq!(script.rounds.wake_at(), Some(Time(PLAN.deadline)));
    let closed = script.step(lost(4));
    assert_eq!(closed, [dismiss(3, R1), dismiss(4, R1), finalize(R1, 4, 2)]);
}

#[test]
fn the_deadline_does_not_wait_for_a_grace() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.report(1, R1);
    script.report(2, R1);
    script.now = Time(PLAN.deadline - NANO);
    script.step(lost(3));
    assert_eq!(script.rounds.wake_at(), Some(Time(PLAN.deadline)));
    let closed = script.wait(NANO);
    assert_eq!(closed, [dismiss(3, R1), dismiss(4, R1), finalize(R1, 4, 2)]);
}

/// Clients 1 to 3 have advertised keys; the third is lost then.
fn shaken() -> Script {
    let mut script = Script::new(SECURE);
    script.join(4);
    script.all_send(&[1, 2], Stage::Keys);
    script.step(Event::Left(ClientId(4)));
    assert_eq!(script.phase(), RoundPhase::Collecting);
    script
}

#[test]
fn who_has_answered_and_is_in_its_grace_goes_on_to_the_next_step() {
    let mut script = shaken();
    script.step(lost(1));
    let closed = script.send(3, R1, Stage::Keys);
    assert_eq!(closed[1], Effect::Advance(R1, Stage::Shares));
    assert_eq!(script.rounds.members(), [1, 2, 3].map(ClientId));
    script.prepare(Stage::Shares);
    script.all_send(&[2, 3], Stage::Shares);
    assert_eq!(script.rounds.wake_at(), Some(Time(GRACE)));
    // It comes back in time, is asked again by the coordinator, and answers.
    assert_eq!(script.step(returned(1)), []);
    let closed = script.send(1, R1, Stage::Shares);
    assert_eq!(closed, [answer(1, R1, ACCEPTED), Effect::Advance(R1, Stage::MaskedInput)]);
}

#[test]
fn a_step_ends_with_the_grace_of_the_last_who_is_missing() {
    let mut script = shaken();
    script.step(lost(1));
    script.send(3, R1, Stage::Keys);
    script.prepare(Stage::Shares);
    script.all_send(&[2, 3], Stage::Shares);
    let closed = script.wait(GRACE);
    assert_eq!(closed, [dismiss(1, R1), Effect::Advance(R1, Stage::MaskedInput)]);
    assert_eq!(script.rounds.members(), [2, 3].map(ClientId));
    // Back too late: the step has gone on without it.
    script.step(returned(1));
    assert_eq!(script.send(1, R1, Stage::Shares), [answer(1, R1, NOT_INVITED)]);
}

#[test]
fn who_has_answered_and_is_missing_is_left_behind_unless_it_is_back_by_then() {
    let mut script = shaken();
    script.step(lost(1));
    script.step(lost(2));
    script.wait(GRACE);
    assert_eq!(script.rounds.progress().reported, 2, "what they have answered counts");
    script.step(returned(2));
    let closed = script.send(3, R1, Stage::Keys);
    let advance = Effect::Advance(R1, Stage::Shares);
    assert_eq!(closed, [answer(3, R1, ACCEPTED), dismiss(1, R1), advance]);
    assert_eq!(script.rounds.members(), [2, 3].map(ClientId));
}

#[test]
fn a_grace_may_end_while_a_step_is_being_prepared() {
    let mut script = shaken();
    script.step(lost(1));
    script.send(3, R1, Stage::Keys);
    assert_eq!(script.rounds.wake_at(), Some(Time(GRACE)));
    assert_eq!(script.wait(GRACE), []);
    assert_eq!(script.rounds.wake_at(), None);
    script.prepare(Stage::Shares);
    script.send(2, R1, Stage::Shares);
    let closed = script.send(3, R1, Stage::Shares);
    let advance = Effect::Advance(R1, Stage::MaskedInput);
    assert_eq!(closed, [answer(3, R1, ACCEPTED), dismiss(1, R1), advance]);
}

#[test]
fn who_is_lost_while_the_debit_is_made_is_invited_for_its_return() {
    let mut script = Script::new(RoundPlan { protection: Protection::DebitFirst, ..PLAN });
    script.join(4);
    script.step(lost(1));
    assert_eq!(invited(&script.prepare(Stage::Update)), [1, 2, 3, 4]);
    script.step(returned(1));
    assert_eq!(script.report(1, R1), [answer(1, R1, ACCEPTED)]);
}
