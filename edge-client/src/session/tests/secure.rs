//! The steps of secure aggregation: their order, that a server which asks for
//! something else or out of turn learns nothing more, and that a lost connection
//! changes nothing.

use super::private::{private_assignment, problems, terms};
use super::*;
use crate::session::{SecureReply, SecureRequest};

const OTHER: RoundId = RoundId { round: 1, attempt: 1 };

fn directory(round: RoundId) -> KeyDirectory {
    KeyDirectory {
        round,
        own: 0,
        cohort: 10,
        threshold: 6,
        neighbours: Vec::new(),
        deadline: seconds(5),
        group: None,
    }
}

fn share_request(round: RoundId) -> Event {
    Event::Received(ServerMessage::KeyDirectory(directory(round)))
}

fn mask_request(round: RoundId) -> Event {
    let shares = vec![EncryptedShare { peer: 1, ciphertext: vec![1] }];
    let deadline = seconds(5);
    Event::Received(ServerMessage::MaskedInputRequest(MaskedInputRequest {
        round,
        shares,
        deadline,
    }))
}

fn unmask_request(round: RoundId) -> Event {
    let survivors = vec![0, 2, 5];
    let deadline = seconds(5);
    Event::Received(ServerMessage::UnmaskingRequest(UnmaskingRequest {
        round,
        survivors,
        deadline,
    }))
}

fn keys() -> AdvertisedKeys {
    AdvertisedKeys { encryption: [1; 32], masking: [2; 32] }
}

fn secured(reply: SecureReply) -> Event {
    Event::Secured { round: ROUND, reply }
}

/// A client's way through a round, in the order in which it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Training,
    Advertised,
    Sharing,
    Shared,
    Recording,
    Masking,
    Uploading,
    Reported,
    Unmasking,
    Unmasked,
}

const STAGES: [Stage; 10] = [
    Stage::Training,
    Stage::Advertised,
    Stage::Sharing,
    Stage::Shared,
    Stage::Recording,
    Stage::Masking,
    Stage::Uploading,
    Stage::Reported,
    Stage::Unmasking,
    Stage::Unmasked,
];

/// Event that happens next at a stage.
fn next(stage: Stage) -> Event {
    match stage {
        Stage::Training => secured(SecureReply::Keys(keys())),
        Stage::Advertised => share_request(ROUND),
        Stage::Sharing => secured(SecureReply::Shares(Vec::new())),
        Stage::Shared => mask_request(ROUND),
        Stage::Recording => Event::Recorded { round: ROUND },
        Stage::Masking => secured(SecureReply::Masked(Bytes::from_static(&[1, 2, 3, 4, 5]))),
        Stage::Uploading => outcome(ROUND, UpdateVerdict::Accepted),
        Stage::Reported => unmask_request(ROUND),
        Stage::Unmasking => {
            secured(SecureReply::Unmasking { self_masks: Vec::new(), pairwise: Vec::new() })
        }
        Stage::Unmasked => {
            Event::Received(ServerMessage::TaskStatus(Box::new(status(2, RoundPhase::Selecting))))
        }
    }
}

impl Rig {
    fn at(stage: Stage) -> Self {
        Self::at_having_said(stage).0
    }

    /// With what the client has sent in the round so far.
    fn at_having_said(stage: Stage) -> (Self, Vec<ClientMessage>) {
        let (mut rig, _) = Self::in_private(config(), Mechanism::Distributed);
        rig.feed(Event::Received(private_assignment(ROUND)));
        rig.feed(Event::Downloaded { round: ROUND });
        for before in STAGES.into_iter().take_while(|before| *before < stage) {
            rig.feed(next(before));
        }
        let said = rig.sent();
        (rig, said)
    }

    fn step(stage: Stage) -> (Vec<Action>, Vec<ClientMessage>) {
        let mut rig = Self::at(stage);
        let actions = rig.feed(next(stage));
        let sent = rig.sent();
        (actions, sent)
    }
}

#[test]
fn keys_and_shares_go_out_and_come_in() {
    let (actions, sent) = Rig::step(Stage::Training);
    assert_eq!(state(&actions), Some(SessionState::Sharing));
    assert_eq!(sent, [ClientMessage::AdvertiseKeys { round: ROUND, keys: keys() }]);

    let (actions, sent) = Rig::step(Stage::Advertised);
    let request = SecureRequest::Share(directory(ROUND));
    assert_eq!(actions, [Action::Secure(ROUND, request)]);
    assert!(sent.is_empty());

    let (_, sent) = Rig::step(Stage::Sharing);
    assert_eq!(sent, [ClientMessage::ShareKeys { round: ROUND, shares: Vec::new() }]);
}

