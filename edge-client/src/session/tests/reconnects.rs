//! A connection that is lost in a round: the work goes on, and nothing is sent
//! twice that would count twice.

use super::private::problems;
use super::*;

const UPDATE: [u8; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

fn trained() -> Event {
    Event::Trained { round: ROUND, update: Bytes::from_static(&UPDATE), examples: 3 }
}

fn ready(offset: u64) -> Event {
    Event::Received(ServerMessage::UploadReady { round: ROUND, offset })
}

fn begin() -> ClientMessage {
    let crc32 = checksum(&UPDATE);
    ClientMessage::UpdateBegin(UpdateBegin { round: ROUND, bytes: 9, examples: 3, crc32 })
}

fn status_of(round: RoundId, phase: RoundPhase) -> TaskStatus {
    TaskStatus { round, ..status(round.round, phase) }
}

/// Events about updates that the owner was told.
fn updates(actions: &[Action]) -> Vec<(UpdateFate, Option<UpdateFault>)> {
    let update = |action: &Action| match action {
        Action::Emit(ClientEvent::Update { outcome, fault, .. }) => Some((*outcome, *fault)),
        _ => None,
    };
    actions.iter().filter_map(update).collect()
}

fn works(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Work(_)))
}

impl Rig {
    /// Says yes to an upload and takes its chunks.
    #[track_caller]
    fn uploads_from(&mut self, offset: usize) {
        self.feed(ready(offset as u64));
        let mut bytes = Vec::new();
        for message in self.sent() {
            let ClientMessage::UpdateChunk(chunk) = message else { panic!("{message:?}") };
            let expected = (offset + bytes.len()) as u64;
            assert_eq!(chunk, UpdateChunk::new(ROUND, expected, chunk.data.clone()));
            bytes.extend_from_slice(&chunk.data);
        }
        assert_eq!(bytes, UPDATE[offset..]);
    }
}

#[test]
fn training_goes_on_without_a_connection() {
    let mut rig = Rig::working();
    rig.feed(Event::Downloaded { round: ROUND });
    assert!(!rig.lose().contains(&Action::Abort));
    assert_eq!(rig.feed(trained()), [], "the owner knows that there is no connection");
    assert!(rig.sent().is_empty());
    let actions = rig.greet();
    assert_eq!(state(&actions), Some(SessionState::Uploading));
    assert_eq!(rig.sent(), [begin()]);
    // The server repeats its order; it crosses with the announcement.
    assert_eq!(rig.feed(Event::Received(assignment(ROUND))), []);
    assert!(rig.sent().is_empty());
    rig.uploads_from(0);
}

#[test]
fn an_order_that_is_worked_on_and_comes_again_changes_nothing() {
    let mut rig = Rig::working();
    assert_eq!(state(&rig.reconnect()), Some(SessionState::Downloading));
    assert_eq!(rig.feed(Event::Received(assignment(ROUND))), []);
    let actions = rig.feed(Event::Downloaded { round: ROUND });
    assert_eq!(state(&actions), Some(SessionState::Training));
    assert_eq!(state(&rig.reconnect()), Some(SessionState::Training));
    assert_eq!(rig.feed(Event::Received(assignment(ROUND))), []);
    rig.feed(trained());
    assert_eq!(rig.sent(), [begin()]);
}

#[test]
fn an_announcement_that_was_lost_is_made_again() {
    let mut rig = Rig::uploading();
    rig.reconnect();
    assert_eq!(rig.sent(), [begin()]);
    rig.uploads_from(0);
}

#[test]
fn an_upload_goes_on_where_the_server_stopped() {
    let mut rig = Rig::uploading();
    rig.feed(ready(0));
    let first = rig.session.poll_transmit();
    assert!(matches!(first, Some(ClientMessage::UpdateChunk(chunk)) if chunk.data.len() == 4));
    rig.lose();
    rig.feed(Event::Connected { token: None });
    assert!(matches!(rig.sent()[..], [ClientMessage::Hello(_)]), "no chunk before the check-in");
    rig.feed(Event::Disconnected { reason: "again".into() });
    rig.now = rig.session.deadline().unwrap();
    rig.feed(Event::Timer);
    rig.greet();
    assert_eq!(rig.sent(), [begin()], "no chunk before UploadReady");
    rig.uploads_from(4);
}

#[test]
fn an_outcome_that_was_lost_comes_with_the_next_connection() {
    let mut rig = Rig::uploading();
    rig.uploads_from(0);
    rig.reconnect();
    assert_eq!(rig.sent(), [begin()]);
    let actions = rig.feed(outcome(ROUND, UpdateVerdict::Accepted));
    assert_eq!(updates(&actions), [(UpdateFate::Accepted, None)]);
    assert_eq!(state(&actions), Some(SessionState::Reported));
    assert_eq!(rig.feed(outcome(ROUND, UpdateVerdict::Accepted)), [], "told once");
}

