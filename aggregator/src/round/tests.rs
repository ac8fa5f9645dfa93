//! The machine's histories, told event by event, and properties of random ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const PLAN: RoundPlan = RoundPlan {
    invited: 4,
    minimum_cohort: 2,
    selection_window: Duration::from_millis(500),
    report_goal: 3,
    minimum_reports: 2,
    deadline: Duration::from_secs(60),
    max_weight: 100,
    rounds: None,
    protection: Protection::None,
};

const STEP: Duration = Duration::from_secs(5);

/// The same with secure aggregation.
const SECURE: RoundPlan =
    RoundPlan { protection: Protection::Secure { step_deadline: STEP }, ..PLAN };

/// A machine with a clock that only the test moves.
struct Script {
    rounds: Rounds,
    now: Time,
    rng: StdRng,
}

impl Script {
    fn new(plan: RoundPlan) -> Self {
        let rounds = Rounds::new(plan, 0, 0, Budget::Left);
        Self { rounds, now: Time::default(), rng: StdRng::seed_from_u64(7) }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let (rounds, effects) = self.rounds.clone().step(event, self.now, &mut self.rng);
        self.rounds = rounds;
        effects
    }

    fn wait(&mut self, duration: Duration) -> Vec<Effect> {
        self.now = self.now + duration;
        self.step(Event::TimePassed)
    }

    /// Joins clients 1 to `count`; the effects of the last one.
    fn join(&mut self, count: u64) -> Vec<Effect> {
        (1..=count).map(|id| self.step(Event::Joined(ClientId(id)))).last().unwrap_or_default()
    }

    fn report(&mut self, id: u64, round: RoundId) -> Vec<Effect> {
        self.send(id, round, Stage::Update)
    }

    fn send(&mut self, id: u64, round: RoundId, stage: Stage) -> Vec<Effect> {
        self.step(Event::Reported { client: ClientId(id), round, stage, weight: 10 })
    }

    /// All of `ids` answer; the effects of the last one.
    fn all_send(&mut self, ids: &[u64], stage: Stage) -> Vec<Effect> {
        ids.iter().map(|id| self.send(*id, R1, stage)).last().unwrap_or_default()
    }

    /// The stage's requests are on their way.
    fn prepare(&mut self, stage: Stage) -> Vec<Effect> {
        self.step(Event::Prepared(R1, stage))
    }

    fn phase(&self) -> RoundPhase {
        self.rounds.progress().phase
    }
}

const fn round(round: u64, attempt: u32) -> RoundId {
    RoundId { round, attempt }
}

fn answer(id: u64, round: RoundId, verdict: UpdateVerdict) -> Effect {
    Effect::Answer(ClientId(id), round, verdict)
}

const ACCEPTED: UpdateVerdict = UpdateVerdict::Accepted;
const LATE: UpdateVerdict = UpdateVerdict::Discarded(UpdateFault::RoundOver);
const R1: RoundId = round(1, 0);

#[test]
fn a_round_from_selection_to_the_next() {
    let mut script = Script::new(PLAN);
    assert_eq!(script.join(3), []);
    assert_eq!(script.rounds.wake_at(), Some(Time(PLAN.selection_window)));
    let deadline = Time(PLAN.deadline);
    let started = script.step(Event::Joined(ClientId(4)));
    let invite = |id| Effect::Invite(ClientId(id), R1, deadline);
    assert_eq!(started, [Effect::Open(R1), invite(1), invite(2), invite(3), invite(4)]);
    assert_eq!(script.rounds.wake_at(), Some(deadline));

    assert_eq!(script.report(1, R1), [answer(1, R1, ACCEPTED)]);
    assert_eq!(script.report(2, R1), [answer(2, R1, ACCEPTED)]);
    assert_eq!(
        script.report(3, R1),
        [answer(3, R1, ACCEPTED), Effect::Dismiss(ClientId(4), R1), Effect::Finalize(R1)]
    );
    let progress = script.rounds.progress();
    assert_eq!((progress.cohort, progress.reported, progress.weight), (4, 3, 30));
    assert_eq!(script.report(4, R1), [answer(4, R1, LATE)]);

    let next = script.step(Event::Stored(R1));
    assert_eq!(next[..2], [Effect::Complete(R1), Effect::Open(round(2, 0))]);
    assert_eq!(script.phase(), RoundPhase::Collecting);
    assert_eq!(script.report(4, R1), [answer(4, R1, LATE)]);
}

const WRONG_STEP: UpdateVerdict = UpdateVerdict::Rejected(UpdateFault::WrongStep);

