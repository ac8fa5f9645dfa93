//! Buffered rounds under a policy whose debits are made when they close: a client is in a
//! round at most once, and a budget that is spent ends the open one.

use super::*;

const PLAN: RoundPlan = RoundPlan { protection: Protection::DebitLast, ..BUFFERED };

fn accepted(id: u64, round: RoundId, staleness: u32) -> Effect {
    Effect::Answer { client: ClientId(id), round, verdict: ACCEPTED, staleness }
}

/// Clients 1 to 4 are at work on the first round, and the first three have reported: the
/// round is being stored.
fn storing(plan: RoundPlan) -> Script {
    let mut script = Script::new(plan);
    assert_eq!(invited(&script.join(4)), [1, 2, 3, 4]);
    (1..=3).for_each(|id| drop(script.report(id, R1)));
    assert_eq!(script.round(), R2);
    script
}

#[test]
fn a_client_counts_at_most_once_in_a_round() {
    for (protection, next) in
        [(Protection::None, vec![1, 2, 3, 4]), (Protection::DebitLast, vec![1, 2, 3])]
    {
        let mut script = storing(RoundPlan { protection, ..PLAN });
        assert_eq!(script.report(4, R1), [accepted(4, R1, 1)], "in the second round");
        assert_eq!(invited(&script.step(Event::Stored(R1))), next, "{protection:?}");
        assert_eq!(script.rounds.progress().available, next.len());
        assert_eq!(script.rounds.members().len(), 4, "those at work, and who has counted");
    }
}

#[test]
fn a_client_that_has_counted_is_invited_to_the_next_round() {
    let mut script = storing(PLAN);
    script.report(4, R1);
    script.step(Event::Stored(R1));
    script.report(1, R2);
    let closed = script.report(2, R2);
    assert!(closed.contains(&Effect::Open(round(3, 0))), "{closed:?}");
    // 3 is still at work.
    assert_eq!(invited(&script.step(Event::Stored(R2))), [1, 2, 4]);
}

#[test]
fn a_lost_client_that_comes_back_is_still_known_to_have_counted() {
    let mut script = storing(PLAN);
    script.report(4, R1);
    script.step(Event::Lost(ClientId(4)));
    script.step(Event::Stored(R1));
    let back = script.step(Event::Returned(ClientId(4), Availability::Available));
    assert_eq!(back, []);
    script.step(Event::Left(ClientId(4)));
    assert_eq!(script.step(joined(4)), [], "by the same name");
}

#[test]
fn a_client_that_has_counted_is_not_sent_away() {
    let plan = RoundPlan { invited: 3, report_goal: 2, waiting_room: Some(0), ..PLAN };
    let mut script = Script::new(plan);
    script.join(3);
    script.report(1, R1);
    script.report(2, R1);
    assert_eq!(script.report(3, R1), [accepted(3, R1, 1)]);
    let effects = script.step(Event::Stored(R1));
    assert_eq!(invited(&effects), [1, 2]);
    let is_sent_away = |effect: &Effect| matches!(effect, Effect::SendAway(..));
    assert!(!effects.iter().any(is_sent_away), "{effects:?}");
}

#[test]
fn a_round_closes_with_fewer_reports_at_its_deadline_and_waits_for_others_otherwise() {
    let mut script = Script::new(PLAN);
    assert!(invited(&script.join(2)).is_empty());
    let opened = script.wait(PLAN.selection_window);
    assert_eq!(invited(&opened), [1, 2]);
    assert_eq!(script.report(1, R1), [accepted(1, R1, 0)]);
    assert_eq!(script.report(2, R1), [accepted(2, R1, 0)]);
    // The goal is three, and neither may count again.
    let closed = script.wait(PLAN.deadline);
    assert!(closed.contains(&finalize(R1, 2, 2)), "{closed:?}");
}

#[test]
fn a_budget_that_is_spent_ends_the_open_round_and_not_the_one_that_is_paid_for() {
    let mut script = storing(PLAN);
    let spent = script.step(Event::BudgetSpent);
    assert_eq!(spent, [dismiss(4, R1), Effect::Abandon(R2, AbandonReason::BudgetSpent)]);
    assert_eq!(script.report(4, R1), [answer(4, R1, LATE)]);
    assert_eq!(script.step(Event::Stored(R1)), [Effect::Complete(R1)]);
    assert!(script.rounds.is_finished());
}

#[test]
fn a_round_with_its_goal_is_not_made_once_the_budget_is_spent() {
    let mut script = Script::new(RoundPlan { invited: 6, minimum_cohort: 6, ..PLAN });
    script.join(6);
    (1..=6).for_each(|id| drop(script.report(id, R1)));
    assert_eq!(script.rounds.progress().reported, 3, "in the second round");
    let spent = script.step(Event::BudgetSpent);
    assert_eq!(spent, [Effect::Abandon(R2, AbandonReason::BudgetSpent)]);
    assert_eq!(
        script.step(Event::NotStored(R1)),
        [Effect::Abandon(R1, AbandonReason::NotStored)],
        "its debit was the last"
    );
    assert!(script.rounds.is_finished());
}

#[test]
fn a_client_whose_subject_has_no_participation_left_is_dismissed_from_its_work() {
    let mut script = storing(PLAN);
    let spent = script.step(Event::EligibilityChanged(ClientId(4), Eligibility::Spent));
    assert_eq!(spent, [dismiss(4, R1)]);
    assert_eq!(script.report(4, R1), [answer(4, R1, NOT_INVITED)]);
    assert_eq!(invited(&script.step(Event::Stored(R1))), [1, 2, 3]);
}
