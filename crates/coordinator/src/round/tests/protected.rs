//! Rounds with a privacy policy: debits, and the stages of secure aggregation.

use super::*;

#[test]
fn secure_aggregation_from_keys_to_the_model() {
    let mut script = Script::new(SECURE);
    script.join(4);
    assert_eq!(script.send(1, R1, Stage::Update), [answer(1, R1, WRONG_STEP)]);
    let closed = script.all_send(&[1, 2, 3], Stage::Keys);
    let advance = |stage| Effect::Advance(R1, stage);
    assert_eq!(closed, [answer(3, R1, ACCEPTED), dismiss(4, R1), advance(Stage::Shares)]);
    assert_eq!(script.phase(), RoundPhase::Sharing);
    // No client has been asked yet.
    assert_eq!(script.rounds.wake_at(), None);
    assert_eq!(script.send(1, R1, Stage::Shares), [answer(1, R1, WRONG_STEP)]);

    script.prepare(Stage::Shares);
    assert_eq!(script.rounds.wake_at(), Some(script.now + STEP));
    assert_eq!(script.send(1, R1, Stage::MaskedInput), [answer(1, R1, WRONG_STEP)]);
    script.all_send(&[1, 2], Stage::Shares);
    assert_eq!(script.send(2, R1, Stage::Shares), [answer(2, R1, TWICE)]);
    let closed = script.send(3, R1, Stage::Shares);
    assert_eq!(closed, [answer(3, R1, ACCEPTED), advance(Stage::MaskedInput)]);
    assert_eq!(script.phase(), RoundPhase::Masking);

    script.prepare(Stage::MaskedInput);
    script.all_send(&[1, 2], Stage::MaskedInput);
    // The third leaves: no client is waited for.
    let closed = script.step(Event::Left(ClientId(3)));
    assert_eq!(closed, [advance(Stage::UnmaskingShares)]);
    assert_eq!(script.rounds.members(), [ClientId(1), ClientId(2)]);

    script.prepare(Stage::UnmaskingShares);
    script.send(1, R1, Stage::UnmaskingShares);
    // One answer is missing at the deadline: the sum is tried with the other.
    let closed = script.wait(STEP);
    let counts = RoundCounts { cohort: 4, reported: 2, weight: 2 };
    assert_eq!(closed, [dismiss(2, R1), Effect::Finalize(R1, counts)]);
    let progress = script.rounds.progress();
    assert_eq!((progress.cohort, progress.reported, progress.left), (4, 2, 2));
    assert_eq!(script.step(Event::Stored(R1))[0], Effect::Complete(R1));
}

#[test]
fn a_secure_round_without_enough_survivors_is_abandoned_at_once() {
    for stage in [Stage::Shares, Stage::MaskedInput] {
        let mut script = Script::new(SECURE);
        script.join(4);
        script.all_send(&[1, 2, 3], Stage::Keys);
        script.prepare(Stage::Shares);
        if stage == Stage::MaskedInput {
            script.all_send(&[1, 2, 3], Stage::Shares);
            script.prepare(Stage::MaskedInput);
        }
        assert_eq!(script.step(Event::Left(ClientId(1))), []);
        let effects = script.step(Event::Left(ClientId(2)));
        let abandoned = Effect::Abandon(R1, AbandonReason::TooFewSurvivors);
        assert_eq!(effects, [dismiss(3, R1), abandoned], "{stage:?}");
        assert_eq!(script.phase(), RoundPhase::Selecting);
    }
}

#[test]
fn a_worthless_answer_is_struck_and_a_stage_that_fails_ends_the_attempt() {
    let mut script = Script::new(SECURE);
    script.join(4);
    script.all_send(&[1, 2, 3], Stage::Keys);
    script.prepare(Stage::Shares);
    script.all_send(&[1, 2], Stage::Shares);
    assert_eq!(script.step(Event::Refused(ClientId(1), R1)), []);
    script.send(3, R1, Stage::Shares);
    assert_eq!(script.rounds.members(), [ClientId(2), ClientId(3)]);
    let effects = script.step(Event::NotPrepared(R1, Stage::MaskedInput));
    let abandoned = Effect::Abandon(R1, AbandonReason::NotPrepared);
    assert_eq!(effects[..3], [dismiss(2, R1), dismiss(3, R1), abandoned]);
    // News of a stage that is over changes nothing.
    assert_eq!(script.step(Event::Prepared(R1, Stage::MaskedInput)), []);
}

#[test]
fn a_client_without_enough_neighbours_is_struck_and_has_not_failed() {
    let mut script = Script::new(SECURE);
    script.join(4);
    script.all_send(&[1, 2, 3], Stage::Keys);
    script.prepare(Stage::Shares);
    script.all_send(&[1, 2, 3], Stage::Shares);
    let failures = |effects: &[Effect]| {
        effects.iter().filter(|effect| matches!(effect, Effect::Failed(..))).count()
    };
    let excluded = script.step_with_notes(Event::Excluded(ClientId(1), R1));
    assert_eq!(failures(&excluded), 0, "{excluded:?}");
    script.prepare(Stage::MaskedInput);
    // The stage is over without it.
    script.send(2, R1, Stage::MaskedInput);
    script.send(3, R1, Stage::MaskedInput);
    assert_eq!(script.rounds.members(), [ClientId(2), ClientId(3)]);
    let refused = script.step_with_notes(Event::Refused(ClientId(2), R1));
    assert_eq!(failures(&refused), 1, "{refused:?}");
}