#[test]
fn secure_aggregation_from_keys_to_the_model() {
    let mut script = Script::new(SECURE);
    script.join(4);
    assert_eq!(script.send(1, R1, Stage::Update), [answer(1, R1, WRONG_STEP)]);
    let closed = script.all_send(&[1, 2, 3], Stage::Keys);
    let advance = |stage| Effect::Advance(R1, stage);
    assert_eq!(
        closed,
        [answer(3, R1, ACCEPTED), Effect::Dismiss(ClientId(4), R1), advance(Stage::Shares)]
    );
    assert_eq!(script.phase(), RoundPhase::Sharing);
    // Nobody has been asked yet.
    assert_eq!(script.rounds.wake_at(), None);
    assert_eq!(script.send(1, R1, Stage::Shares), [answer(1, R1, WRONG_STEP)]);

    script.prepare(Stage::Shares);
    assert_eq!(script.rounds.wake_at(), Some(script.now + STEP));
    assert_eq!(script.send(1, R1, Stage::MaskedInput), [answer(1, R1, WRONG_STEP)]);
    script.all_send(&[1, 2], Stage::Shares);
    let twice = UpdateVerdict::Rejected(UpdateFault::Duplicate);
    assert_eq!(script.send(2, R1, Stage::Shares), [answer(2, R1, twice)]);
    let closed = script.send(3, R1, Stage::Shares);
    assert_eq!(closed, [answer(3, R1, ACCEPTED), advance(Stage::MaskedInput)]);
    assert_eq!(script.phase(), RoundPhase::Masking);

    script.prepare(Stage::MaskedInput);
    script.all_send(&[1, 2], Stage::MaskedInput);
    // The third leaves: nobody is waited for.
    let closed = script.step(Event::Left(ClientId(3)));
    assert_eq!(closed, [advance(Stage::UnmaskingShares)]);
    assert_eq!(script.rounds.members(), [ClientId(1), ClientId(2)]);

    script.prepare(Stage::UnmaskingShares);
    script.send(1, R1, Stage::UnmaskingShares);
    // One answer is missing at the deadline: the sum is tried with the other.
    let closed = script.wait(STEP);
    assert_eq!(closed, [Effect::Dismiss(ClientId(2), R1), Effect::Finalize(R1)]);
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
        assert_eq!(effects, [Effect::Dismiss(ClientId(3), R1), abandoned], "{stage:?}");
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
    assert_eq!(effects[0], Effect::Abandon(R1, AbandonReason::NotPrepared));
    // News of a stage that is over changes nothing.
    assert_eq!(script.step(Event::Prepared(R1, Stage::MaskedInput)), []);
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
    script.prepare(Stage::UnmaskingShares);
    let closed = script.send(3, R1, Stage::UnmaskingShares);
    assert_eq!(closed[1], Effect::Finalize(R1));
    assert_eq!(script.rounds.progress().reported, 2, "both are in the sum");
}

#[test]
fn a_restart_goes_on_with_the_next_attempt() {
    let rounds = Rounds::new(PLAN, 4, 3, Budget::Left);
    assert_eq!(rounds.progress().round, round(5, 3));
}

#[test]
fn nobody_is_invited_before_the_debit_is_durable() {
    let mut script = Script::new(RoundPlan { protection: Protection::DebitFirst, ..PLAN });
    let effects = script.join(4);
    assert_eq!(effects, [Effect::Open(R1), Effect::Advance(R1, Stage::Update)]);
    assert_eq!(script.rounds.members().len(), 4);
    assert_eq!(script.rounds.wake_at(), None);
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
        abandoned = abandoned.step(event, script.now, &mut script.rng).0;
    }
    assert!(abandoned.is_finished());
    assert!(Rounds::new(SECURE, 3, 0, Budget::Spent).is_finished());
    let mut waiting = Script::new(SECURE);
    waiting.step(Event::BudgetSpent);
    assert!(waiting.rounds.is_finished());
}

#[test]
fn a_subject_that_is_spent_is_not_invited_again() {
    let mut script = Script::new(PLAN);
    script.join(2);
    script.step(Event::ParticipationsSpent(ClientId(1)));
    assert_eq!(script.wait(PLAN.selection_window), []);
    script.step(Event::AvailabilityChanged(ClientId(1), Availability::Available));
    assert_eq!(script.wait(PLAN.selection_window), []);
    script.step(Event::Joined(ClientId(3)));
    let effects = script.wait(PLAN.selection_window);
    assert_eq!(effects.len(), 3, "{effects:?}");
}

