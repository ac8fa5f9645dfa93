//! Buffered rounds: one client at a time, one buffer after the other.

use std::collections::BTreeSet;

use super::*;
use crate::round::record::{EXCLUSION, SEVERAL};

const STALE: UpdateVerdict = UpdateVerdict::Discarded(UpdateFault::TooStale);
const NANO: Duration = Duration::from_nanos(1);

fn accepted(id: u64, round: RoundId, staleness: u32) -> Effect {
    Effect::Answer { client: ClientId(id), round, verdict: ACCEPTED, staleness }
}

fn invite(id: u64, round: RoundId, now: Time) -> Effect {
    Effect::Invite(ClientId(id), round, now + BUFFERED.deadline)
}

fn with_staleness(max_staleness: u32) -> RoundPlan {
    RoundPlan { mode: Mode::Buffered { max_staleness, staleness_exponent: 0.5 }, ..BUFFERED }
}

/// Clients 1 to 4 are at work on the first round.
fn started(plan: RoundPlan) -> Script {
    let mut script = Script::new(plan);
    let effects = script.join(4);
    assert_eq!(effects[0], Effect::Open(R1));
    assert_eq!(invited(&effects), [1, 2, 3, 4]);
    script
}

/// The same, and the first three have reported: the round is being stored.
fn storing(plan: RoundPlan) -> Script {
    let mut script = started(plan);
    (1..=2).for_each(|id| assert_eq!(script.report(id, R1), [accepted(id, R1, 0)]));
    let closed = script.report(3, R1);
    assert_eq!(closed[..2], [accepted(3, R1, 0), finalize(R1, 4, 3)]);
    script
}

#[test]
fn a_buffer_fills_is_stored_and_the_next_is_open_meanwhile() {
    let mut script = started(BUFFERED);
    script.report(1, R1);
    script.report(2, R1);
    let closed = script.report(3, R1);
    assert_eq!(closed, [accepted(3, R1, 0), finalize(R1, 4, 3), Effect::Open(R2)]);
    assert_eq!((script.phase(), script.round()), (RoundPhase::Collecting, R2));
    // Reports count in the next one, a model staler; no client is invited yet.
    assert_eq!(script.step(joined(5)), []);
    assert_eq!(script.report(4, R1), [accepted(4, R1, 1)]);

    let effects = script.step(Event::Stored(R1));
    assert_eq!(effects[0], Effect::Complete(R1));
    assert_eq!(invited(&effects).len(), BUFFERED.invited);
    assert!(effects[1..].iter().all(|e| matches!(e, Effect::Invite(_, R2, _))), "{effects:?}");
    let progress = script.rounds.progress();
    assert_eq!((progress.cohort, progress.reported, progress.left), (5, 1, 0));
}

#[test]
fn a_client_trains_once_for_a_round_and_at_once_for_the_next() {
    let mut script = started(BUFFERED);
    assert_eq!(script.report(1, R1), [accepted(1, R1, 0)]);
    assert_eq!(script.report(1, R1), [answer(1, R1, TWICE)]);
    // Its place goes to another client, not to itself.
    let joined = script.step(joined(5));
    assert_eq!(joined, [invite(5, R1, script.now)]);
    script.report(2, R1);
    script.report(3, R1);
    let effects = script.step(Event::Stored(R1));
    // 4 and 5 are still at work: two of the others begin with the new model.
    assert_eq!(invited(&effects).len(), 2);
    assert_eq!(script.rounds.members().len(), 4);
}

#[test]
fn at_most_so_many_are_at_work_and_the_choice_is_random() {
    let mut script = started(BUFFERED);
    (5..=20).for_each(|id| assert_eq!(script.step(joined(id)), []));
    let effects = script.report(1, R1);
    assert_eq!(effects.len(), 2, "{effects:?}");
    let replacement = |seed| {
        let mut other = Script { rng: StdRng::seed_from_u64(seed), ..started(BUFFERED) };
        (5..=20).for_each(|id| drop(other.step(joined(id))));
        invited(&other.report(1, R1))
    };
    assert_eq!(replacement(1), replacement(1));
    let different: BTreeSet<_> = (0..20).map(replacement).collect();
    assert!(different.len() > 5);
}

