//! Buffered rounds under secure aggregation: clients that have trained wait for each other
//! and mask their updates in groups.

use super::*;

const PLAN: RoundPlan =
    RoundPlan { protection: Protection::Secure { step_deadline: STEP }, ..BUFFERED };

/// The same for twice as many clients.
const EIGHT: RoundPlan = RoundPlan { invited: 8, minimum_cohort: 8, ..PLAN };

const STALE: UpdateVerdict = UpdateVerdict::Discarded(UpdateFault::TooStale);

impl Script {
    /// These clients of an invitation to `round` answer; the effects of the last one.
    fn each_sends(&mut self, ids: &[u64], round: RoundId, stage: Stage) -> Vec<Effect> {
        ids.iter().map(|id| self.send(*id, round, stage)).last().unwrap_or_default()
    }

    /// A group, whose clients were all invited to `round`, plays its part up to this stage,
    /// in which no client has answered yet.
    fn group_at(&mut self, ids: &[u64], round: RoundId, stage: Stage) {
        for step in [Stage::Shares, Stage::MaskedInput, Stage::UnmaskingShares] {
            self.step(Event::Prepared(round, step));
            if step == stage {
                return;
            }
            self.each_sends(ids, round, step);
        }
    }

    /// The same up to its end; the effects of the last answer.
    fn group_ends(&mut self, ids: &[u64], round: RoundId) -> Vec<Effect> {
        self.group_at(ids, round, Stage::UnmaskingShares);
        self.each_sends(ids, round, Stage::UnmaskingShares)
    }
}

/// Clients 1 to 4 are invited to the first round, and the first three are a group.
fn grouped(plan: RoundPlan) -> Script {
    let mut script = Script::new(plan);
    assert_eq!(invited(&script.join(4)), [1, 2, 3, 4]);
    script.each_sends(&[1, 2, 3], R1, Stage::Keys);
    assert_eq!(script.rounds.asked(), [1, 2, 3].map(ClientId));
    script
}

fn counts(cohort: usize, reported: usize) -> RoundCounts {
    RoundCounts { cohort, reported, weight: reported as u64 }
}

#[test]
fn a_group_goes_from_keys_to_a_model_while_others_train_and_wait() {
    let mut script = Script::new(PLAN);
    script.join(4);
    assert_eq!(script.send(1, R1, Stage::Update), [answer(1, R1, WRONG_STEP)]);
    assert_eq!(script.send(1, R1, Stage::Keys), [answer(1, R1, ACCEPTED)]);
    assert_eq!(script.send(1, R1, Stage::Keys), [answer(1, R1, TWICE)]);
    script.send(2, R1, Stage::Keys);
    assert_eq!((script.phase(), script.rounds.progress().reported), (RoundPhase::Collecting, 2));
    let formed = script.send(3, R1, Stage::Keys);
    let advance = |stage| Effect::Advance(R1, stage);
    assert_eq!(formed, [answer(3, R1, ACCEPTED), advance(Stage::Shares), Effect::Open(R2)]);
    assert_eq!((script.round(), script.phase()), (R1, RoundPhase::Sharing));

    // The fourth waits for the next group; a newcomer trains from the model that there is.
    assert_eq!(script.send(4, R1, Stage::Keys), [answer(4, R1, ACCEPTED)]);
    assert_eq!(invited(&script.step(joined(5))), [5]);
    assert_eq!(script.rounds.members(), [1, 2, 3, 4, 5].map(ClientId));
    assert_eq!(script.rounds.asked(), [1, 2, 3].map(ClientId));

    script.step(Event::Prepared(R1, Stage::Shares));
    assert_eq!(script.rounds.wake_at(), Some(script.now + STEP));
    assert_eq!(script.send(4, R1, Stage::Shares), [answer(4, R1, TWICE)], "it has no group");
    let closed = script.each_sends(&[1, 2, 3], R1, Stage::Shares);
    assert_eq!(closed, [answer(3, R1, ACCEPTED), advance(Stage::MaskedInput)]);
    script.step(Event::Prepared(R1, Stage::MaskedInput));
    let closed = script.each_sends(&[1, 2, 3], R1, Stage::MaskedInput);
    assert_eq!(closed, [answer(3, R1, ACCEPTED), advance(Stage::UnmaskingShares)]);
    script.step(Event::Prepared(R1, Stage::UnmaskingShares));
    let closed = script.each_sends(&[1, 2, 3], R1, Stage::UnmaskingShares);
    assert_eq!(closed, [answer(3, R1, ACCEPTED), Effect::Finalize(R1, counts(3, 3))]);
    assert_eq!((script.round(), script.phase()), (R2, RoundPhase::Collecting));

    let stored = script.step(Event::Stored(R1));
    assert_eq!(stored[0], Effect::Complete(R1));
    // One works and one waits, of four at a time.
    assert_eq!(invited(&stored).len(), 2);
}

