//! Clients whose invitations come to nothing, and attempts that fail in a row.

use fedra_protocol::StandbyCause;

use super::*;
use crate::round::record::{EXCLUSION, SEVERAL};

const NANO: Duration = Duration::from_nanos(1);

/// A task in which a round waits for each of at most four clients.
const PATIENT: RoundPlan = RoundPlan { report_goal: 4, ..PLAN };

/// A task in which one report is enough, so that each client's answer is heard.
const FRUGAL: RoundPlan = RoundPlan { minimum_reports: 1, ..PLAN };

fn stands_by(effects: &[Effect], id: u64) -> Option<(StandbyCause, Time)> {
    effects.iter().find_map(|effect| match effect {
        Effect::StandBy(client, cause, until) if client.0 == id => Some((*cause, *until)),
        _ => None,
    })
}

fn on_trial(effects: &[Effect]) -> Vec<u64> {
    let invited = |effect: &Effect| match effect {
        Effect::InviteOnTrial(client, ..) => Some(client.0),
        _ => None,
    };
    effects.iter().filter_map(invited).collect()
}

impl Script {
    /// Clients 1 to 3 report in the round under way, and its model is stored.
    fn others_report(&mut self) -> Vec<Effect> {
        let round = self.round();
        let mut effects = Vec::new();
        for id in 1..=3 {
            effects.extend(self.report(id, round));
        }
        assert_eq!(self.phase(), RoundPhase::Finalizing, "it waits for nobody else");
        effects.extend(self.step(Event::Stored(round)));
        effects
    }

    /// The next round opens after the selection window.
    fn next_round(&mut self) -> Vec<Effect> {
        self.wait(PLAN.selection_window)
    }
}

/// Client 4 has just been left out; the next round is about to open.
fn left_out() -> Script {
    let mut script = Script::new(PATIENT);
    script.join(4);
    for _ in 0..SEVERAL {
        let round = script.round();
        (1..=3).for_each(|id| drop(script.report(id, round)));
        assert_eq!(script.phase(), RoundPhase::Collecting, "the fourth is waited for");
        script.wait(PLAN.deadline);
        script.step(Event::Stored(round));
    }
    script
}

#[test]
fn missed_deadlines_in_a_row_leave_a_client_out_and_rounds_go_on_at_the_others_pace() {
    let mut script = Script::new(PATIENT);
    script.join(4);
    let last = u64::from(SEVERAL);
    let mut missed = Vec::new();
    for number in 1..=last {
        assert_eq!(stands_by(&missed, 4), None, "not for an accident");
        script.step(Event::Stored(round(number - 1, 0)));
        (1..=3).for_each(|id| drop(script.report(id, round(number, 0))));
        missed = script.wait(PLAN.deadline);
    }
    let until = script.now + EXCLUSION;
    let last = round(last, 0);
    assert!(missed.contains(&finalize(last, 4, 3)), "{missed:?}");
    assert_eq!(stands_by(&missed, 4), Some((StandbyCause::MissedDeadline, until)));
    let dismissed = missed.iter().position(|e| *e == dismiss(4, last));
    assert!(dismissed < missed.iter().position(|e| matches!(e, Effect::StandBy(..))));
    script.step(Event::Stored(last));
    assert_eq!(script.rounds.progress().left_out, 1);
    while script.now + PLAN.selection_window < until {
        assert_eq!(invited(&script.next_round()), [1, 2, 3]);
        script.others_report();
    }
}

#[test]
fn a_client_on_trial_is_invited_beside_the_cohort_and_redeemed_by_a_late_answer() {
    let mut script = left_out();
    script.wait(EXCLUSION - PLAN.selection_window);
    let opened = script.round();
    script.others_report();
    script.wait(PLAN.selection_window);
    let opened = round(opened.round + 1, 0);
    assert_eq!(script.round(), opened);
    let effects = script.others_report();
    assert!(!effects.contains(&dismiss(4, opened)), "its answer is still awaited");
    // It is not free for another round before it has answered.
    assert!(on_trial(&script.next_round()).is_empty());
    script.others_report();
    let late = script.report(4, opened);
    assert_eq!(late[0], answer(4, opened, LATE));
    assert_eq!(invited(&late), [1, 2, 3, 4], "all that can be invited are there");
}