/// Ends the open round with reports of two clients that join for it.
fn another_round(script: &mut Script, round: RoundId, ids: [u64; 3]) -> Vec<Effect> {
    ids.iter().for_each(|id| drop(script.step(joined(*id))));
    ids.iter().for_each(|id| drop(script.report(*id, round)));
    script.step(Event::Stored(round))
}

#[test]
fn staleness_counts_models_and_too_stale_a_report_is_discarded() {
    // Client 4 works on, while others make one model after the other.
    let plan = RoundPlan { invited: 100, ..with_staleness(2) };
    let mut script = Script::new(plan);
    script.join(4);
    script.wait(PLAN.selection_window);
    (1..=3).for_each(|id| drop(script.report(id, R1)));
    script.step(Event::Stored(R1));
    another_round(&mut script, R2, [5, 6, 7]);
    let mut in_time = Script { rounds: script.rounds.clone(), ..Script::new(PLAN) };
    in_time.now = script.now;
    assert_eq!(in_time.report(4, R1), [accepted(4, R1, 2), invite(4, round(3, 0), script.now)]);

    // One more: it is told at once that it works in vain.
    [8, 9, 10].iter().for_each(|id| drop(script.step(joined(*id))));
    script.report(8, round(3, 0));
    script.report(9, round(3, 0));
    let closed = script.report(10, round(3, 0));
    assert!(closed.contains(&dismiss(4, R1)), "{closed:?}");
    assert_eq!(script.report(4, R1), [answer(4, R1, STALE)]);
    assert_eq!(script.report(99, R1), [answer(99, R1, STALE)]);
}

#[test]
fn a_staleness_of_nothing_lets_only_the_newest_model_count() {
    let mut script = started(with_staleness(0));
    script.report(1, R1);
    script.report(2, R1);
    let closed = script.report(3, R1);
    assert_eq!(closed, [accepted(3, R1, 0), finalize(R1, 4, 3), Effect::Open(R2), dismiss(4, R1)]);
    assert_eq!(script.report(4, R1), [answer(4, R1, STALE)]);
    assert_eq!(invited(&script.step(Event::Stored(R1))), [1, 2, 3, 4]);
}

#[test]
fn the_weight_of_a_report_falls_with_its_staleness() {
    let mode = Mode::Buffered { max_staleness: 10, staleness_exponent: 0.5 };
    assert!((mode.discount(0) - 1.0).abs() < 1e-12);
    assert!((mode.discount(3) - 0.5).abs() < 1e-12);
    let flat = Mode::Buffered { max_staleness: 10, staleness_exponent: 0.0 };
    assert!((flat.discount(10) - 1.0).abs() < 1e-12);
    assert!((Mode::Synchronous.discount(10) - 1.0).abs() < 1e-12);
    assert_eq!((mode.max_staleness(), Mode::Synchronous.max_staleness()), (10, 0));
}

#[test]
fn the_deadline_closes_a_buffer_with_the_fewest_reports() {
    let mut script = started(BUFFERED);
    script.report(1, R1);
    script.report(2, R1);
    assert_eq!(script.wait(BUFFERED.deadline - NANO), []);
    let closed = script.wait(NANO);
    // Those at work since the beginning have outlived their own deadlines too.
    assert_eq!(closed, [dismiss(3, R1), dismiss(4, R1), finalize(R1, 4, 2), Effect::Open(R2)]);
    assert_eq!(script.report(3, R1), [answer(3, R1, LATE)]);
}

#[test]
fn a_buffer_without_the_fewest_reports_goes_on_beyond_its_deadline() {
    let mut script = started(BUFFERED);
    assert_eq!(script.rounds.progress().deadline, Some(Time(BUFFERED.deadline)));
    script.report(1, R1);
    let over = script.wait(BUFFERED.deadline);
    assert_eq!(over[..3], [dismiss(2, R1), dismiss(3, R1), dismiss(4, R1)]);
    // Those who came to nothing are invited again; who has reported is not.
    let again = round(1, 1);
    assert_eq!(over[3], Effect::Renumber { from: R1, to: again });
    assert_eq!(invited(&over), [2, 3, 4]);
    assert_eq!(script.rounds.progress().deadline, None);
    let progress = script.rounds.progress();
    assert_eq!((progress.round, progress.reported), (again, 1));
    assert_eq!(
        script.report(1, again),
        [answer(1, again, UpdateVerdict::Rejected(UpdateFault::Duplicate))]
    );
    // The next report is the last that was missing.
    let closed = script.report(3, again);
    assert_eq!(closed, [accepted(3, again, 0), finalize(again, 7, 2), Effect::Open(R2)]);
}