#[test]
fn a_participation_is_written_down_before_anything_is_masked() {
    let (actions, sent) = Rig::step(Stage::Shared);
    assert_eq!(actions, [Action::Record { round: ROUND, participations: 1 }]);
    assert!(sent.is_empty());

    let (actions, sent) = Rig::step(Stage::Recording);
    assert_eq!(terms(&actions).map(|terms| terms.participations), Some(1));
    let shares = vec![EncryptedShare { peer: 1, ciphertext: vec![1] }];
    assert_eq!(actions.last(), Some(&Action::Secure(ROUND, SecureRequest::Mask(shares))));
    assert!(sent.is_empty());
}

#[test]
fn the_masked_update_is_announced_with_the_weight_of_everybody() {
    let (actions, sent) = Rig::step(Stage::Masking);
    assert_eq!(state(&actions), Some(SessionState::Uploading));
    let [ClientMessage::UpdateBegin(begin)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((begin.bytes, begin.examples), (5, 1));
    let (actions, _) = Rig::step(Stage::Uploading);
    assert_eq!(state(&actions), Some(SessionState::Reported));
}

#[test]
fn masks_come_off_once_the_survivors_are_known() {
    let (actions, sent) = Rig::step(Stage::Reported);
    assert!(actions.contains(&Action::Secure(ROUND, SecureRequest::Unmask(vec![0, 2, 5]))));
    assert_eq!(state(&actions), Some(SessionState::Unmasking));
    assert!(sent.is_empty());

    let (actions, sent) = Rig::step(Stage::Unmasking);
    assert_eq!(state(&actions), Some(SessionState::Reported));
    assert!(matches!(sent[..], [ClientMessage::UnmaskingShares { round: ROUND, .. }]));

    let (actions, _) = Rig::step(Stage::Unmasked);
    assert_eq!(state(&actions), Some(SessionState::Waiting));
    assert!(actions.contains(&Action::Abort), "its secrets are forgotten");
    assert!(problems(&actions).is_empty());
}

/// Number of the three requests that were asked at a stage already.
fn asked(stage: Stage) -> usize {
    match stage {
        Stage::Training | Stage::Advertised => 0,
        Stage::Sharing | Stage::Shared => 1,
        Stage::Recording | Stage::Masking | Stage::Uploading | Stage::Reported => 2,
        Stage::Unmasking | Stage::Unmasked => 3,
    }
}

const REQUESTS: [fn(RoundId) -> Event; 3] = [share_request, mask_request, unmask_request];

#[test]
fn every_request_that_is_not_due_ends_the_clients_part() {
    let due = |stage, request: usize| {
        matches!(
            (stage, request),
            (Stage::Advertised, 0) | (Stage::Shared, 1) | (Stage::Reported, 2)
        )
    };
    for stage in STAGES {
        for (index, request) in REQUESTS.iter().enumerate() {
            if due(stage, index) || index < asked(stage) {
                continue;
            }
            leaves(stage, request(ROUND));
        }
    }
}

#[test]
fn a_request_that_comes_again_with_another_content_ends_the_clients_part() {
    let shares = vec![EncryptedShare { peer: 1, ciphertext: vec![2] }];
    let (survivors, deadline) = (vec![0, 2], seconds(5));
    let others = [
        ServerMessage::KeyDirectory(KeyDirectory { cohort: 11, ..directory(ROUND) }),
        ServerMessage::MaskedInputRequest(MaskedInputRequest { round: ROUND, shares, deadline }),
        ServerMessage::UnmaskingRequest(UnmaskingRequest { round: ROUND, survivors, deadline }),
    ];
    for stage in STAGES {
        for other in &others[..asked(stage)] {
            leaves(stage, Event::Received(other.clone()));
        }
    }
}

/// The client leaves its round when it is at `stage` and this happens.
#[track_caller]
fn leaves(stage: Stage, event: Event) {
    let mut rig = Rig::at(stage);
    let actions = rig.feed(event);
    assert!(actions.contains(&Action::Abort), "{stage:?}: {actions:?}");
    let does = |action: &Action| matches!(action, Action::Secure(..) | Action::Record { .. });
    assert!(!actions.iter().any(does), "{stage:?}: {actions:?}");
    assert_eq!(problems(&actions)[0].0, "secure-aggregation-failed");
    assert_eq!(state(&actions), Some(SessionState::Waiting));
    let paused = ClientMessage::SetAvailability(Availability::Paused);
    let sent = rig.sent();
    let [ClientMessage::Decline { round: ROUND, .. }, last] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*last, paused);
    // Whatever comes after that is about a round that it has left.
    for request in REQUESTS {
        assert_eq!(rig.feed(request(ROUND)), [], "{stage:?}");
    }
    assert_eq!(rig.feed(next(stage)).iter().filter(|action| does(action)).count(), 0);
    assert!(rig.sent().is_empty(), "{stage:?}");
}