#[test]
fn a_client_on_trial_that_does_not_answer_is_left_out_for_longer() {
    let mut script = left_out();
    script.others_first_then_wait(EXCLUSION);
    let opened = script.next_round();
    assert_eq!(on_trial(&opened), [4]);
    let asked = script.now;
    let round = script.round();
    script.others_report();
    let mut failed = Vec::new();
    while failed.is_empty() {
        script.next_round();
        let effects = script.others_report();
        assert!(!effects.contains(&dismiss(4, round)));
        let wait = (asked + PLAN.deadline).0.saturating_sub(script.now.0);
        failed = if wait < PLAN.selection_window * 2 { script.wait(wait) } else { Vec::new() };
    }
    assert_eq!(failed[0], dismiss(4, round));
    let until = asked + PLAN.deadline + EXCLUSION * 2;
    assert_eq!(stands_by(&failed, 4), Some((StandbyCause::MissedDeadline, until)));
}

impl Script {
    /// Lets the round under way complete, and time pass with nothing else to do.
    fn others_first_then_wait(&mut self, duration: Duration) {
        self.wait(PLAN.selection_window);
        self.others_report();
        self.operate(Operation::Pause);
        self.wait(duration);
        self.operate(Operation::Resume);
    }
}

#[test]
fn what_a_client_on_trial_reports_in_time_counts() {
    let mut script = left_out();
    script.others_first_then_wait(EXCLUSION);
    assert_eq!(on_trial(&script.next_round()), [4]);
    let round = script.round();
    assert_eq!(script.report(4, round), [answer(4, round, ACCEPTED)]);
    let closed = (1..=3).flat_map(|id| script.report(id, round)).last();
    assert_eq!(closed, Some(finalize(round, 4, 4)));
}

#[test]
fn without_enough_others_clients_on_trial_make_up_the_cohort() {
    let mut script = Script::new(FRUGAL);
    script.join(2);
    script.wait(PLAN.selection_window);
    for _ in 0..SEVERAL {
        let round = script.round();
        for id in 1..=2 {
            script.step(Event::Declined(ClientId(id), round));
        }
        script.wait(PLAN.selection_window * 4);
    }
    assert_eq!(script.rounds.progress().left_out, 2);
    assert_eq!(script.phase(), RoundPhase::Selecting);
    assert!(invited(&script.wait(EXCLUSION)).is_empty());
    assert_eq!(invited(&script.wait(PLAN.selection_window)), [1, 2], "as full members");
}

#[test]
fn a_record_outlives_its_client_and_a_clean_one_is_not_kept() {
    let mut script = Script::new(PATIENT);
    script.join(4);
    (1..=3).for_each(|id| drop(script.report(id, R1)));
    let left = script.step_with_notes(Event::Left(ClientId(4)));
    let Some(Effect::Remember(ClientId(4), record)) =
        left.into_iter().find(|effect| matches!(effect, Effect::Remember(..)))
    else {
        panic!("it left in the middle of a round");
    };
    script.step(Event::Stored(R1));
    let (client, availability) = (ClientId(5), Availability::Available);
    script.step(Event::Joined { client, availability, eligibility: Eligibility::Free, record });
    let mut over = Vec::new();
    for number in 2..=u64::from(SEVERAL) {
        assert_eq!(stands_by(&over, 5), None);
        script.step(Event::Returned(client, availability));
        script.next_round();
        (1..=3).for_each(|id| drop(script.report(id, round(number, 0))));
        assert_eq!(script.step(Event::Lost(client)), []);
        over = script.wait(GRACE);
        script.step(Event::Stored(round(number, 0)));
    }
    let until = script.now + EXCLUSION;
    assert_eq!(stands_by(&over, 5), Some((StandbyCause::Lost, until)));
    let record = script.rounds.pool.forget(ClientId(5)).expect("worth keeping");
    let again =
        Event::Joined { client: ClientId(6), availability, eligibility: Eligibility::Free, record };
    assert_eq!(script.step(again), [Effect::StandBy(ClientId(6), StandbyCause::Lost, until)]);
    assert_eq!(script.rounds.pool.forget(ClientId(1)), None);
}