#[test]
fn an_accepted_update_is_sent_again_only_if_its_order_comes_again() {
    let mut rig = Rig::uploading();
    rig.feed(outcome(ROUND, UpdateVerdict::Accepted));
    assert_eq!(state(&rig.reconnect()), Some(SessionState::Reported));
    assert!(rig.sent().is_empty());
    // A server that has forgotten what it had accepted gets the same bytes.
    assert_eq!(rig.feed(Event::Received(assignment(ROUND))), []);
    assert_eq!(rig.sent(), [begin()]);
    rig.uploads_from(0);
    assert_eq!(updates(&rig.feed(outcome(ROUND, UpdateVerdict::Accepted))), []);
    let over =
        Event::Received(ServerMessage::TaskStatus(Box::new(status(2, RoundPhase::Selecting))));
    let actions = rig.feed(over);
    assert_eq!(updates(&actions), []);
    assert_eq!(state(&actions), Some(SessionState::Waiting));
}

#[test]
fn a_round_that_ended_meanwhile_is_given_up() {
    let second = RoundId { round: 1, attempt: 1 };
    for newest in [
        status(2, RoundPhase::Collecting),
        status_of(second, RoundPhase::Selecting),
        status(1, RoundPhase::Finished),
    ] {
        for uploading in [false, true] {
            let mut rig = if uploading { Rig::uploading() } else { Rig::working() };
            rig.lose();
            let actions = rig.greet_at(newest.clone());
            assert!(actions.contains(&Action::Abort), "{newest:?}");
            let told = [(UpdateFate::Discarded, Some(UpdateFault::RoundOver))];
            assert_eq!(updates(&actions), told, "{newest:?}");
            assert_eq!(state(&actions), Some(SessionState::Waiting));
            assert!(rig.sent().is_empty(), "{newest:?}");
            // The server says so too, but the owner has heard it.
            let late = UpdateVerdict::Discarded(UpdateFault::RoundOver);
            assert_eq!(rig.feed(outcome(ROUND, late)), []);
            assert_eq!(rig.feed(trained()), [], "late work is not announced");
            assert!(works(&rig.feed(Event::Received(assignment(second)))));
        }
    }
}

#[test]
fn a_task_that_finished_meanwhile_ends_the_client() {
    let mut rig = Rig::uploading();
    rig.lose();
    rig.feed(Event::Connected { token: None });
    let actions = rig.feed(Event::Received(ServerMessage::Refusal(Refusal {
        code: RefusalCode::UnknownTask,
        message: "the task is finished".into(),
        retry_after: None,
    })));
    assert!(actions.contains(&Action::Abort));
    assert_eq!(
        problems(&actions).last(),
        Some(&("refused-unknown-task", "the task is finished", true))
    );
}

#[test]
fn a_server_that_started_again_may_turn_the_update_down_and_ask_for_the_round_anew() {
    let mut rig = Rig::uploading();
    rig.reconnect();
    assert_eq!(rig.sent(), [begin()]);
    let verdict = UpdateVerdict::Rejected(UpdateFault::UnknownRound);
    let actions = rig.feed(outcome(ROUND, verdict));
    assert_eq!(updates(&actions), [(UpdateFate::Rejected, Some(UpdateFault::UnknownRound))]);
    assert_eq!(state(&actions), Some(SessionState::Waiting));
    assert!(works(&rig.feed(Event::Received(assignment(ROUND)))), "nothing private is at stake");
    rig.feed(trained());
    assert_eq!(rig.sent(), [begin()]);
    let actions = rig.feed(outcome(ROUND, UpdateVerdict::Accepted));
    assert_eq!(updates(&actions), [(UpdateFate::Accepted, None)]);
}

#[test]
fn a_server_that_started_again_may_invite_before_it_is_told_anything() {
    let mut rig = Rig::working();
    rig.reconnect();
    assert_eq!(rig.feed(Event::Received(assignment(ROUND))), [], "the work goes on");
    // The same round from another model is other work.
    let ServerMessage::RoundAssignment(plain) = assignment(ROUND) else { unreachable!() };
    let model = ModelRef { sha256: Sha256Hash::of(b"another"), ..plain.model.clone() };
    let other = ServerMessage::RoundAssignment(RoundAssignment { model, ..plain });
    let actions = rig.feed(Event::Received(other));
    assert_eq!(actions.first(), Some(&Action::Abort));
    assert!(works(&actions));
}

#[test]
fn a_pause_without_a_connection_leaves_the_round() {
    let mut rig = Rig::working();
    rig.lose();
    assert!(rig.feed(Event::Pause).contains(&Action::Abort));
    assert_eq!(state(&rig.greet()), Some(SessionState::Paused));
    assert_eq!(rig.checked_in_as, Availability::Paused);
    assert!(rig.sent().is_empty());
    assert_eq!(rig.feed(Event::Received(assignment(ROUND))), []);
    assert!(matches!(rig.sent()[..], [ClientMessage::Decline { round: ROUND, .. }]));
}