#[test]
fn groups_follow_each_other_in_the_order_of_arrival() {
    let mut script = Script::new(EIGHT);
    script.join(8);
    script.each_sends(&[7, 3, 5], R1, Stage::Keys);
    assert_eq!(script.rounds.asked(), [3, 5, 7].map(ClientId));
    // More than a group wait for the end of the first.
    script.each_sends(&[8, 1, 6, 2], R1, Stage::Keys);
    script.group_ends(&[3, 5, 7], R1);
    let stored = script.step(Event::Stored(R1));
    let formed =
        [Effect::Complete(R1), Effect::Advance(R2, Stage::Shares), Effect::Open(round(3, 0))];
    assert_eq!(stored[..3], formed);
    assert_eq!(invited(&stored), [3, 5, 7], "from the model of the first");
    assert_eq!(script.rounds.asked(), [1, 6, 8].map(ClientId));
    assert_eq!(script.rounds.invitation(ClientId(6), R2), R1);
    // Their answers are for their invitations, and count in the second round.
    script.step(Event::Prepared(R2, Stage::Shares));
    assert_eq!(script.send(6, R2, Stage::Shares), [answer(6, R2, LATE)]);
    let closed = script.each_sends(&[6, 8, 1], R1, Stage::Shares);
    assert_eq!(closed[1], Effect::Advance(R2, Stage::MaskedInput));
}

#[test]
fn a_group_goes_on_without_those_who_leave_in_any_step() {
    for (stage, reported) in
        [(Stage::Shares, 2), (Stage::MaskedInput, 2), (Stage::UnmaskingShares, 3)]
    {
        let mut script = grouped(PLAN);
        script.group_at(&[1, 2, 3], R1, stage);
        assert_eq!(script.step(Event::Left(ClientId(1))), [], "{stage:?}");
        let mut last = script.each_sends(&[2, 3], R1, stage);
        for next in [Stage::MaskedInput, Stage::UnmaskingShares] {
            if next > stage {
                script.step(Event::Prepared(R1, next));
                last = script.each_sends(&[2, 3], R1, next);
            }
        }
        assert_eq!(last[1], Effect::Finalize(R1, counts(3, reported)), "{stage:?}");
    }
}

#[test]
fn a_group_with_too_few_survivors_fails_alone() {
    for stage in [Stage::Shares, Stage::MaskedInput] {
        let mut script = grouped(PLAN);
        script.send(4, R1, Stage::Keys);
        script.group_at(&[1, 2, 3], R1, stage);
        script.send(3, R1, stage);
        script.step(Event::Left(ClientId(1)));
        let again = round(1, 1);
        let failed = script.step(Event::Left(ClientId(2)));
        let invitation = Effect::Invite(ClientId(3), again, script.now + PLAN.deadline);
        assert_eq!(
            failed,
            [
                dismiss(3, R1),
                Effect::Abandon(R1, AbandonReason::TooFewSurvivors),
                Effect::Renumber { from: R2, to: again },
                invitation,
            ],
            "{stage:?}"
        );
        // The fourth still waits, and what it has learned counts.
        assert_eq!(script.rounds.progress().reported, 1);
        script.send(3, again, Stage::Keys);
        assert_eq!(invited(&script.step(joined(9))), [9]);
        let formed = script.send(9, again, Stage::Keys);
        assert_eq!(formed[1], Effect::Advance(again, Stage::Shares));
        assert_eq!(script.rounds.asked(), [3, 4, 9].map(ClientId));
    }
}

#[test]
fn a_group_that_cannot_be_prepared_or_stored_gives_its_number_to_the_open_round() {
    let again = round(1, 1);
    let mut script = grouped(PLAN);
    let failed = script.step(Event::NotPrepared(R1, Stage::Shares));
    let renumber = Effect::Renumber { from: R2, to: again };
    assert!(failed.contains(&Effect::Abandon(R1, AbandonReason::NotPrepared)), "{failed:?}");
    assert!(failed.contains(&renumber), "{failed:?}");
    assert_eq!(invited(&failed), [1, 2, 3]);

    let mut script = grouped(PLAN);
    script.group_ends(&[1, 2, 3], R1);
    let failed = script.step(Event::NotStored(R1));
    assert_eq!(failed[..2], [Effect::Abandon(R1, AbandonReason::NotStored), renumber]);
}