#[test]
fn the_selection_window_starts_anew_when_the_minimum_is_lost() {
    let mut script = Script::new(PLAN);
    script.join(2);
    assert_eq!(script.wait(Duration::from_millis(400)), []);
    script.step(Event::Left(ClientId(1)));
    assert_eq!(script.rounds.wake_at(), None);
    script.wait(Duration::from_millis(400));
    script.step(Event::Joined(ClientId(3)));
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
    let gone = UpdateVerdict::Rejected(UpdateFault::NotInCohort);
    assert_eq!(script.report(2, R1), [answer(2, R1, gone)]);
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
        assert_eq!(script.step(last), [Effect::Finalize(R1)], "{last:?}");
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
    assert_eq!(abandoned, [Effect::Dismiss(ClientId(4), R1), Effect::Abandon(R1, reason)]);
    assert_eq!(script.rounds.progress().round, round(1, 1));
}

#[test]
fn the_deadline_completes_or_abandons() {
    for (reports, expected) in
        [(2, Effect::Finalize(R1)), (1, Effect::Abandon(R1, AbandonReason::TooFewReports))]
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
    let mut script = Script::new(PLAN);
    script.join(4);
    (1..=3).for_each(|id| drop(script.report(id, R1)));
    assert_eq!(script.step(Event::Stored(round(9, 0))), []);
    let effects = script.step(Event::NotStored(R1));
    assert_eq!(effects, [Effect::Abandon(R1, AbandonReason::NotStored)]);
    assert_eq!(script.rounds.progress().round, round(1, 1));
}

#[test]
fn odd_reports_get_typed_answers() {
    let mut script = Script::new(PLAN);
    let unknown = UpdateVerdict::Rejected(UpdateFault::UnknownRound);
    assert_eq!(script.report(1, R1), [answer(1, R1, unknown)]);
    script.join(4);
    let rejected = UpdateVerdict::Rejected;
    assert_eq!(script.report(9, R1), [answer(9, R1, rejected(UpdateFault::NotInCohort))]);
    assert_eq!(script.report(1, round(2, 0)), [answer(1, round(2, 0), unknown)]);
    assert_eq!(script.report(1, round(1, 1)), [answer(1, round(1, 1), unknown)]);
    script.report(1, R1);
    assert_eq!(script.report(1, R1), [answer(1, R1, rejected(UpdateFault::Duplicate))]);
    for weight in [0, 101] {
        let mut script = Script::new(PLAN);
        script.join(4);
        let event =
            Event::Reported { client: ClientId(2), round: R1, stage: Stage::Update, weight };
        let verdict = rejected(UpdateFault::WeightOutOfRange);
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
    let revived = Rounds::new(RoundPlan { rounds: Some(1), ..PLAN }, 1, 0, Budget::Left);
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
        (1..=20).for_each(|id| script.rounds.pool.apply(Event::Joined(ClientId(id))));
        script.step(Event::TimePassed)
    };
    assert_eq!(cohort(1).len(), 5);
    assert_eq!(cohort(1), cohort(1));
    let different: BTreeSet<String> = (0..20).map(|seed| format!("{:?}", cohort(seed))).collect();
    assert!(different.len() > 10);
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Join(u64),
    Leave(u64),
    Pause(u64),
    Resume(u64),
    Decline(u64),
    Refuse(u64),
    Report(u64, u64),
    ReportOld(u64),
    Store,
    Fail,
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let id = || 1_u64..8;
    let one = prop_oneof![
        4 => id().prop_map(Move::Join),
        2 => id().prop_map(Move::Leave),
        1 => id().prop_map(Move::Pause),
        1 => id().prop_map(Move::Resume),
        1 => id().prop_map(Move::Decline),
        1 => id().prop_map(Move::Refuse),
        8 => (id(), 0_u64..102).prop_map(|(id, weight)| Move::Report(id, weight)),
        1 => id().prop_map(Move::ReportOld),
        2 => Just(Move::Store),
        1 => Just(Move::Fail),
        3 => (0_u64..70_000).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..200)
}

fn event(step: Move, current: RoundId) -> Event {
    let old = RoundId { round: current.round.saturating_sub(1), attempt: 0 };
    match step {
        Move::Join(id) => Event::Joined(ClientId(id)),
        Move::Leave(id) => Event::Left(ClientId(id)),
        Move::Pause(id) => Event::AvailabilityChanged(ClientId(id), Availability::Paused),
        Move::Resume(id) => Event::AvailabilityChanged(ClientId(id), Availability::Available),
        Move::Decline(id) => Event::Declined(ClientId(id), current),
        Move::Refuse(id) => Event::Refused(ClientId(id), current),
        Move::Report(id, weight) => {
            Event::Reported { client: ClientId(id), round: current, stage: Stage::Update, weight }
        }
        Move::ReportOld(id) => {
            Event::Reported { client: ClientId(id), round: old, stage: Stage::Update, weight: 1 }
        }
        Move::Store => Event::Stored(current),
        Move::Fail => Event::NotStored(current),
        Move::Wait(_) => Event::TimePassed,
    }
}

