//! The session against a scripted server, on made-up time.

mod breaks;
mod failures;
mod observers;
mod private;
mod reconnects;
mod refusals;
mod secure;

use std::time::Duration;

use bytes::Bytes;
use fedra_privacy_policy::PrivacyFloors;
use fedra_protocol::*;

use super::{Action, Event, Session};
use crate::events::{ClientEvent, SessionState, UpdateFate};
use crate::failure::Failure;
use crate::privacy::{Consent, PrivacyConfig};

const ROUND: RoundId = RoundId { round: 1, attempt: 0 };
const HEARTBEAT: Duration = Duration::from_secs(20);

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn status(round: u64, phase: RoundPhase) -> TaskStatus {
    TaskStatus {
        round: RoundId { round, attempt: 0 },
        phase,
        clients_connected: 1,
        cohort: 1,
        reported: 0,
        left: 0,
        report_goal: 1,
        deadline: None,
        model: ModelRef {
            round: round - 1,
            sha256: Sha256Hash::of(&round.to_le_bytes()),
            url: "models/x".into(),
            bytes: 8,
        },
        evaluation: None,
        client_evaluation: None,
        rounds_total: None,
        privacy_spent_epsilon: None,
    }
}

fn assignment(round: RoundId) -> ServerMessage {
    ServerMessage::RoundAssignment(RoundAssignment {
        round,
        model: status(round.round, RoundPhase::Collecting).model,
        training: LocalTraining::default(),
        deadline: seconds(60),
        max_staleness: 0,
        privacy: None,
        codec: None,
        evaluates: false,
        steps: Box::default(),
        drawn: None,
        control: None,
    })
}

fn task(privacy: Option<PrivacyPolicy>) -> TaskDescription {
    TaskDescription {
        id: TaskId::new("digits").unwrap(),
        title: "Digits".into(),
        model: ModelSpec::softmax_regression(),
        update_range: UpdateRange::new(64).unwrap(),
        data: None,
        client_evaluation: None,
        frozen: None,
        privacy,
    }
}

fn config() -> PrivacyConfig {
    PrivacyConfig {
        floors: PrivacyFloors::default(),
        consent: Consent::Granted,
        subject: SubjectId::from_bytes([7; 16]),
        participations: 0,
    }
}

fn outcome(round: RoundId, verdict: UpdateVerdict) -> Event {
    let message = String::new();
    Event::Received(ServerMessage::UpdateOutcome(UpdateOutcome { round, verdict, message }))
}

/// A session with a clock of its own, and the task that its server has.
struct Rig {
    session: Session,
    now: Duration,
    task: TaskDescription,
    token: Option<Token>,
    max_chunk_bytes: u32,
    /// True if there are data, which fit any task.
    has_data: bool,
    /// The availability of the last check-in.
    checked_in_as: Availability,
}

impl Rig {
    fn new() -> Self {
        Self::with(config(), None)
    }

    fn with(config: PrivacyConfig, privacy: Option<PrivacyPolicy>) -> Self {
        let task = task(privacy);
        let session = Session::new(task.id.clone(), config);
        Self {
            session,
            now: seconds(100),
            task,
            token: None,
            max_chunk_bytes: 4,
            has_data: false,
            checked_in_as: Availability::Paused,
        }
    }

    fn feed(&mut self, event: Event) -> Vec<Action> {
        self.session.handle(event, self.now, 0.5)
    }

    fn sent(&mut self) -> Vec<ClientMessage> {
        std::iter::from_fn(|| self.session.poll_transmit()).collect()
    }

    /// Connected, checked in, between rounds.
    fn member() -> Self {
        let mut rig = Self::new();
        rig.start();
        assert_eq!(state(&rig.greet()), Some(SessionState::Waiting));
        rig
    }

    /// Opens a socket, with data.
    fn start(&mut self) {
        self.has_data = true;
        assert!(self.feed(Event::Start).contains(&Action::Connect));
    }

    /// Goes from the open socket to the check-in's answer.
    fn greet(&mut self) -> Vec<Action> {
        self.greet_at(status(1, RoundPhase::Selecting))
    }

    /// Goes from the open socket to the check-in.
    fn greet_up_to_the_check_in(&mut self) {
        self.feed(Event::Connected { token: self.token.clone() });
        assert!(matches!(self.sent()[..], [ClientMessage::Hello(_)]));
        self.feed(Event::Received(ServerMessage::Welcome(Welcome {
            version: 1,
            session_id: "s".into(),
            heartbeat: HEARTBEAT,
            max_chunk_bytes: self.max_chunk_bytes,
        })));
    }

