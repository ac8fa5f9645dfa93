//! Failures: what cannot mend is told once and not tried again, what can is tried ever
//! more slowly.

use bytes::Bytes;

use super::private::{private_assignment, problems};
use super::*;
use crate::codes::StatusReason;

const AVAILABLE: ClientMessage = ClientMessage::SetAvailability(Availability::Available);
const PAUSED: ClientMessage = ClientMessage::SetAvailability(Availability::Paused);

fn failed(round: RoundId, failure: Failure) -> Event {
    Event::Failed { round, failure, reason: "words".into() }
}

fn new_status(status: TaskStatus) -> Event {
    Event::Received(ServerMessage::TaskStatus(Box::new(status)))
}

/// The last state that the owner was told, with its reason and whether it has a time.
fn rest(actions: &[Action]) -> (SessionState, Option<StatusReason>, bool) {
    let told = actions.iter().rev().find_map(|action| match action {
        Action::Emit(ClientEvent::Status { state, reason, retry_in_ms, .. }) => {
            Some((*state, *reason, retry_in_ms.is_some()))
        }
        _ => None,
    });
    told.expect("the owner is told")
}

#[test]
fn what_cannot_mend_is_declined_with_its_cause_and_makes_the_client_unavailable_once() {
    for (failure, code, cause) in [
        (Failure::TrainingDiverged, "training-diverged", DeclineCause::TrainingDiverged),
        (Failure::OutOfRange, "out-of-range", DeclineCause::OutOfRange),
        (Failure::ModelUnreadable, "model-unreadable", DeclineCause::ModelUnavailable),
        (Failure::BadDataset, "bad-dataset", DeclineCause::BadDataset),
    ] {
        let mut rig = Rig::working();
        let actions = rig.feed(failed(ROUND, failure));
        assert_eq!(problems(&actions), [(code, "words", false)]);
        assert_eq!(
            rest(&actions),
            (SessionState::Unavailable, Some(StatusReason::Failure(failure)), false)
        );
        let sent = rig.sent();
        let [ClientMessage::Decline { cause: told, .. }, paused] = &sent[..] else {
            panic!("{sent:?}")
        };
        assert_eq!((*told, paused), (Some(cause), &PAUSED));
        // The same model again, and an invitation that crossed with it.
        assert!(problems(&rig.feed(new_status(status(1, RoundPhase::Collecting)))).is_empty());
        let next = RoundId { round: 1, attempt: 1 };
        assert_eq!(rig.feed(Event::Received(assignment(next))), []);
        let sent = rig.sent();
        assert!(matches!(sent[..], [ClientMessage::Decline { .. }]), "{sent:?}");
        // It waits for nothing but the next ping.
        assert_eq!(rig.session.deadline(), Some(rig.now + HEARTBEAT));
        assert_eq!(rest(&rig.feed(Event::DataReady)), (SessionState::Waiting, None, false));
        assert_eq!(rig.sent(), [AVAILABLE]);
    }
}

#[test]
fn a_new_model_ends_what_the_old_one_caused() {
    for (failure, mends) in [(Failure::TrainingDiverged, true), (Failure::BadDataset, false)] {
        let mut rig = Rig::working();
        rig.feed(failed(ROUND, failure));
        rig.sent();
        let actions = rig.feed(new_status(status(2, RoundPhase::Selecting)));
        assert_eq!(state(&actions) == Some(SessionState::Waiting), mends);
        assert_eq!(rig.sent() == [AVAILABLE], mends);
    }
}

/// All clients may be out for one reason; then no model comes from others, and an operator
/// who has seen to it starts the server again.
#[test]
fn another_connection_ends_what_the_plan_may_have_caused() {
    let mut rig = Rig::working();
    rig.feed(failed(ROUND, Failure::TrainingDiverged));
    rig.sent();
    assert_eq!(state(&rig.reconnect()), Some(SessionState::Waiting));
    assert_eq!(rig.checked_in_as, Availability::Available);
    let mut rig = Rig::working();
    rig.feed(failed(ROUND, Failure::BadDataset));
    rig.sent();
    assert_eq!(state(&rig.reconnect()), Some(SessionState::Unavailable));
    assert_eq!(rig.checked_in_as, Availability::Paused);
}

