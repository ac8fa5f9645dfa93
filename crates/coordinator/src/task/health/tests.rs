use std::time::Duration;

use fedra_protocol::{DeclineCause, UpdateFault};

use super::*;

const DIVERGED: InvitationFailure =
    InvitationFailure::Declined(Some(DeclineCause::TrainingDiverged));
const WHY: &str = "3 of 4: training diverged; a smaller learning rate may help";

fn seconds(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

fn round(round: u64, attempt: u32) -> RoundId {
    RoundId { round, attempt }
}

fn clients() -> impl Iterator<Item = ClientId> {
    (1..=4).map(ClientId)
}

fn progress(phase: RoundPhase) -> Progress {
    Progress {
        round: round(1, 0),
        phase,
        clients: 4,
        cohort: 4,
        reported: 0,
        left: 0,
        weight: 0,
        available: 0,
        left_out: 0,
        deadline: None,
    }
}

/// Attempts with one under way that has four clients.
fn opened() -> Attempts {
    let mut attempts = Attempts::default();
    attempts.open(clients());
    attempts
}

/// Three of four clients fail, and the attempt ends.
fn diverge(attempts: &mut Attempts, attempt: u32, now: Time) -> Arc<str> {
    attempts.open(clients());
    clients().take(3).for_each(|client| attempts.fail(client, DIVERGED));
    attempts.abandon(round(1, attempt), AbandonReason::TooFewReports, now)
}

/// Health with `available` of four clients available between two attempts.
fn between(attempts: &mut Attempts, available: usize, now: Time) -> Health {
    let supply = || Supply { available, left_out: 0, needed: 4 };
    let assessment = attempts.assess(&progress(RoundPhase::Selecting), supply, now);
    attempts.health(assessment)
}

/// The health in a phase in which no clients are missed.
fn during(attempts: &mut Attempts, phase: RoundPhase, now: Time) -> Health {
    let supply = || panic!("nobody looks who is there");
    let assessment = attempts.assess(&progress(phase), supply, now);
    attempts.health(assessment)
}

#[test]
fn attempts_in_a_row_that_come_to_nothing_are_counted_with_the_reason_of_the_last() {
    let mut attempts = Attempts::default();
    assert_eq!(&*diverge(&mut attempts, 0, seconds(10)), WHY);
    assert_eq!(&*diverge(&mut attempts, 1, seconds(20)), WHY);
    let health = between(&mut attempts, 4, seconds(21));
    assert_eq!((health.state, health.attempts), (HealthState::Failing, 2));
    assert_eq!((health.since, health.reason.as_deref()), (seconds(10), Some(WHY)));
    assert_eq!(health.failures.by_count(), [(DIVERGED, 6)]);
    attempts.open(clients());
    assert_eq!(during(&mut attempts, RoundPhase::Collecting, seconds(30)).attempts, 2);
}

#[test]
fn a_completed_round_ends_the_row_and_tells_of_those_that_failed_in_it() {
    let mut attempts = Attempts::default();
    diverge(&mut attempts, 0, seconds(10));
    attempts.open(clients());
    attempts.fail(ClientId(2), InvitationFailure::MissedDeadline);
    attempts.close(round(1, 1));
    let told = attempts.complete(round(1, 1)).expect("one has failed");
    assert_eq!(told, "1 of 4: the deadline passed without an answer; a longer deadline may help");
    let health = during(&mut attempts, RoundPhase::Collecting, seconds(20));
    assert_eq!((health.state, health.attempts, health.reason), (HealthState::Ok, 0, None));
    assert_eq!(health.since, seconds(20));
    attempts.open(clients());
    attempts.close(round(2, 0));
    assert_eq!(attempts.complete(round(2, 0)), None);
}

#[test]
fn a_client_counts_once_in_an_attempt_and_only_if_it_was_invited() {
    let mut attempts = opened();
    attempts.fail(ClientId(1), DIVERGED);
    attempts.fail(ClientId(1), InvitationFailure::Rejected(UpdateFault::InvalidKeys));
    attempts.fail(ClientId(9), InvitationFailure::Lost);
    let why = attempts.abandon(round(1, 0), AbandonReason::TooFewReports, seconds(1));
    assert_eq!(&*why, "1 of 4: rejected, the keys are not valid");
    assert_eq!(between(&mut attempts, 4, seconds(1)).failures.by_count().len(), 3);
}

#[test]
fn too_few_clients_are_waited_for_with_how_many_there_are_and_how_many_it_takes() {
    let mut attempts = Attempts::default();
    for (available, reason) in [
        (0, "no client is available, 4 are needed"),
        (1, "1 client is available, 4 are needed"),
        (3, "3 clients are available, 4 are needed"),
    ] {
        let health = between(&mut attempts, available, seconds(available as u64));
        assert_eq!((health.state, health.reason.as_deref()), (HealthState::Waiting, Some(reason)));
        assert_eq!(health.since, seconds(0));
    }
    assert_eq!(between(&mut attempts, 4, seconds(9)).state, HealthState::Ok);
    assert_eq!(
        Supply { available: 0, left_out: 3, needed: 1 }.to_string(),
        "no client is available, 1 is needed; 3 are left out for a while"
    );
}

/// The round's phase stays when the last client of a buffered task goes.
#[test]
fn in_buffered_rounds_too_the_last_client_is_missed() {
    let mut attempts = opened();
    let idle = Progress { cohort: 3, reported: 2, left: 1, ..progress(RoundPhase::Collecting) };
    let assessment =
        attempts.assess(&idle, || Supply { available: 0, left_out: 0, needed: 1 }, seconds(1));
    assert_eq!(attempts.health(assessment).state, HealthState::Waiting);
    let assessment =
        attempts.assess(&idle, || Supply { available: 1, left_out: 0, needed: 1 }, seconds(2));
    assert_eq!(attempts.health(assessment).state, HealthState::Ok);
}

#[test]
fn a_task_whose_clients_go_away_waits_and_one_whose_clients_fail_is_failing() {
    let mut attempts = opened();
    clients().for_each(|client| attempts.fail(client, InvitationFailure::Lost));
    let why = attempts.abandon(round(1, 0), AbandonReason::TooFewReports, seconds(5));
    assert_eq!(&*why, "4 of 4: disconnected");
    assert_eq!(between(&mut attempts, 0, seconds(6)).state, HealthState::Waiting);
    assert_eq!(between(&mut attempts, 4, seconds(7)).state, HealthState::Failing);

    let mut attempts = Attempts::default();
    diverge(&mut attempts, 0, seconds(5));
    let health = between(&mut attempts, 1, seconds(6));
    assert_eq!(health.state, HealthState::Failing);
    let reason = format!("{WHY}. Now 1 client is available, 4 are needed");
    assert_eq!(health.reason, Some(reason));
}

#[test]
fn what_the_operator_ends_is_no_failure_and_rest_is_in_order() {
    for reason in [AbandonReason::BudgetSpent, AbandonReason::Stopped, AbandonReason::RolledBack] {
        let mut attempts = opened();
        attempts.abandon(round(1, 0), reason, seconds(1));
        assert_eq!(between(&mut attempts, 4, seconds(2)).state, HealthState::Ok, "{reason:?}");
    }
    let mut attempts = Attempts::default();
    diverge(&mut attempts, 0, seconds(1));
    for (phase, words) in
        [(RoundPhase::Paused, "the task is paused"), (RoundPhase::Finished, "the task is finished")]
    {
        let health = during(&mut attempts, phase, seconds(2));
        assert_eq!((health.state, health.attempts), (HealthState::Ok, 0));
        assert_eq!(health.reason.as_deref(), Some(words));
    }
    assert_eq!(between(&mut attempts, 4, seconds(3)).state, HealthState::Failing);
    attempts.restart();
    assert_eq!(between(&mut attempts, 4, seconds(4)).state, HealthState::Ok);
}

#[test]
fn what_fails_on_the_server_is_told_before_what_fails_on_clients() {
    let mut attempts = opened();
    attempts.fail(ClientId(1), InvitationFailure::Lost);
    attempts.close(round(1, 0));
    // In buffered rounds the next is open already.
    attempts.open(clients());
    attempts.fail(ClientId(2), DIVERGED);
    let why = attempts.abandon(round(1, 0), AbandonReason::NotStored, seconds(1));
    assert_eq!(&*why, "the new model could not be stored; the log says why. 1 of 4: disconnected");
    let why = attempts.abandon(round(2, 0), AbandonReason::TooFewSurvivors, seconds(2));
    assert!(why.starts_with("too few clients stayed until"), "{why}");
    assert!(
        why.ends_with(". 1 of 4: training diverged; a smaller learning rate may help"),
        "{why}"
    );
    let why = attempts.abandon(round(2, 1), AbandonReason::TooFewReports, seconds(3));
    assert_eq!(&*why, "too few updates came");
}

#[test]
fn a_buffered_round_that_invites_anew_is_an_attempt_in_vain() {
    let mut attempts = opened();
    clients().for_each(|client| attempts.fail(client, DIVERGED));
    let why = attempts.renew(seconds(60));
    assert_eq!(&*why, "4 of 4: training diverged; a smaller learning rate may help");
    assert_eq!(between(&mut attempts, 4, seconds(61)).attempts, 1);
    attempts.invite(ClientId(1));
    attempts.fail(ClientId(1), InvitationFailure::Lost);
    assert_eq!(&*attempts.renew(seconds(120)), "1 of 1: disconnected");
}