    /// The same up to its answer, with a server that is there.
    fn greet_at(&mut self, status: TaskStatus) -> Vec<Action> {
        self.greet_up_to_the_check_in();
        let [ClientMessage::CheckIn { task, availability, subject, token, .. }] = &self.sent()[..]
        else {
            panic!("one check-in")
        };
        assert_eq!((task, token), (&self.task.id, &self.token));
        assert_eq!(*subject, Some(SubjectId::from_bytes([7; 16])));
        self.checked_in_as = *availability;
        let checked_in = CheckedIn { task: self.task.clone(), status };
        let mut actions =
            self.feed(Event::Received(ServerMessage::CheckedIn(Box::new(checked_in))));
        if self.has_data && actions.contains(&Action::Judge) {
            actions.extend(self.feed(Event::DataReady));
            // What makes a participant of an observer.
            let first = self.session.outbox.front();
            if first == Some(&ClientMessage::SetAvailability(Availability::Available)) {
                self.session.outbox.pop_front();
            }
        }
        actions
    }

    /// Loses the connection, and waits until it is opened again.
    fn lose(&mut self) -> Vec<Action> {
        let mut actions = self.feed(Event::Disconnected { reason: "gone".into() });
        assert!(self.sent().is_empty());
        self.now = self.session.deadline().expect("it tries again");
        actions.extend(self.feed(Event::Timer));
        actions
    }

    /// Loses the connection and checks in again; says what came of checking in.
    fn reconnect(&mut self) -> Vec<Action> {
        self.lose();
        self.greet()
    }

    /// In a round, training.
    fn working() -> Self {
        let mut rig = Self::member();
        let actions = rig.feed(Event::Received(assignment(ROUND)));
        assert!(actions.iter().any(|action| matches!(action, Action::Work(_))));
        rig
    }

    /// In a round, with an announced update.
    fn uploading() -> Self {
        let mut rig = Self::working();
        rig.feed(Event::Downloaded { round: ROUND });
        let update = Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        rig.feed(Event::Trained { round: ROUND, update, examples: 3 });
        assert!(matches!(rig.sent()[..], [ClientMessage::UpdateBegin(_)]));
        rig
    }
}

/// The last state that the owner was told.
fn state(actions: &[Action]) -> Option<SessionState> {
    actions.iter().rev().find_map(|action| match action {
        Action::Emit(ClientEvent::Status { state, .. }) => Some(*state),
        _ => None,
    })
}