#[test]
fn those_who_decline_at_once_do_not_make_a_buffer_spin() {
    let mut script = started(BUFFERED);
    script.wait(BUFFERED.deadline);
    for client in 1..=4 {
        assert_eq!(script.step(Event::Declined(ClientId(client), round(1, 1))), []);
    }
    assert_eq!(script.wait(BUFFERED.deadline - NANO), []);
    assert_eq!(invited(&script.wait(NANO)).len(), 4);
    assert_eq!(script.rounds.progress().round, round(1, 2));
}

#[test]
fn a_buffer_invites_clients_on_trial_and_counts_what_they_report() {
    let mut script = started(BUFFERED);
    script.step(Event::Declined(ClientId(1), R1));
    for attempt in 1..SEVERAL {
        script.wait(BUFFERED.deadline);
        // The others miss their deadlines, but not so often in a row.
        script.step(Event::Declined(ClientId(1), round(1, attempt)));
    }
    let last = round(1, SEVERAL - 1);
    assert!(invited(&script.wait(EXCLUSION - NANO)).is_empty());
    script.report(2, last);
    script.report(3, last);
    assert_eq!(invited(&script.step(Event::Stored(last))), [2, 3]);
    assert_eq!(invited(&script.wait(NANO)), [1]);
    assert_eq!(script.report(1, R2)[0], accepted(1, R2, 0));
}

#[test]
fn each_has_its_own_deadline() {
    let mut script = started(BUFFERED);
    script.report(1, R1);
    script.wait(Duration::from_secs(10));
    script.step(joined(5));
    assert_eq!(script.rounds.wake_at(), Some(Time(BUFFERED.deadline)));
    script.wait(Duration::from_secs(50));
    assert_eq!(script.rounds.members(), [ClientId(5)]);
    assert_eq!(script.rounds.wake_at(), Some(Time(Duration::from_secs(70))));
    let over = script.wait(Duration::from_secs(10));
    assert_eq!(over[..2], [dismiss(5, R1), Effect::Renumber { from: R1, to: round(1, 1) }]);
}

#[test]
fn a_buffer_that_is_full_waits_for_the_one_before() {
    let mut script = Script::new(RoundPlan { invited: 6, ..BUFFERED });
    script.join(6);
    (1..=3).for_each(|id| drop(script.report(id, R1)));
    // Three more come in while the first buffer is being stored.
    (4..=6).for_each(|id| assert_eq!(script.report(id, R1), [accepted(id, R1, 1)]));
    script.wait(BUFFERED.deadline * 2);
    assert_eq!(script.rounds.wake_at(), None);
    let effects = script.step(Event::Stored(R1));
    assert_eq!(effects, [Effect::Complete(R1), finalize(R2, 3, 3), Effect::Open(round(3, 0))]);
    assert_eq!(invited(&script.step(Event::Stored(R2))).len(), 6);
}

#[test]
fn a_buffer_that_was_not_stored_gives_its_number_to_the_next() {
    not_stored(Event::NotStored(R1), AbandonReason::NotStored);
    not_stored(Event::NotFinite(R1), AbandonReason::NotFinite);
}

fn not_stored(event: Event, reason: AbandonReason) {
    let mut script = storing(BUFFERED);
    assert_eq!(script.report(4, R1), [accepted(4, R1, 1)]);
    let effects = script.step(event);
    let again = round(1, 1);
    assert_eq!(
        effects[..2],
        [Effect::Abandon(R1, reason), Effect::Renumber { from: R2, to: again }]
    );
    // All may train again from the same model: what they did is lost.
    assert_eq!(invited(&effects), [1, 2, 3, 4]);
    assert_eq!(script.round(), again);
    assert_eq!(script.rounds.progress().reported, 1, "what has come since is kept");
    assert_eq!(script.report(1, R1), [answer(1, R1, LATE)]);
    assert_eq!(script.report(1, again), [accepted(1, again, 0)]);
    let closed = script.report(2, again);
    // The name that was given up is not used again.
    assert_eq!(closed, [accepted(2, again, 0), finalize(again, 5, 3), Effect::Open(round(2, 1))]);
    assert_eq!(script.step(Event::Stored(again))[0], Effect::Complete(again));
}