#[test]
fn requests_about_other_rounds_are_ignored() {
    for stage in STAGES {
        for request in [share_request, mask_request, unmask_request] {
            let mut rig = Rig::at(stage);
            assert_eq!(rig.feed(request(OTHER)), [], "{stage:?}");
            assert!(rig.sent().is_empty(), "{stage:?}");
        }
    }
    let (mut rig, _) = Rig::in_private(config(), Mechanism::Distributed);
    assert_eq!(rig.feed(unmask_request(ROUND)), []);
}

#[test]
fn other_tasks_know_no_secure_aggregation() {
    for request in [share_request, mask_request, unmask_request] {
        let actions = Rig::working().feed(request(ROUND));
        assert!(actions.contains(&Action::Disconnect { code: 1002 }), "{actions:?}");
        let (mut rig, _) = Rig::in_private(config(), Mechanism::Local);
        rig.feed(Event::Received(private_assignment(ROUND)));
        let actions = rig.feed(request(ROUND));
        assert!(actions.contains(&Action::Disconnect { code: 1002 }), "{actions:?}");
    }
}

#[test]
fn a_step_that_fails_ends_the_clients_part() {
    for stage in [Stage::Sharing, Stage::Masking, Stage::Unmasking] {
        let mut rig = Rig::at(stage);
        let reason = "the shares from client 3 are not what it sent".to_string();
        let failure = Failure::SecureAggregationFailed;
        let actions = rig.feed(Event::Failed { round: ROUND, failure, reason });
        assert!(problems(&actions)[0].1.contains("client 3"), "the owner hears whose");
        let [ClientMessage::Decline { reason, .. }, paused] = &rig.sent()[..] else {
            panic!("{stage:?}")
        };
        assert_eq!(*paused, ClientMessage::SetAvailability(Availability::Paused));
        assert!(!reason.contains("client 3"), "{reason}");
        assert_eq!(rig.feed(unmask_request(ROUND)), []);
        assert!(rig.sent().is_empty());
    }
}

#[test]
fn an_update_without_a_mask_is_never_announced() {
    let mut rig = Rig::at(Stage::Training);
    let update = Bytes::from_static(&[0; 8]);
    let actions = rig.feed(Event::Trained { round: ROUND, update, examples: 1 });
    assert_eq!(problems(&actions)[0].0, "secure-aggregation-failed");
    assert!(matches!(rig.sent()[..], [ClientMessage::Decline { .. }, _]));
}

#[test]
fn a_round_that_ends_before_the_update_left_discards_it() {
    for stage in STAGES {
        let mut rig = Rig::at(stage);
        let over = status(2, RoundPhase::Selecting);
        let actions = rig.feed(Event::Received(ServerMessage::TaskStatus(Box::new(over))));
        let discarded = actions.iter().any(|action| {
            matches!(
                action,
                Action::Emit(ClientEvent::Update { outcome: UpdateFate::Discarded, round: 1, .. })
            )
        });
        assert_eq!(discarded, stage < Stage::Uploading, "{stage:?}");
        // An update on its way waits for what the server says of it.
        assert_eq!(actions.contains(&Action::Abort), stage != Stage::Uploading, "{stage:?}");
    }
}

#[test]
fn an_answer_that_is_turned_down_ends_the_clients_part() {
    for stage in [Stage::Advertised, Stage::Shared, Stage::Uploading, Stage::Unmasked] {
        let mut rig = Rig::at(stage);
        let verdict = UpdateVerdict::Rejected(UpdateFault::InvalidShares);
        let actions = rig.feed(outcome(ROUND, verdict));
        assert!(actions.contains(&Action::Abort), "{stage:?}");
        assert_eq!(state(&actions), Some(SessionState::Waiting));
        let paused = ClientMessage::SetAvailability(Availability::Paused);
        assert_eq!(rig.sent(), [paused], "the server knows the rest");
    }
}