#[test]
fn an_update_goes_out_in_chunks_once_the_server_has_room() {
    let mut rig = Rig::uploading();
    assert!(rig.sent().is_empty(), "nothing before UploadReady");
    rig.feed(Event::Received(ServerMessage::UploadReady { round: ROUND, offset: 0 }));
    let chunks = rig.sent();
    let offsets: Vec<(u64, usize)> = chunks
        .iter()
        .map(|message| match message {
            ClientMessage::UpdateChunk(chunk) => {
                assert_eq!(*chunk, UpdateChunk::new(chunk.round, chunk.offset, chunk.data.clone()));
                (chunk.offset, chunk.data.len())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(offsets, [(0, 4), (4, 4), (8, 1)]);
    let actions = rig.feed(outcome(ROUND, UpdateVerdict::Accepted));
    assert_eq!(state(&actions), Some(SessionState::Reported));
}

#[test]
fn an_upload_resumes_where_the_server_wants() {
    let mut rig = Rig::uploading();
    rig.feed(Event::Received(ServerMessage::UploadReady { round: ROUND, offset: 8 }));
    let [ClientMessage::UpdateChunk(chunk)] = &rig.sent()[..] else { panic!("one chunk") };
    assert_eq!((chunk.offset, &chunk.data[..]), (8, &[9u8][..]));
}

#[test]
fn a_lost_connection_keeps_the_work_and_comes_back_with_growing_waits() {
    let mut rig = Rig::working();
    let actions = rig.feed(Event::Disconnected { reason: "gone".into() });
    assert!(!actions.contains(&Action::Abort));
    assert_eq!(state(&actions), Some(SessionState::Reconnecting));
    let mut waits = Vec::new();
    for _ in 0..10 {
        let until = rig.session.deadline().expect("a retry is planned");
        waits.push(until - rig.now);
        assert!(rig.session.handle(Event::Timer, until - Duration::from_millis(1), 0.5).is_empty());
        rig.now = until;
        assert!(rig.feed(Event::Timer).contains(&Action::Connect));
        rig.feed(Event::Disconnected { reason: "refused".into() });
    }
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
    assert!(*waits.last().unwrap() <= seconds(30));
    rig.now = rig.session.deadline().unwrap();
    rig.feed(Event::Timer);
    rig.greet();
}

#[test]
fn a_silent_server_is_pinged_and_then_given_up() {
    let mut rig = Rig::member();
    rig.now += HEARTBEAT;
    assert_eq!(rig.session.deadline(), Some(rig.now));
    rig.feed(Event::Timer);
    assert!(matches!(rig.sent()[..], [ClientMessage::Ping { .. }]));
    rig.now += HEARTBEAT * 2;
    let actions = rig.feed(Event::Timer);
    assert!(actions.iter().any(|action| matches!(action, Action::Disconnect { .. })));
    assert_eq!(state(&actions), Some(SessionState::Reconnecting));
}

/// The server says nothing during an upload, and a ping waits behind what is on its way.
#[test]
fn an_upload_however_slow_is_no_silence_but_one_that_stops_is() {
    let mut rig = Rig::uploading();
    rig.feed(Event::Received(ServerMessage::UploadReady { round: ROUND, offset: 0 }));
    let is_given_up = |actions: &[Action]| {
        actions.iter().any(|action| matches!(action, Action::Disconnect { .. }))
    };
    for _ in 0..3 {
        let chunk = rig.session.poll_transmit();
        assert!(matches!(chunk, Some(ClientMessage::UpdateChunk(_))), "{chunk:?}");
        rig.now += HEARTBEAT * 2;
        // The timer was late, too.
        rig.feed(Event::Sent);
        assert!(!is_given_up(&rig.feed(Event::Timer)));
    }
    // A socket takes pings for as long as it has room, even if no server is behind it.
    let sent = rig.now;
    while !is_given_up(&rig.feed(Event::Timer)) {
        assert!(rig.now < sent + HEARTBEAT * 3, "a server that is gone is noticed");
        while rig.session.poll_transmit().is_some() {
            rig.feed(Event::Sent);
        }
        rig.now = rig.session.deadline().unwrap();
    }
    assert_eq!(rig.now, sent + HEARTBEAT * 3);
}

/// A chunk is the least that shows on a slow connection that it is not a dead one.
#[test]
fn chunks_are_no_larger_than_a_slow_connection_can_take_between_two_heartbeats() {
    let mut rig = Rig::new();
    rig.max_chunk_bytes = 256 << 10;
    rig.start();
    rig.greet();
    rig.feed(Event::Received(assignment(ROUND)));
    rig.feed(Event::Downloaded { round: ROUND });
    let update = vec![1; 200_000].into();
    rig.feed(Event::Trained { round: ROUND, update, examples: 3 });
    rig.sent();
    rig.feed(Event::Received(ServerMessage::UploadReady { round: ROUND, offset: 0 }));
    let length = |message: &ClientMessage| match message {
        ClientMessage::UpdateChunk(chunk) => chunk.data.len(),
        other => panic!("{other:?}"),
    };
    let lengths: Vec<usize> = rig.sent().iter().map(length).collect();
    assert_eq!(lengths, [65_536, 65_536, 65_536, 3_392]);
}

#[test]
fn a_server_that_never_answers_is_given_up_at_every_step() {
    for step in 0..3 {
        let mut rig = Rig::new();
        rig.start();
        if step >= 1 {
            rig.feed(Event::Connected { token: None });
        }
        if step >= 2 {
            rig.feed(Event::Received(ServerMessage::Welcome(Welcome {
                version: 1,
                session_id: "s".into(),
                heartbeat: HEARTBEAT,
                max_chunk_bytes: 4,
            })));
        }
        rig.now = rig.session.deadline().expect("there is a limit");
        let actions = rig.feed(Event::Timer);
        assert!(actions.iter().any(|action| matches!(action, Action::Disconnect { .. })), "{step}");
        assert_eq!(state(&actions), Some(SessionState::Reconnecting));
    }
}

#[test]
fn a_pause_leaves_the_round_and_declines_what_crosses_it_on_the_wire() {
    let mut rig = Rig::working();
    let actions = rig.feed(Event::Pause);
    assert!(actions.contains(&Action::Abort));
    assert_eq!(state(&actions), Some(SessionState::Paused));
    assert_eq!(rig.sent(), [ClientMessage::SetAvailability(Availability::Paused)]);
    let second = RoundId { round: 2, attempt: 0 };
    rig.feed(Event::Received(assignment(second)));
    assert!(matches!(rig.sent()[..], [ClientMessage::Decline { round, .. }] if round == second));
    assert_eq!(state(&rig.feed(Event::Resume)), Some(SessionState::Waiting));
    assert_eq!(rig.sent(), [ClientMessage::SetAvailability(Availability::Available)]);
}

#[test]
fn a_pause_that_ends_without_a_connection_leaves_what_there_was() {
    let resumed = |rig: &mut Rig| {
        assert_eq!(state(&rig.feed(Event::Pause)), Some(SessionState::Paused));
        rig.now += Duration::from_millis(100);
        let actions = rig.feed(Event::Resume);
        assert_eq!(rig.feed(Event::Resume), [], "once");
        match &actions[..] {
            [
                Action::Emit(ClientEvent::Status { state, round: None, retry_in_ms, reason: None }),
            ] => (*state, *retry_in_ms),
            other => panic!("{other:?}"),
        }
    };
    let mut rig = Rig::new();
    assert_eq!(resumed(&mut rig), (SessionState::Idle, None));
    rig.start();
    assert_eq!(resumed(&mut rig), (SessionState::Connecting, None));
    rig.feed(Event::Connected { token: None });
    assert_eq!(resumed(&mut rig), (SessionState::Connecting, None));

    // The first wait is 375 ms at this jitter.
    rig.feed(Event::Disconnected { reason: "gone".into() });
    assert_eq!(resumed(&mut rig), (SessionState::Reconnecting, Some(275)));

    let mut rig = Rig::working();
    rig.feed(Event::Received(ServerMessage::Refusal(Refusal {
        code: RefusalCode::NotSelected,
        message: "enough for now".into(),
        retry_after: Some(seconds(40)),
    })));
    // Chance adds 5 % to it.
    assert_eq!(resumed(&mut rig), (SessionState::Waiting, Some(41_900)));
}

#[test]
fn a_pause_survives_a_reconnect() {
    let mut rig = Rig::new();
    rig.feed(Event::Pause);
    rig.start();
    assert_eq!(state(&rig.greet()), Some(SessionState::Paused));
    assert_eq!(rig.checked_in_as, Availability::Paused);
    assert!(rig.sent().is_empty());
}

#[test]
fn a_round_that_ends_during_training_is_given_up() {
    let mut rig = Rig::working();
    let next = status(2, RoundPhase::Selecting);
    let actions = rig.feed(Event::Received(ServerMessage::TaskStatus(Box::new(next))));
    assert!(actions.contains(&Action::Abort));
    assert!(actions.iter().any(|action| matches!(
        action,
        Action::Emit(ClientEvent::Update { outcome: UpdateFate::Discarded, round: 1, .. })
    )));
    let update = Bytes::from_static(&[0; 4]);
    assert!(rig.feed(Event::Trained { round: ROUND, update, examples: 1 }).is_empty());
    assert!(rig.sent().is_empty(), "late work is not announced");
}

#[test]
fn failed_training_declines_the_round_and_stays() {
    let mut rig = Rig::working();
    let reason = "diverged".repeat(1000);
    rig.feed(Event::Failed { round: ROUND, failure: Failure::TrainingFailed, reason });
    let [message, _] = &rig.sent()[..] else { panic!("that, and that it stays out") };
    assert!(ClientMessage::decode(message.encode()).is_ok(), "the reason fits the limits");
    assert!(matches!(message, ClientMessage::Decline { .. }));
}

#[test]
fn an_unexpected_message_drops_the_connection() {
    let mut rig = Rig::new();
    rig.start();
    rig.feed(Event::Connected { token: None });
    let actions = rig.feed(Event::Received(assignment(ROUND)));
    assert!(actions.contains(&Action::Disconnect { code: 1002 }));
    assert!(rig.session.deadline().is_some(), "and tries again");
}

#[test]
fn close_ends_everything() {
    let mut rig = Rig::working();
    let actions = rig.feed(Event::Close);
    assert!(actions.contains(&Action::Abort));
    assert!(actions.contains(&Action::Disconnect { code: 1000 }));
    assert!(rig.session.is_closed());
    assert!(rig.feed(Event::Connected { token: None }).is_empty(), "it is over");
}