#[test]
fn who_leaves_makes_room_and_its_report_is_not_wanted() {
    for event in [
        Event::Left(ClientId(4)),
        Event::Declined(ClientId(4), R1),
        Event::Refused(ClientId(4), R1),
        Event::AvailabilityChanged(ClientId(4), Availability::Paused),
    ] {
        let mut script = started(BUFFERED);
        script.step(joined(5));
        assert_eq!(script.step(event), [invite(5, R1, script.now)], "{event:?}");
        assert_eq!(script.report(4, R1), [answer(4, R1, NOT_INVITED)], "{event:?}");
        assert_eq!(script.rounds.progress().left, 1);
        // Back again, it has had its chance in this round.
        assert_eq!(script.step(joined(4)), []);
        script.step(Event::Left(ClientId(5)));
        assert_eq!(script.rounds.members(), [1, 2, 3].map(ClientId));
    }
}

#[test]
fn a_report_that_turns_out_to_be_worthless_is_taken_out() {
    let mut script = started(BUFFERED);
    script.report(1, R1);
    script.step(Event::Refused(ClientId(1), R1));
    let progress = script.rounds.progress();
    assert_eq!((progress.reported, progress.left, progress.weight), (0, 1, 0));
    assert_eq!(script.report(1, R1), [answer(1, R1, NOT_INVITED)]);

    // In a buffer that has closed it is too late.
    let mut script = storing(BUFFERED);
    assert_eq!(script.step(Event::Refused(ClientId(1), R1)), []);
    assert_eq!(script.rounds.progress().left, 0);
}

#[test]
fn a_lost_client_keeps_its_place_for_its_grace() {
    let mut script = started(BUFFERED);
    script.step(joined(5));
    assert_eq!(script.step(Event::Lost(ClientId(4))), []);
    assert_eq!(script.rounds.wake_at(), Some(Time(GRACE)));
    assert_eq!(script.wait(GRACE), [invite(5, R1, script.now)]);
    assert_eq!(script.rounds.progress().left, 1);
    // It comes back with its work done: that counts.
    assert_eq!(script.step(Event::Returned(ClientId(4), Availability::Available)), []);
    assert_eq!(script.report(4, R1), [accepted(4, R1, 0)]);

    let mut script = started(BUFFERED);
    script.step(Event::Lost(ClientId(4)));
    script.step(Event::Returned(ClientId(4), Availability::Available));
    assert_eq!(script.wait(GRACE), []);
    assert_eq!(script.rounds.members().len(), 4);
}

#[test]
fn odd_reports_get_typed_answers() {
    let mut script = started(BUFFERED);
    assert_eq!(script.report(9, R1), [answer(9, R1, NOT_INVITED)]);
    assert_eq!(script.report(1, R2), [answer(1, R2, UNKNOWN)]);
    let wrong = UpdateVerdict::Rejected(UpdateFault::WrongStep);
    assert_eq!(script.send(1, R1, Stage::Keys), [answer(1, R1, wrong)]);
    let heavy =
        Event::Reported { client: ClientId(1), round: R1, stage: Stage::Update, weight: 101 };
    let range = UpdateVerdict::Rejected(UpdateFault::WeightOutOfRange);
    assert_eq!(script.step(heavy), [answer(1, R1, range)]);
    assert_eq!(script.rounds.progress().left, 1);
}