/// The order that the server gave last.
fn order(stage: Stage) -> Event {
    match asked(stage) {
        0 => Event::Received(private_assignment(ROUND)),
        n => REQUESTS[n - 1](ROUND),
    }
}

/// Messages that the client says again when the order comes again.
fn said_again(stage: Stage, said: &[ClientMessage]) -> Vec<ClientMessage> {
    let is_it = |message: &&ClientMessage| match stage {
        Stage::Advertised => matches!(message, ClientMessage::AdvertiseKeys { .. }),
        Stage::Shared => matches!(message, ClientMessage::ShareKeys { .. }),
        Stage::Uploading | Stage::Reported => matches!(message, ClientMessage::UpdateBegin(_)),
        Stage::Unmasked => matches!(message, ClientMessage::UnmaskingShares { .. }),
        // It is at work on it.
        _ => false,
    };
    said.iter().filter(is_it).cloned().collect()
}

#[test]
fn an_order_that_comes_again_after_a_lost_connection_gets_the_same_answer() {
    for stage in STAGES {
        let (mut rig, said) = Rig::at_having_said(stage);
        let actions = rig.lose();
        assert!(!actions.contains(&Action::Abort), "{stage:?}: the secrets are kept");
        let actions = rig.greet();
        assert!(!actions.contains(&Action::Abort), "{stage:?}");
        assert_ne!(state(&actions), Some(SessionState::Waiting), "{stage:?}");
        for _ in 0..2 {
            let again = rig.feed(order(stage));
            let does = |action: &Action| {
                matches!(action, Action::Secure(..) | Action::Record { .. } | Action::Work(_))
            };
            assert!(!again.iter().any(does), "{stage:?}: nothing is done twice");
        }
        assert_eq!(rig.sent(), said_again(stage, &said), "{stage:?}: once a connection");
    }
}

#[test]
fn a_step_that_is_done_while_there_is_no_connection_is_answered_after_the_next() {
    for stage in
        [Stage::Training, Stage::Sharing, Stage::Recording, Stage::Masking, Stage::Unmasking]
    {
        let mut rig = Rig::at(stage);
        rig.lose();
        let actions = rig.feed(next(stage));
        assert!(state(&actions).is_none(), "{stage:?}: it is reconnecting, the owner knows");
        assert!(rig.sent().is_empty(), "{stage:?}");
        if stage == Stage::Recording {
            let shares = vec![EncryptedShare { peer: 1, ciphertext: vec![1] }];
            let mask = Action::Secure(ROUND, SecureRequest::Mask(shares));
            assert_eq!(actions.last(), Some(&mask));
            continue;
        }
        rig.greet();
        rig.feed(order(stage));
        assert_eq!(rig.sent().len(), 1, "{stage:?}");
    }
}

#[test]
fn a_step_that_is_done_before_its_order_comes_again_is_answered_once() {
    for stage in [Stage::Training, Stage::Sharing, Stage::Masking, Stage::Unmasking] {
        let mut rig = Rig::at(stage);
        rig.reconnect();
        rig.feed(next(stage));
        assert_eq!(rig.sent().len(), 1, "{stage:?}");
        // It was on its way when the answer left.
        assert_eq!(rig.feed(order(stage)), []);
        assert!(rig.sent().is_empty(), "{stage:?}: a second answer would be a duplicate");
    }
}

#[test]
fn a_round_goes_on_to_its_end_wherever_connections_were_lost() {
    for lost in STAGES {
        let mut rig = Rig::at(lost);
        rig.reconnect();
        rig.feed(order(lost));
        let mut actions = Vec::new();
        for stage in STAGES.into_iter().filter(|stage| *stage >= lost) {
            actions = rig.feed(next(stage));
            assert!(problems(&actions).is_empty(), "{lost:?} {stage:?}: {actions:?}");
        }
        assert_eq!(state(&actions), Some(SessionState::Waiting), "{lost:?}");
    }
}

#[test]
fn an_acceptance_that_was_lost_does_not_keep_the_masks_on() {
    let mut rig = Rig::at(Stage::Uploading);
    rig.feed(Event::Received(ServerMessage::UploadReady { round: ROUND, offset: 0 }));
    assert_eq!(rig.sent().len(), 2, "all of it is sent");
    rig.reconnect();
    assert!(matches!(rig.sent()[..], [ClientMessage::UpdateBegin(_)]));
    // The server has counted it, and is a step further.
    let actions = rig.feed(unmask_request(ROUND));
    assert!(actions.contains(&Action::Secure(ROUND, SecureRequest::Unmask(vec![0, 2, 5]))));
    for told in [true, false] {
        let actions = rig.feed(outcome(ROUND, UpdateVerdict::Accepted));
        let news = |action: &Action| matches!(action, Action::Emit(ClientEvent::Update { .. }));
        assert_eq!(actions.iter().any(news), told, "once");
    }
    rig.feed(next(Stage::Unmasking));
    assert!(matches!(rig.sent()[..], [ClientMessage::UnmaskingShares { .. }]));
}