#[test]
fn a_client_that_is_lost_is_passed_over_until_it_is_back() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.each_sends(&[1, 2], R1, Stage::Keys);
    script.step(Event::Lost(ClientId(1)));
    assert_eq!(script.send(3, R1, Stage::Keys), [answer(3, R1, ACCEPTED)], "two are there");
    let back = script.step(Event::Returned(ClientId(1), Availability::Available));
    assert_eq!(back, [Effect::Advance(R1, Stage::Shares), Effect::Open(R2)]);

    // One that stays away is dismissed, and may be invited again.
    let mut script = Script::new(PLAN);
    script.join(4);
    script.each_sends(&[1, 2], R1, Stage::Keys);
    script.step(Event::Lost(ClientId(1)));
    assert_eq!(script.rounds.wake_at(), Some(script.now + GRACE));
    assert_eq!(script.wait(GRACE), [dismiss(1, R1)]);
    script.send(3, R1, Stage::Keys);
    assert_eq!(script.rounds.progress().reported, 2);
}

#[test]
fn a_client_that_gives_up_while_it_waits_is_in_no_group() {
    let gone = [
        Event::Left(ClientId(2)),
        Event::Declined(ClientId(2), R1),
        Event::Refused(ClientId(2), R1),
        Event::AvailabilityChanged(ClientId(2), Availability::Paused),
        Event::EligibilityChanged(ClientId(2), Eligibility::Spent),
    ];
    for event in gone {
        let mut script = Script::new(PLAN);
        script.join(4);
        script.each_sends(&[1, 2], R1, Stage::Keys);
        let dismissed = script.step(event);
        let is_spent = matches!(event, Event::EligibilityChanged(..));
        assert_eq!(dismissed.contains(&dismiss(2, R1)), is_spent, "{event:?}");
        script.send(3, R1, Stage::Keys);
        assert_eq!(script.phase(), RoundPhase::Collecting, "{event:?}");
        script.send(4, R1, Stage::Keys);
        assert_eq!(script.rounds.asked(), [1, 3, 4].map(ClientId), "{event:?}");
    }
}

#[test]
fn a_client_of_a_group_is_not_invited_before_its_end() {
    let mut script = grouped(PLAN);
    script.group_at(&[1, 2, 3], R1, Stage::MaskedInput);
    // It gives up, and its subject has spent its last participation on another.
    assert_eq!(script.step(Event::Declined(ClientId(1), R1)), []);
    assert_eq!(script.step(Event::EligibilityChanged(ClientId(2), Eligibility::Spent)), []);
    let closed = script.each_sends(&[2, 3], R1, Stage::MaskedInput);
    assert_eq!(closed[1], Effect::Advance(R1, Stage::UnmaskingShares));
    script.step(Event::Prepared(R1, Stage::UnmaskingShares));
    let closed = script.each_sends(&[2, 3], R1, Stage::UnmaskingShares);
    assert_eq!(closed[1], Effect::Finalize(R1, counts(3, 2)));
    assert_eq!(invited(&script.step(Event::Stored(R1))), [1, 3]);
}

#[test]
fn work_that_is_too_stale_for_the_next_group_is_dismissed() {
    let mode = Mode::Buffered { max_staleness: 1, staleness_exponent: 0.5 };
    let mut script = Script::new(RoundPlan { mode, ..EIGHT });
    script.join(8);
    script.each_sends(&[1, 2, 3], R1, Stage::Keys);
    // The fourth waits and is away, the eighth trains on.
    script.each_sends(&[4, 5, 6, 7], R1, Stage::Keys);
    script.step(Event::Lost(ClientId(4)));
    script.group_ends(&[1, 2, 3], R1);
    let formed = script.step(Event::Stored(R1));
    assert_eq!(script.rounds.asked(), [5, 6, 7].map(ClientId));
    assert!(formed.contains(&dismiss(4, R1)) && formed.contains(&dismiss(8, R1)), "{formed:?}");
    assert_eq!(script.send(8, R1, Stage::Keys), [answer(8, R1, STALE)]);
}