#[test]
fn what_can_mend_is_tried_again_ever_more_slowly() {
    let mut rig = Rig::member();
    let mut waits = Vec::new();
    for attempt in 0..10 {
        let round = RoundId { round: 1, attempt };
        rig.feed(Event::Received(assignment(round)));
        let actions = rig.feed(failed(round, Failure::ModelUnavailable));
        assert_eq!(
            rest(&actions),
            (SessionState::Waiting, Some(StatusReason::Failure(Failure::ModelUnavailable)), true)
        );
        assert!(matches!(rig.sent()[..], [ClientMessage::Decline { .. }, PAUSED]));
        let out = rig.now;
        while rig.session.outbox.front() != Some(&AVAILABLE) {
            rig.sent();
            rig.now = rig.session.deadline().unwrap();
            rig.feed(Event::Received(ServerMessage::Pong { nonce: 1 }));
            rig.feed(Event::Timer);
        }
        rig.sent();
        waits.push(rig.now - out);
    }
    assert!(waits.is_sorted() && waits[0] <= seconds(1) && waits[9] >= seconds(30), "{waits:?}");
    // An update that counts begins anew.
    let round = RoundId { round: 1, attempt: 10 };
    rig.feed(Event::Received(assignment(round)));
    rig.feed(Event::Trained { round, update: Bytes::from_static(&[1]), examples: 1 });
    rig.feed(outcome(round, UpdateVerdict::Accepted));
    let round = RoundId { round: 1, attempt: 11 };
    rig.feed(Event::Received(assignment(round)));
    rig.feed(failed(round, Failure::ModelUnavailable));
    assert!(rig.session.deadline().unwrap() - rig.now <= seconds(1));
}

#[test]
fn an_update_that_is_rejected_for_its_values_is_not_sent_again() {
    let mut rig = Rig::uploading();
    let actions = rig.feed(outcome(ROUND, UpdateVerdict::Rejected(UpdateFault::OutOfRange)));
    assert_eq!(problems(&actions)[0].0, "out-of-range");
    assert_eq!(
        rest(&actions),
        (SessionState::Unavailable, Some(StatusReason::Failure(Failure::OutOfRange)), false)
    );
    assert_eq!(rig.sent(), [PAUSED]);
}

#[test]
fn a_private_client_stays_available_whatever_its_data_do() {
    let (mut rig, _) = Rig::in_private(config(), Mechanism::Local);
    rig.feed(Event::Received(private_assignment(ROUND)));
    let actions = rig.feed(failed(ROUND, Failure::TrainingDiverged));
    assert_eq!(state(&actions), Some(SessionState::Waiting));
    let sent = rig.sent();
    let [ClientMessage::Decline { cause: None, .. }] = &sent[..] else { panic!("{sent:?}") };
}

#[test]
fn a_kind_that_only_a_later_version_knows_ends_the_session() {
    // As on the wire: the number of the kind is one that this version does not have.
    let checked_in = CheckedIn { task: task(None), status: status(1, RoundPhase::Selecting) };
    let checked_in = ServerMessage::CheckedIn(Box::new(checked_in));
    let layer = replaced(&checked_in, b"\x12\x04\x0a\x02\x08\x0a", b"\x12\x04\xa2\x06\x01\x00");
    let algorithm = replaced(&assignment(ROUND), b"\x42\x00", b"\x7a\x00");
    let message = Bytes::from_static(b"\xa2\x06\x00");
    for (bytes, what, member) in [
        (layer, "a layer of the model", false),
        (algorithm, "the training algorithm", true),
        (message.clone(), "the message", false),
        (message, "the message", true),
    ] {
        let mut rig = if member { Rig::member() } else { Rig::new() };
        if !member {
            rig.start();
            rig.greet_up_to_the_check_in();
        }
        let error = ServerMessage::decode(bytes).unwrap_err();
        let actions = rig.feed(Event::Garbled(error));
        let [(code, message, fatal)] = problems(&actions)[..] else { panic!("{actions:?}") };
        assert_eq!((code, fatal), ("unsupported-task", true));
        assert!(message.contains(what) && message.contains("update this client"), "{message}");
        assert!(rig.session.is_closed());
        assert_eq!(rig.session.deadline(), None);
    }
}