#[test]
fn a_round_that_a_pause_left_is_declined_where_the_server_has_not_heard_of_the_pause() {
    for stage in STAGES {
        // There is no connection, or it breaks with the news still to be sent.
        for connected in [true, false] {
            let mut rig = Rig::at(stage);
            if !connected {
                rig.lose();
            }
            assert!(rig.feed(Event::Pause).contains(&Action::Abort), "{stage:?}");
            rig.feed(Event::Resume);
            if connected {
                rig.feed(Event::Disconnected { reason: "gone".into() });
                rig.now = rig.session.deadline().unwrap();
                rig.feed(Event::Timer);
            }
            assert_eq!(state(&rig.greet()), Some(SessionState::Waiting));
            assert!(rig.sent().is_empty(), "{stage:?}");
            assert_eq!(rig.feed(order(stage)), [], "{stage:?}");
            let sent = rig.sent();
            assert!(
                matches!(sent[..], [ClientMessage::Decline { round: ROUND, .. }]),
                "{stage:?}: the cohort would wait for it: {sent:?}"
            );
        }
        // A server that has heard of it needs no second word.
        let mut rig = Rig::at(stage);
        rig.feed(Event::Pause);
        rig.feed(Event::Resume);
        let [paused, available] = &rig.sent()[..] else { panic!("{stage:?}") };
        assert_eq!(*paused, ClientMessage::SetAvailability(Availability::Paused));
        assert_eq!(*available, ClientMessage::SetAvailability(Availability::Available));
        for request in REQUESTS {
            assert_eq!(rig.feed(request(ROUND)), [], "crossed on the wire");
        }
        assert!(rig.sent().is_empty(), "{stage:?}");
    }
}

#[test]
fn a_round_that_was_left_is_declined_again_after_a_lost_connection() {
    // The message may have been lost, or there was no connection to send it over.
    for connected in [true, false] {
        let mut rig = Rig::at(Stage::Sharing);
        if !connected {
            rig.lose();
        }
        let reason = "the shares do not fit".into();
        let failure = Failure::SecureAggregationFailed;
        let actions = rig.feed(Event::Failed { round: ROUND, failure, reason });
        assert!(actions.contains(&Action::Abort));
        assert_eq!(rig.sent().len(), 2 * usize::from(connected), "that, and that it stays out");
        if connected {
            rig.lose();
        }
        assert_eq!(state(&rig.greet()), Some(SessionState::Waiting));
        assert!(rig.sent().is_empty(), "the server may have forgotten the round");
        for orders in [[Stage::Sharing, Stage::Sharing].as_slice(), &[Stage::Training]] {
            for stage in orders {
                assert_eq!(rig.feed(order(*stage)), []);
            }
            let sent = rig.sent();
            let [ClientMessage::Decline { reason, .. }] = &sent[..] else { panic!("{sent:?}") };
            assert!(!reason.contains("shares"), "{reason}");
        }
    }
}

#[test]
fn a_client_in_a_buffered_task_goes_on_while_models_are_made() {
    let (mut rig, _) = Rig::in_private(config(), Mechanism::Distributed);
    let ServerMessage::RoundAssignment(plain) = private_assignment(ROUND) else { unreachable!() };
    let buffered = RoundAssignment { max_staleness: 2, ..plain };
    rig.feed(Event::Received(ServerMessage::RoundAssignment(buffered)));
    rig.feed(Event::Downloaded { round: ROUND });
    let at = |round| {
        let status = status(round, RoundPhase::Collecting);
        Event::Received(ServerMessage::TaskStatus(Box::new(status)))
    };
    for stage in &STAGES[..9] {
        assert!(!rig.feed(at(3)).contains(&Action::Abort), "{stage:?}");
        rig.feed(next(*stage));
    }
    let sent = rig.sent();
    let last = sent.last();
    assert!(matches!(last, Some(ClientMessage::UnmaskingShares { .. })), "{last:?}");
    assert!(rig.feed(at(4)).contains(&Action::Abort));
}