#[test]
fn the_deadline_forms_a_group_of_the_minimum() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.send(1, R1, Stage::Keys);
    script.step(Event::Left(ClientId(3)));
    script.step(Event::Left(ClientId(4)));
    let over = script.wait(PLAN.deadline);
    assert_eq!(invited(&over), [2], "its invitation is over, and one alone is no group");
    let again = script.round();
    let formed = script.send(2, again, Stage::Keys);
    assert_eq!(formed[1], Effect::Advance(again, Stage::Shares));
    assert_eq!(script.rounds.asked(), [1, 2].map(ClientId));
    assert_eq!(script.rounds.invitation(ClientId(1), again), R1);
}

#[test]
fn a_budget_that_a_group_spends_ends_the_open_round_and_not_the_group() {
    let mut script = grouped(PLAN);
    script.send(4, R1, Stage::Keys);
    script.group_at(&[1, 2, 3], R1, Stage::MaskedInput);
    let spent = script.step(Event::BudgetSpent);
    assert_eq!(spent, [dismiss(4, R1), Effect::Abandon(R2, AbandonReason::BudgetSpent)]);
    script.each_sends(&[1, 2, 3], R1, Stage::MaskedInput);
    script.step(Event::Prepared(R1, Stage::UnmaskingShares));
    let closed = script.each_sends(&[1, 2, 3], R1, Stage::UnmaskingShares);
    assert_eq!(closed[1], Effect::Finalize(R1, counts(3, 3)));
    assert_eq!(script.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert!(script.rounds.is_finished());
}

#[test]
fn a_stop_and_a_roll_back_end_the_group_and_the_open_round() {
    let mut script = grouped(PLAN);
    script.send(4, R1, Stage::Keys);
    let abandon = Effect::Abandon;
    let dismissed = [dismiss(4, R1), dismiss(1, R1), dismiss(2, R1), dismiss(3, R1)];
    let mut stopped = script.rounds.clone();
    let effects =
        stopped.step(Event::Operated(Operation::Stop), script.now, &mut StdRng::seed_from_u64(1));
    let reason = AbandonReason::Stopped;
    for effect in dismissed.iter().chain(&[abandon(R2, reason), abandon(R1, reason)]) {
        assert!(effects.contains(effect), "{effects:?}");
    }
    assert!(stopped.is_finished());

    let effects = script.step(Event::Restored(1));
    let reason = AbandonReason::RolledBack;
    for effect in dismissed.iter().chain(&[abandon(R2, reason), abandon(R1, reason)]) {
        assert!(effects.contains(effect), "{effects:?}");
    }
    assert_eq!(script.round().round, 2);
}

#[test]
fn a_pause_lets_those_who_wait_make_a_last_group() {
    let mut script = Script::new(PLAN);
    script.join(4);
    script.each_sends(&[1, 2], R1, Stage::Keys);
    assert_eq!(script.operate(Operation::Pause), [], "two are at work");
    script.step(Event::Left(ClientId(3)));
    let last = script.step(Event::Left(ClientId(4)));
    assert_eq!(last, [Effect::Advance(R1, Stage::Shares)]);
    let closed = script.group_ends(&[1, 2], R1);
    assert_eq!(closed[1], Effect::Finalize(R1, counts(4, 2)));
    assert_eq!(script.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert_eq!(script.phase(), RoundPhase::Paused);
}

#[test]
fn a_task_that_starts_again_knows_no_group() {
    let mut script = Script::after(Rounds::new(PLAN, 1, 1, Budget::Left, Standing::Running));
    script.join(4);
    let opened = script.wait(PLAN.selection_window);
    assert_eq!(opened[0], Effect::Open(round(2, 1)), "after the attempt that was paid for");
    assert_eq!(script.send(1, R2, Stage::Shares), [answer(1, R2, LATE)]);
}

#[test]
fn a_client_that_leaves_after_it_waited_through_a_renewal_is_invited_again() {
    let mut script = Script::new(RoundPlan { minimum_reports: 3, ..PLAN });
    script.join(4);
    script.each_sends(&[1, 2], R1, Stage::Keys);
    let renumber = |from, to| Effect::Renumber { from: round(1, from), to: round(1, to) };
    assert!(script.wait(PLAN.deadline).contains(&renumber(0, 1)));
    script.step(Event::Left(ClientId(1)));
    script.step(joined(1));
    let over = script.wait(PLAN.deadline);
    assert!(over.contains(&renumber(1, 2)));
    assert!(invited(&over).contains(&1), "{over:?}");
}