/// A message's bytes with the one place `from` replaced.
fn replaced(message: &ServerMessage, from: &[u8], to: &[u8]) -> Bytes {
    let mut bytes = message.encode().to_vec();
    let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
    let [place] = places[..] else { panic!("{places:?}") };
    bytes[place..place + from.len()].copy_from_slice(to);
    bytes.into()
}

#[test]
fn a_server_that_fails_after_each_check_in_is_tried_ever_less_often() {
    let mut rig = Rig::new();
    rig.start();
    let mut waits = Vec::new();
    for _ in 0..10 {
        rig.greet();
        rig.feed(Event::Garbled(DecodeError::Missing("anything")));
        waits.push(rig.session.deadline().unwrap() - rig.now);
        rig.now = rig.session.deadline().unwrap();
        rig.feed(Event::Timer);
        rig.sent();
    }
    assert!(waits.is_sorted() && waits[9] >= seconds(15), "{waits:?}");
    // A connection that lasts was of use.
    rig.greet();
    rig.now += seconds(30);
    rig.feed(Event::Disconnected { reason: "gone".into() });
    assert!(rig.session.deadline().unwrap() - rig.now <= Duration::from_millis(500));
}

#[test]
fn a_client_that_is_left_out_tells_why_and_for_how_long() {
    let standby = |cause| {
        let message = "left out".into();
        let standby = Standby { cause, retry_after: seconds(8), message };
        Event::Received(ServerMessage::Standby(standby))
    };
    let mut rig = Rig::member();
    let actions = rig.feed(standby(StandbyCause::MissedDeadline));
    assert_eq!(
        rest(&actions),
        (SessionState::Waiting, Some(StatusReason::Standby(StandbyCause::MissedDeadline)), true)
    );
    assert_eq!(rig.session.deadline(), Some(rig.now + seconds(8)));
    rig.now += seconds(8);
    assert_eq!(rest(&rig.feed(Event::Timer)), (SessionState::Waiting, None, false));
    assert!(rig.sent().is_empty());
    // An invitation ends it, too.
    rig.feed(standby(StandbyCause::Lost));
    rig.feed(Event::Received(assignment(ROUND)));
    rig.feed(outcome(ROUND, UpdateVerdict::Discarded(UpdateFault::RoundOver)));
    let actions = rig.feed(new_status(status(2, RoundPhase::Selecting)));
    assert!(
        !actions.iter().any(|action| matches!(
            action,
            Action::Emit(ClientEvent::Status { reason: Some(_), .. })
        ))
    );
}

#[test]
fn a_client_that_only_listens_pings_all_the_same() {
    let mut rig = Rig::member();
    rig.feed(Event::Sent);
    let mut pings = 0;
    for _ in 0..6 {
        rig.now += HEARTBEAT / 2;
        rig.feed(new_status(status(1, RoundPhase::Collecting)));
        rig.feed(Event::Timer);
        for message in rig.sent() {
            assert!(matches!(message, ClientMessage::Ping { .. }));
            rig.feed(Event::Sent);
            pings += 1;
        }
    }
    assert_eq!(pings, 3);
}

#[test]
fn a_replaced_client_comes_back_if_the_server_names_a_time() {
    let mut rig = Rig::member();
    let refusal = Refusal {
        code: RefusalCode::Replaced,
        message: "another one is there".into(),
        retry_after: Some(seconds(20)),
    };
    rig.feed(Event::Received(ServerMessage::Refusal(refusal)));
    assert!(!rig.session.is_closed());
    assert!(rig.session.deadline().unwrap() >= rig.now + seconds(20));
}