#[test]
fn an_observer_is_not_invited_until_it_is_available() {
    let mut script = Script::new(PLAN);
    script.join(3);
    let (client, record) = (ClientId(4), Record::default());
    script.step(Event::Joined {
        client,
        availability: Availability::Paused,
        eligibility: Eligibility::Free,
        record,
    });
    assert_eq!(invited(&script.wait(PLAN.selection_window)), [1, 2, 3]);
    let progress = script.rounds.progress();
    assert_eq!((progress.clients, progress.available), (4, 3));
    script.others_report();
    script.step(Event::AvailabilityChanged(client, Availability::Available));
    assert_eq!(script.phase(), RoundPhase::Collecting, "all that can be invited are there");
    assert_eq!(script.rounds.progress().cohort, 4);
}

/// Attempts, by the second, of a task whose clients decline each invitation at once.
fn attempts_of_failing_clients(clients: u64, minutes: u64) -> Vec<u64> {
    let mut script = Script::new(FRUGAL);
    let mut opened = Vec::new();
    let mut pending: Vec<Effect> = (1..=clients).flat_map(|id| script.step(joined(id))).collect();
    let end = Time(Duration::from_secs(minutes * 60));
    loop {
        while let Some(effect) = pending.pop() {
            match effect {
                Effect::Open(_) => opened.push(script.now.0.as_secs()),
                Effect::Invite(client, round, _) | Effect::InviteOnTrial(client, round, _) => {
                    pending.extend(script.step(Event::Declined(client, round)));
                }
                _ => {}
            }
        }
        match script.rounds.wake_at().filter(|at| *at < end) {
            None => return opened,
            Some(at) => {
                script.now = at;
                pending.extend(script.step(Event::TimePassed));
            }
        }
    }
}

#[test]
fn attempts_that_fail_follow_each_other_ever_more_slowly() {
    for clients in [2, 4, 40] {
        let attempts = attempts_of_failing_clients(clients, 30);
        let first = attempts.iter().filter(|at| **at < 60).count();
        assert!((2..=10).contains(&first), "{clients} clients: {first} in the first minute");
        for minute in 10..30 {
            let within = minute * 60..(minute + 1) * 60;
            let count = attempts.iter().filter(|at| within.contains(*at)).count();
            assert!(count <= 2, "{clients} clients: {count} in minute {minute}");
        }
    }
}

#[test]
fn the_next_attempt_does_not_wait_once_another_client_is_there() {
    let mut script = Script::new(FRUGAL);
    script.join(2);
    for attempt in 0..SEVERAL {
        script.wait(PLAN.selection_window * 4);
        assert_eq!(script.phase(), RoundPhase::Collecting);
        for id in [1, 2] {
            script.step(Event::Declined(ClientId(id), round(1, attempt)));
        }
    }
    assert_eq!(script.rounds.wake_at(), Some(script.now + EXCLUSION));
    (11..=13).for_each(|id| drop(script.step(joined(id))));
    let opened = script.wait(PLAN.selection_window);
    assert_eq!(invited(&opened), [11, 12, 13]);
}

#[test]
fn a_failing_store_holds_attempts_back_and_a_completed_round_ends_that() {
    let mut script = Script::new(PLAN);
    script.join(4);
    let mut delays = Vec::new();
    for _ in 0..9 {
        let round = script.round();
        (1..=3).for_each(|id| drop(script.report(id, round)));
        let failed = script.step(Event::NotStored(round));
        assert!(failed.contains(&Effect::Abandon(round, AbandonReason::NotStored)));
        let wake = script.rounds.wake_at().expect("another attempt");
        delays.push(script.now.until(wake).as_millis());
        assert!(invited(&script.wait(script.now.until(wake) - NANO)).is_empty());
        assert_eq!(invited(&script.wait(NANO)).len(), 4);
    }
    assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    let round = script.round();
    (1..=3).for_each(|id| drop(script.report(id, round)));
    assert!(!invited(&script.step(Event::Stored(round))).is_empty(), "at once");
}
