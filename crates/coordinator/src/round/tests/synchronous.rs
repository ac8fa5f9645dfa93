//! Rounds of a cohort that starts together.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a_round_from_selection_to_the_next() {
    let mut script = Script::new(PLAN);
    assert_eq!(script.join(3), []);
    assert_eq!(script.rounds.wake_at(), Some(Time(PLAN.selection_window)));
    let deadline = Time(PLAN.deadline);
    let started = script.step(joined(4));
    let invite = |id| Effect::Invite(ClientId(id), R1, deadline);
    assert_eq!(started, [Effect::Open(R1), invite(1), invite(2), invite(3), invite(4)]);
    assert_eq!(script.rounds.wake_at(), Some(deadline));

    assert_eq!(script.report(1, R1), [answer(1, R1, ACCEPTED)]);
    assert_eq!(script.report(2, R1), [answer(2, R1, ACCEPTED)]);
    assert_eq!(script.report(3, R1), [answer(3, R1, ACCEPTED), dismiss(4, R1), finalize(R1, 4, 3)]);
    let progress = script.rounds.progress();
    assert_eq!((progress.cohort, progress.reported, progress.weight), (4, 3, 30));
    assert_eq!(script.report(4, R1), [answer(4, R1, LATE)]);

    let next = script.step(Event::Stored(R1));
    assert_eq!(next[..2], [Effect::Complete(R1), Effect::Open(R2)]);
    assert_eq!(script.phase(), RoundPhase::Collecting);
    assert_eq!(script.report(4, R1), [answer(4, R1, LATE)]);
}

#[test]
fn a_restart_goes_on_with_the_next_attempt() {
    let rounds = Rounds::new(PLAN, 4, 3, Budget::Left, Standing::Running);
    assert_eq!(rounds.progress().round, round(5, 3));
}

#[test]
fn the_selection_window_starts_anew_when_the_minimum_is_lost() {
    let mut script = Script::new(PLAN);
    script.join(2);
    assert_eq!(script.wait(Duration::from_millis(400)), []);
    script.step(Event::Left(ClientId(1)));
    assert_eq!(script.rounds.wake_at(), None);
    script.wait(Duration::from_millis(400));
    script.step(joined(3));
    assert_eq!(script.wait(Duration::from_millis(499)), []);
    assert_eq!(script.wait(Duration::from_millis(1)).len(), 3);
}

#[test]
fn paused_clients_are_not_invited_and_leave_their_round() {
    let mut script = Script::new(PLAN);
    script.join(2);
    let paused = Event::AvailabilityChanged(ClientId(2), Availability::Paused);
    script.step(paused);
    assert_eq!(script.wait(PLAN.selection_window), []);
    script.step(Event::AvailabilityChanged(ClientId(2), Availability::Available));
    script.join(4);
    script.report(1, R1);
    script.step(paused);
    assert_eq!(script.rounds.progress().left, 1);
    assert_eq!(script.report(2, R1), [answer(2, R1, NOT_INVITED)]);
}

#[test]
fn the_last_straggler_to_leave_closes_the_round() {
    for last in [
        Event::Left(ClientId(4)),
        Event::Declined(ClientId(4), R1),
        Event::Refused(ClientId(4), R1),
        Event::AvailabilityChanged(ClientId(4), Availability::Paused),
    ] {
        let mut script = Script::new(PLAN);
        script.join(4);
        script.report(1, R1);
        script.report(2, R1);
        script.step(Event::Left(ClientId(3)));
        assert_eq!(script.step(last), [finalize(R1, 4, 2)], "{last:?}");
    }
}

#[test]
fn a_round_that_cannot_reach_its_minimum_is_given_up_at_once() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.step(Event::Left(ClientId(1)));
    script.step(Event::Left(ClientId(2)));
    let abandoned = script.step(Event::Left(ClientId(3)));
    let reason = AbandonReason::TooFewReports;
    assert_eq!(abandoned, [dismiss(4, R1), Effect::Abandon(R1, reason)]);
    assert_eq!(script.rounds.progress().round, round(1, 1));
}

#[test]
fn the_deadline_completes_or_abandons() {
    for (reports, expected) in
        [(2, finalize(R1, 4, 2)), (1, Effect::Abandon(R1, AbandonReason::TooFewReports))]
    {
        let mut script = Script::new(PLAN);
        script.join(4);
        (1..=reports).for_each(|id| assert_eq!(script.report(id, R1).len(), 1));
        assert_eq!(script.wait(PLAN.deadline - Duration::from_nanos(1)), []);
        let effects = script.wait(Duration::from_nanos(1));
        assert!(effects.contains(&expected), "{effects:?}");
    }
}

#[test]
fn a_report_at_the_deadline_is_late() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.report(1, R1);
    script.report(2, R1);
    script.now = Time(PLAN.deadline);
    let effects = script.report(3, R1);
    assert_eq!(effects.last(), Some(&answer(3, R1, LATE)));
    assert_eq!(script.rounds.progress().reported, 2);
}

#[test]
fn an_abandoned_attempt_waits_for_the_window() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.wait(PLAN.deadline);
    assert_eq!(script.rounds.progress().round, round(1, 1));
    assert_eq!(script.phase(), RoundPhase::Selecting);
    let again = script.wait(PLAN.selection_window);
    assert_eq!(again.first(), Some(&Effect::Open(round(1, 1))));
    assert_eq!(script.report(1, R1), [answer(1, R1, LATE)]);
}