#[test]
fn who_has_answered_and_left_counts_but_is_not_waited_for() {
    let mut script = Script::new(SECURE);
    script.join(4);
    script.all_send(&[1, 2], Stage::Keys);
    script.step(Event::Left(ClientId(1)));
    script.send(3, R1, Stage::Keys);
    assert_eq!(script.rounds.members(), [ClientId(2), ClientId(3)]);
    script.prepare(Stage::Shares);
    script.all_send(&[2, 3], Stage::Shares);
    script.prepare(Stage::MaskedInput);
    script.send(2, R1, Stage::MaskedInput);
    script.step(Event::Left(ClientId(2)));
    script.send(3, R1, Stage::MaskedInput);
    assert_eq!(script.rounds.members(), [ClientId(3)]);
    let progress = script.rounds.progress();
    assert_eq!((progress.cohort, progress.reported, progress.left), (4, 2, 2));
    script.prepare(Stage::UnmaskingShares);
    let closed = script.send(3, R1, Stage::UnmaskingShares);
    // Both are in the sum.
    let counts = RoundCounts { cohort: 4, reported: 2, weight: 2 };
    assert_eq!(closed[1], Effect::Finalize(R1, counts));
}

#[test]
fn nobody_is_invited_before_the_debit_is_durable() {
    let mut script = Script::new(RoundPlan { protection: Protection::DebitFirst, ..PLAN });
    let effects = script.join(4);
    assert_eq!(effects, [Effect::Open(R1), Effect::Advance(R1, Stage::Update)]);
    assert_eq!(script.rounds.members().len(), 4);
    assert_eq!(script.rounds.wake_at(), None);
    assert_eq!(script.report(2, R1), [answer(2, R1, WRONG_STEP)]);
    script.step(Event::Left(ClientId(1)));
    let invite = |id| Effect::Invite(ClientId(id), R1, Time(PLAN.deadline));
    assert_eq!(script.prepare(Stage::Update), [invite(2), invite(3), invite(4)]);

    let mut script = Script::new(RoundPlan { protection: Protection::DebitFirst, ..PLAN });
    script.join(4);
    let effects = script.step(Event::NotPrepared(R1, Stage::Update));
    assert_eq!(effects[0], Effect::Abandon(R1, AbandonReason::NotPrepared));
}

#[test]
fn a_spent_budget_ends_the_task_after_the_attempt_it_paid_for() {
    let mut script = Script::new(SECURE);
    script.join(4);
    script.all_send(&[1, 2, 3], Stage::Keys);
    script.prepare(Stage::Shares);
    script.all_send(&[1, 2, 3], Stage::Shares);
    script.step(Event::BudgetSpent);
    script.prepare(Stage::MaskedInput);
    let mut abandoned = script.rounds.clone();
    script.all_send(&[1, 2, 3], Stage::MaskedInput);
    script.prepare(Stage::UnmaskingShares);
    script.all_send(&[1, 2, 3], Stage::UnmaskingShares);
    assert_eq!(script.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert!(script.rounds.is_finished());
    assert_eq!(script.rounds.progress().round, round(1, 0));

    // An attempt that fails has cost the budget all the same.
    for id in 1..=3 {
        let event = Event::Left(ClientId(id));
        abandoned.step(event, script.now, &mut script.rng);
    }
    assert!(abandoned.is_finished());
    assert!(Rounds::new(SECURE, 3, 0, Budget::Spent, Standing::Running).is_finished());
    let mut waiting = Script::new(SECURE);
    waiting.step(Event::BudgetSpent);
    assert!(waiting.rounds.is_finished());
}

#[test]
fn a_subject_that_rests_is_invited_again_when_its_round_comes() {
    let mut script = Script::new(PLAN);
    script.join(1);
    // A client of a subject that has taken part joins. It does not make up the cohort.
    let event = Event::Joined {
        client: ClientId(3),
        availability: Availability::Available,
        eligibility: Eligibility::Rests(3),
        record: Record::default(),
    };
    assert_eq!(script.step(event), []);
    assert_eq!(script.wait(PLAN.selection_window), []);
    let mut effects = script.step(joined(2));
    for (number, expected) in [(1, vec![1, 2]), (2, vec![1, 2]), (3, vec![1, 2, 3])] {
        let round = round(number, 0);
        effects.extend(script.wait(PLAN.selection_window));
        assert_eq!(invited(&effects), expected, "{round}");
        for id in expected {
            script.report(id, round);
        }
        effects = script.step(Event::Stored(round));
    }
}

#[test]
fn a_subject_that_is_spent_is_not_invited_again() {
    let mut script = Script::new(PLAN);
    script.join(2);
    script.step(Event::EligibilityChanged(ClientId(1), Eligibility::Spent));
    assert_eq!(script.wait(PLAN.selection_window), []);
    script.step(Event::AvailabilityChanged(ClientId(1), Availability::Available));
    assert_eq!(script.wait(PLAN.selection_window), []);
    script.step(joined(3));
    let effects = script.wait(PLAN.selection_window);
    assert_eq!(effects.len(), 3, "{effects:?}");
}