#[test]
fn a_round_that_a_pause_left_is_trained_anew_if_the_server_still_wants_it() {
    let mut rig = Rig::working();
    rig.lose();
    rig.feed(Event::Pause);
    rig.feed(Event::Resume);
    assert_eq!(state(&rig.greet()), Some(SessionState::Waiting));
    assert!(works(&rig.feed(Event::Received(assignment(ROUND)))));
    rig.feed(trained());
    assert_eq!(rig.sent(), [begin()]);
}

#[test]
fn work_that_fails_without_a_connection_is_declined_when_it_is_asked_for_again() {
    let mut rig = Rig::working();
    rig.lose();
    let reason = "diverged".into();
    let actions =
        rig.feed(Event::Failed { round: ROUND, failure: Failure::TrainingFailed, reason });
    assert_eq!(problems(&actions)[0].0, "training-failed");
    assert_eq!(state(&rig.greet()), Some(SessionState::Waiting));
    assert!(rig.sent().is_empty());
    assert!(rig.feed(Event::Received(assignment(ROUND))).is_empty());
    assert!(matches!(rig.sent()[..], [ClientMessage::Decline { round: ROUND, .. }]));
    rig.now += seconds(1);
    rig.feed(Event::Timer);
    assert!(works(&rig.feed(Event::Received(assignment(RoundId { round: 2, attempt: 0 })))));
}

#[test]
fn a_client_that_vanished_has_nothing_left_of_the_round() {
    for mut rig in [Rig::working(), Rig::uploading()] {
        let actions = rig.feed(Event::Vanished);
        assert!(actions.contains(&Action::Abort));
        assert_eq!(rig.feed(trained()), []);
        rig.now = rig.session.deadline().unwrap();
        rig.feed(Event::Timer);
        assert_eq!(state(&rig.greet()), Some(SessionState::Waiting));
        assert!(rig.sent().is_empty());
        assert!(rig.feed(Event::Received(assignment(ROUND))).is_empty());
        assert!(matches!(rig.sent()[..], [ClientMessage::Decline { round: ROUND, .. }]));
    }
}

/// An invitation whose update may be late.
fn buffered(round: RoundId) -> Event {
    let ServerMessage::RoundAssignment(plain) = assignment(round) else { unreachable!() };
    let order = RoundAssignment { max_staleness: 2, ..plain };
    Event::Received(ServerMessage::RoundAssignment(order))
}

#[test]
fn work_of_a_buffered_round_goes_on_while_newer_models_appear() {
    let mut rig = Rig::member();
    assert!(works(&rig.feed(buffered(ROUND))));
    for newest in [
        status_of(RoundId { round: 1, attempt: 1 }, RoundPhase::Collecting),
        status(2, RoundPhase::Collecting),
        status(3, RoundPhase::Collecting),
    ] {
        let actions =
            rig.feed(Event::Received(ServerMessage::TaskStatus(Box::new(newest.clone()))));
        assert!(!actions.contains(&Action::Abort), "{newest:?}");
        rig.lose();
        let actions = rig.greet_at(newest);
        assert_eq!(state(&actions), Some(SessionState::Downloading));
    }
    let actions = rig.feed(Event::Received(ServerMessage::TaskStatus(Box::new(status(
        4,
        RoundPhase::Collecting,
    )))));
    assert!(actions.contains(&Action::Abort));
    assert_eq!(updates(&actions), [(UpdateFate::Discarded, Some(UpdateFault::TooStale))]);
}

#[test]
fn an_update_that_counts_is_done_with_when_its_buffer_closes() {
    let mut rig = Rig::member();
    rig.feed(buffered(ROUND));
    rig.feed(trained());
    rig.feed(outcome(ROUND, UpdateVerdict::Accepted));
    let closed =
        Event::Received(ServerMessage::TaskStatus(Box::new(status(2, RoundPhase::Collecting))));
    assert_eq!(state(&rig.feed(closed)), Some(SessionState::Waiting));
}

#[test]
fn a_paused_task_is_waited_for() {
    let mut rig = Rig::member();
    let paused = status(1, RoundPhase::Paused);
    let actions = rig.feed(Event::Received(ServerMessage::TaskStatus(Box::new(paused.clone()))));
    assert!(problems(&actions).is_empty());
    let phase = |action: &Action| match action {
        Action::Emit(ClientEvent::Round(progress)) => Some(progress.phase),
        _ => None,
    };
    assert_eq!(actions.iter().find_map(phase), Some(RoundPhase::Paused));
    rig.lose();
    let actions = rig.greet_at(paused);
    assert!(problems(&actions).is_empty());
    assert_eq!(state(&actions), Some(SessionState::Waiting));
}

#[test]
fn the_clipping_norm_of_the_round_is_told_after_a_reconnect_too() {
    use super::private::{private_assignment, terms};
    let (mut rig, _) = Rig::in_private(config(), Mechanism::Local);
    rig.feed(Event::Received(private_assignment(ROUND)));
    let actions = rig.reconnect();
    assert_eq!(terms(&actions).unwrap().clipping_norm, Some(0.25));
}