#[test]
fn a_model_that_was_not_stored_is_made_again() {
    for (event, reason) in [
        (Event::NotStored(R1), AbandonReason::NotStored),
        (Event::NotFinite(R1), AbandonReason::NotFinite),
    ] {
        let mut script = Script::new(PLAN);
        script.join(4);
        (1..=3).for_each(|id| drop(script.report(id, R1)));
        assert_eq!(script.step(Event::Stored(round(9, 0))), []);
        assert_eq!(script.step(event), [Effect::Abandon(R1, reason)]);
        assert_eq!(script.rounds.progress().round, round(1, 1));
    }
}

#[test]
fn odd_reports_get_typed_answers() {
    let mut script = Script::new(PLAN);
    assert_eq!(script.report(1, R1), [answer(1, R1, UNKNOWN)]);
    script.join(4);
    assert_eq!(script.report(9, R1), [answer(9, R1, NOT_INVITED)]);
    assert_eq!(script.report(1, R2), [answer(1, R2, UNKNOWN)]);
    assert_eq!(script.report(1, round(1, 1)), [answer(1, round(1, 1), UNKNOWN)]);
    script.report(1, R1);
    assert_eq!(script.report(1, R1), [answer(1, R1, TWICE)]);
    for weight in [0, 101] {
        let mut script = Script::new(PLAN);
        script.join(4);
        let event =
            Event::Reported { client: ClientId(2), round: R1, stage: Stage::Update, weight };
        let verdict = UpdateVerdict::Rejected(UpdateFault::WeightOutOfRange);
        assert_eq!(script.step(event), [answer(2, R1, verdict)]);
        assert_eq!(script.rounds.progress().left, 1);
    }
}

#[test]
fn a_task_ends_after_its_last_round() {
    let mut script = Script::new(RoundPlan { rounds: Some(1), ..PLAN });
    script.join(4);
    (1..=3).for_each(|id| drop(script.report(id, R1)));
    assert_eq!(script.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert!(script.rounds.is_finished());
    assert_eq!(script.rounds.progress().clients, 4);
    assert_eq!(script.report(4, R1), [answer(4, R1, LATE)]);
    assert_eq!(script.rounds.wake_at(), None);
    let revived =
        Rounds::new(RoundPlan { rounds: Some(1), ..PLAN }, 1, 0, Budget::Left, Standing::Running);
    assert!(revived.is_finished());
}

#[test]
fn selection_is_random_and_repeatable() {
    let cohort = |seed| {
        let mut script = Script::new(PLAN);
        script.rng = StdRng::seed_from_u64(seed);
        script.join(1);
        // All others at once, so that there are more than can be invited.
        script.rounds.pool = Pool::default();
        (1..=20).for_each(|id| script.rounds.pool.apply(joined(id), Time::default()));
        script.step(Event::TimePassed)
    };
    assert_eq!(cohort(1).len(), 5);
    assert_eq!(cohort(1), cohort(1));
    let different: BTreeSet<String> = (0..20).map(|seed| format!("{:?}", cohort(seed))).collect();
    assert!(different.len() > 10);
}

#[test]
fn the_goal_does_not_close_a_round_before_its_minimum_duration() {
    let ten = Duration::from_secs(10);
    let mut script = Script::new(RoundPlan { minimum_duration: ten, ..PLAN });
    script.join(4);
    for id in 1..=3 {
        assert_eq!(script.report(id, R1), [answer(id, R1, ACCEPTED)]);
    }
    assert_eq!(script.rounds.wake_at(), Some(Time(ten)));
    assert_eq!(script.wait(ten - Duration::from_nanos(1)), []);
    let mut slow = script.rounds.clone();
    assert_eq!(script.wait(Duration::from_nanos(1)), [dismiss(4, R1), finalize(R1, 4, 3)]);

    // A slow device that makes it counts beyond the goal; then no client is waited for.
    let event =
        Event::Reported { client: ClientId(4), round: R1, stage: Stage::Update, weight: 10 };
    let now = Time(Duration::from_secs(9));
    let effects = slow.step(event, now, &mut script.rng);
    assert_eq!(effects, [answer(4, R1, ACCEPTED), finalize(R1, 4, 4)]);
    assert_eq!(slow.progress().phase, RoundPhase::Finalizing);
}

#[test]
fn before_the_goal_the_minimum_duration_means_nothing() {
    let ten = Duration::from_secs(10);
    let mut script = Script::new(RoundPlan { minimum_duration: ten, ..PLAN });
    script.join(4);
    script.report(1, R1);
    script.report(2, R1);
    assert_eq!(script.rounds.wake_at(), Some(Time(PLAN.deadline)));
    assert_eq!(script.wait(ten), []);
    let closed = script.report(3, R1);
    assert_eq!(closed, [answer(3, R1, ACCEPTED), dismiss(4, R1), finalize(R1, 4, 3)]);
}

#[test]
fn a_report_for_an_attempt_that_was_the_last_is_late_and_not_unknown() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.operate(Operation::Stop);
    assert!(script.rounds.is_finished());
    assert_eq!(script.report(1, R1), [answer(1, R1, LATE)]);
    assert_eq!(script.report(1, R2), [answer(1, R2, UNKNOWN)]);
}