proptest! {
    #[test]
    fn random_histories_keep_the_promises(moves in moves(), seed in any::<u64>()) {
        let mut script = Script::new(RoundPlan { rounds: Some(5), ..PLAN });
        script.rng = StdRng::seed_from_u64(seed);
        // Per attempt: who was invited, and who was accepted.
        let mut invited: BTreeMap<RoundId, BTreeSet<ClientId>> = BTreeMap::new();
        let mut accepted: BTreeMap<RoundId, BTreeSet<ClientId>> = BTreeMap::new();
        let mut closed: BTreeSet<RoundId> = BTreeSet::new();
        let mut completed = 0;
        for step in moves {
            if let Move::Wait(ms) = step {
                script.now = script.now + Duration::from_millis(ms);
            }
            let current = script.rounds.progress().round;
            let event = event(step, current);
            let effects = script.step(event);
            let mut answers = 0;
            for effect in effects {
                match effect {
                    Effect::Open(round) => {
                        prop_assert!(invited.insert(round, BTreeSet::new()).is_none());
                    }
                    Effect::Invite(client, round, _) => {
                        prop_assert!(invited.get_mut(&round).expect("open").insert(client));
                        prop_assert!(invited[&round].len() <= PLAN.invited);
                    }
                    Effect::Answer(client, round, verdict) => {
                        answers += 1;
                        if verdict == UpdateVerdict::Accepted {
                            prop_assert!(!closed.contains(&round));
                            prop_assert!(invited[&round].contains(&client));
                            prop_assert!(accepted.entry(round).or_default().insert(client), "twice");
                        }
                    }
                    Effect::Dismiss(client, round) => {
                        prop_assert!(invited[&round].contains(&client));
                    }
                    Effect::Advance(..)
                    | Effect::Abandon(
                        _,
                        AbandonReason::TooFewSurvivors | AbandonReason::NotPrepared,
                    ) => prop_assert!(false, "the plan has no such stage"),
                    Effect::Finalize(round) => {
                        prop_assert!(accepted[&round].len() >= PLAN.minimum_reports);
                        prop_assert!(accepted[&round].len() <= PLAN.report_goal);
                        prop_assert!(closed.insert(round));
                    }
                    Effect::Complete(round) => {
                        completed += 1;
                        prop_assert_eq!(round.round, completed);
                        prop_assert!(closed.contains(&round));
                    }
                    Effect::Abandon(round, AbandonReason::TooFewReports) => {
                        prop_assert!(closed.insert(round));
                    }
                    Effect::Abandon(round, AbandonReason::NotStored) => {
                        prop_assert!(closed.contains(&round));
                    }
                }
            }
            // What turns out to be worthless before the round closes is left out.
            if let Event::Refused(client, round) = event
                && !closed.contains(&round)
                && let Some(accepted) = accepted.get_mut(&round)
            {
                accepted.remove(&client);
            }
            // Every report is answered exactly once, nothing else is.
            prop_assert_eq!(answers, usize::from(matches!(event, Event::Reported { .. })));
            // Nobody waits beyond what the clock allows.
            if let Some(wake) = script.rounds.wake_at() {
                prop_assert!(wake > script.now, "{:?} {:?}", wake, script.now);
            }
            let progress = script.rounds.progress();
            if let Some(deadline) = progress.deadline {
                prop_assert!(deadline > script.now);
                prop_assert!(progress.reported + progress.left < progress.cohort);
            }
        }
    }

    #[test]
    fn every_round_ends_by_its_deadline(moves in moves(), seed in any::<u64>()) {
        let mut script = Script::new(PLAN);
        script.rng = StdRng::seed_from_u64(seed);
        for step in moves {
            let current = script.rounds.progress().round;
            script.step(event(step, current));
        }
        let before = script.rounds.progress();
        script.wait(PLAN.deadline);
        let after = script.rounds.progress();
        let stuck = before.phase == RoundPhase::Collecting
            && after.phase == RoundPhase::Collecting
            && before.round == after.round;
        prop_assert!(!stuck);
    }
}