#[test]
fn a_pause_invites_nobody_and_ends_when_the_buffer_closes_or_all_are_done() {
    let mut script = started(BUFFERED);
    script.step(joined(5));
    script.operate(Operation::Pause);
    assert_eq!(script.report(1, R1), [accepted(1, R1, 0)]);
    let mut few = Script { rounds: script.rounds.clone(), ..Script::new(PLAN) };
    script.report(2, R1);
    let closed = script.report(3, R1);
    assert_eq!(closed, [accepted(3, R1, 0), finalize(R1, 4, 3), dismiss(4, R1)]);
    assert_eq!(script.phase(), RoundPhase::Finalizing);
    assert_eq!(script.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert_eq!((script.phase(), script.round()), (RoundPhase::Paused, R2));
    let resumed = script.operate(Operation::Resume);
    assert_eq!((resumed[0], invited(&resumed).len()), (Effect::Open(R2), 4));

    // Two reports are enough once no other client is at work, one is not.
    few.step(Event::Left(ClientId(4)));
    few.step(Event::Left(ClientId(3)));
    let mut one = Script { rounds: few.rounds.clone(), ..Script::new(PLAN) };
    assert_eq!(few.report(2, R1), [accepted(2, R1, 0), finalize(R1, 4, 2)]);
    let abandoned = one.step(Event::Left(ClientId(2)));
    assert_eq!(abandoned, [Effect::Abandon(R1, AbandonReason::TooFewReports)]);
    assert_eq!((one.phase(), one.round()), (RoundPhase::Paused, round(1, 1)));
}

#[test]
fn a_pause_is_bounded_by_the_deadlines_of_those_at_work() {
    let mut script = started(BUFFERED);
    script.operate(Operation::Pause);
    let effects = script.wait(BUFFERED.deadline);
    assert_eq!(effects.last(), Some(&Effect::Abandon(R1, AbandonReason::TooFewReports)));
    assert_eq!(script.phase(), RoundPhase::Paused);

    // A resume in time takes it back.
    let mut script = started(BUFFERED);
    script.operate(Operation::Pause);
    assert_eq!(script.step(joined(5)), []);
    script.report(1, R1);
    assert_eq!(invited(&script.operate(Operation::Resume)), [5]);
}

#[test]
fn a_pause_during_a_store_lets_the_next_buffer_end_too() {
    let mut script = storing(BUFFERED);
    script.operate(Operation::Pause);
    assert_eq!(script.step(Event::Left(ClientId(4))), []);
    let effects = script.step(Event::Stored(R1));
    let too_few = Effect::Abandon(R2, AbandonReason::TooFewReports);
    assert_eq!(effects, [Effect::Complete(R1), too_few]);
    assert_eq!((script.phase(), script.round()), (RoundPhase::Paused, round(2, 1)));
}

#[test]
fn a_stop_abandons_the_open_buffer_and_lets_the_stored_one_end() {
    let stopped = |round| Effect::Abandon(round, AbandonReason::Stopped);
    let mut script = started(BUFFERED);
    script.report(1, R1);
    let effects = script.operate(Operation::Stop);
    assert_eq!(effects, [dismiss(2, R1), dismiss(3, R1), dismiss(4, R1), stopped(R1)]);
    assert!(script.rounds.is_finished());

    let mut script = storing(BUFFERED);
    assert_eq!(script.operate(Operation::Stop), [dismiss(4, R1), stopped(R2)]);
    assert_eq!((script.phase(), script.round()), (RoundPhase::Finalizing, R1));
    assert_eq!(script.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert!(script.rounds.is_finished());
    assert_eq!(script.round(), R1);
}

#[test]
fn a_roll_back_abandons_both_buffers_and_uses_no_name_twice() {
    let rolled_back = |round| Effect::Abandon(round, AbandonReason::RolledBack);
    let mut script = storing(BUFFERED);
    // The operator was faster than the model of round 1.
    let effects = script.step(Event::Restored(1));
    assert_eq!(effects, [dismiss(4, R1), rolled_back(R1), rolled_back(R2)]);
    assert_eq!(script.round(), round(2, 1));
    assert_eq!(script.step(Event::NotStored(R1)), []);
    let opened = script.wait(BUFFERED.selection_window);
    assert_eq!(opened[0], Effect::Open(round(2, 1)));
    assert_eq!(script.report(4, R1), [answer(4, R1, LATE)]);

    let mut script = storing(BUFFERED);
    script.step(Event::Stored(R1));
    let effects = script.step(Event::Restored(2));
    assert!(effects.contains(&rolled_back(R2)), "{effects:?}");
    assert!(effects.contains(&Effect::Open(round(3, 0))), "{effects:?}");
}

#[test]
fn a_task_ends_with_its_last_buffer() {
    let mut script = started(RoundPlan { rounds: Some(1), ..BUFFERED });
    script.report(1, R1);
    script.report(2, R1);
    let closed = script.report(3, R1);
    assert_eq!(closed, [accepted(3, R1, 0), finalize(R1, 4, 3), dismiss(4, R1)]);
    assert_eq!(script.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert!(script.rounds.is_finished());
}
