//! A session in the browser goes through a round: from data to an accepted
//! update, every message as bytes, and comes back after a lost connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fedra_edge_client::session::{Action, Event, SecureReply, SecureRequest, Session};
use fedra_edge_client::{
    ClientEvent, Consent, PrivacyConfig, PrivacyFloors, SessionState, UpdateFate,
};
use fedra_protocol::{
    AdvertisedKeys, Availability, Capabilities, CheckedIn, ClientMessage, KeyDirectory,
    LocalTraining, Mechanism, ModelRef, ModelSpec, PrivacyPolicy, RoundAssignment, RoundId,
    RoundPhase, RoundPrivacy, ServerMessage, Sha256Hash, SubjectId, TaskDescription, TaskId,
    TaskStatus, UpdateChunk, UpdateOutcome, UpdateRange, UpdateVerdict, Welcome,
};
use wasm_bindgen_test::wasm_bindgen_test;

const ROUND: RoundId = RoundId { round: 1, attempt: 0 };
const CHUNK: u32 = 6;

/// A session and the other end of its wire.
struct Wire {
    session: Session,
    now: Duration,
    privacy: Option<PrivacyPolicy>,
}

impl Wire {
    fn new(privacy: Option<PrivacyPolicy>) -> Self {
        let config = PrivacyConfig {
            floors: PrivacyFloors::default(),
            consent: Consent::Granted,
            subject: subject(),
            participations: 0,
        };
        Self { session: Session::new(task_id(), config), now: Duration::ZERO, privacy }
    }

    fn feed(&mut self, event: Event) -> Vec<Action> {
        self.now += Duration::from_millis(1);
        self.session.handle(event, self.now, 0.5)
    }

    fn receive(&mut self, message: &ServerMessage) -> Vec<Action> {
        let message = ServerMessage::decode(message.encode()).unwrap();
        self.feed(Event::Received(message))
    }

    fn sent(&mut self) -> Vec<ClientMessage> {
        std::iter::from_fn(|| self.session.poll_transmit())
            .map(|message| ClientMessage::decode(message.encode()).unwrap())
            .collect()
    }

    fn greet(&mut self) {
        self.feed(Event::Connected { token: None });
        assert!(matches!(self.sent()[..], [ClientMessage::Hello(_)]));
        self.receive(&ServerMessage::Welcome(Welcome {
            version: 1,
            session_id: "browser".into(),
            heartbeat: Duration::from_secs(20),
            max_chunk_bytes: CHUNK,
        }));
        let observes = self.session.task().is_none();
        let check_in = ClientMessage::CheckIn {
            task: task_id(),
            availability: if observes { Availability::Paused } else { Availability::Available },
            subject: Some(subject()),
            token: None,
            capabilities: Capabilities::all(),
        };
        assert_eq!(self.sent(), [check_in]);
        let mut actions = self.receive(&ServerMessage::CheckedIn(Box::new(CheckedIn {
            task: TaskDescription {
                id: task_id(),
                title: "Digits".into(),
                model: ModelSpec::mnist_2nn(),
                update_range: UpdateRange::new(64).expect("a power of two"),
                data: None,
                client_evaluation: None,
                frozen: None,
                privacy: self.privacy.clone(),
            },
            status: status(),
        })));
        if observes {
            assert!(actions.contains(&Action::Judge), "{actions:?}");
            actions = self.feed(Event::DataReady);
            let available = ClientMessage::SetAvailability(Availability::Available);
            assert_eq!(self.sent(), [available]);
        }
        assert!(is_now(&actions, SessionState::Waiting), "{actions:?}");
    }
}

fn task_id() -> TaskId {
    TaskId::new("digits").unwrap()
}

fn subject() -> SubjectId {
    SubjectId::from_bytes([7; 16])
}

fn assignment(privacy: Option<RoundPrivacy>) -> ServerMessage {
    ServerMessage::RoundAssignment(RoundAssignment {
        round: ROUND,
        model: model(),
        training: LocalTraining::default(),
        deadline: Duration::from_secs(60),
        max_staleness: 0,
        privacy,
        codec: None,
        evaluates: false,
        steps: Box::default(),
        drawn: None,
        control: None,
    })
}

fn model() -> ModelRef {
    ModelRef { round: 0, sha256: Sha256Hash::of(b"model"), url: "models/x".into(), bytes: 8 }
}

fn status() -> TaskStatus {
    TaskStatus {
        round: ROUND,
        phase: RoundPhase::Selecting,
        clients_connected: 1,
        cohort: 0,
        reported: 0,
        left: 0,
        report_goal: 1,
        deadline: None,
        model: model(),
        evaluation: None,
        client_evaluation: None,
        rounds_total: None,
        privacy_spent_epsilon: None,
    }
}

fn is_now(actions: &[Action], wanted: SessionState) -> bool {
    actions.iter().any(|action| {
        matches!(action, Action::Emit(ClientEvent::Status { state, .. }) if *state == wanted)
    })
}

#[wasm_bindgen_test]
fn a_round_from_data_to_an_accepted_update() {
    let mut wire = Wire::new(None);
    assert!(wire.feed(Event::Start).contains(&Action::Connect));
    wire.greet();
    let actions = wire.receive(&assignment(None));
    assert!(actions.iter().any(|action| matches!(action, Action::Work(_))), "{actions:?}");
    assert!(is_now(&wire.feed(Event::Downloaded { round: ROUND }), SessionState::Training));

    let update = Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8]);
    wire.feed(Event::Trained { round: ROUND, update: update.clone(), examples: 30 });
    let [ClientMessage::UpdateBegin(begin)] = &wire.sent()[..] else {
        panic!("no announcement");
    };
    assert_eq!((begin.round, begin.bytes, begin.examples), (ROUND, 8, 30));

    wire.receive(&ServerMessage::UploadReady { round: ROUND, offset: 0 });
    let mut arrived = BytesMut::new();
    for message in wire.sent() {
        let ClientMessage::UpdateChunk(chunk) = message else {
            panic!("not a chunk: {message:?}");
        };
        assert!(chunk.data.len() <= CHUNK as usize);
        assert_eq!(chunk, UpdateChunk::new(ROUND, arrived.len() as u64, chunk.data.clone()));
        arrived.extend_from_slice(&chunk.data);
    }
    assert_eq!(arrived, update);

    let actions = wire.receive(&ServerMessage::UpdateOutcome(UpdateOutcome {
        round: ROUND,
        verdict: UpdateVerdict::Accepted,
        message: String::new(),
    }));
    let accepted = |action: &Action| {
        matches!(
            action,
            Action::Emit(ClientEvent::Update { outcome: UpdateFate::Accepted, round: 1, .. })
        )
    };
    assert!(actions.iter().any(accepted), "{actions:?}");
}

#[wasm_bindgen_test]
fn a_private_round_up_to_its_key_directory() {
    let policy = PrivacyPolicy {
        mechanism: Mechanism::Distributed,
        noise_multiplier: 1.0,
        clipping_norm: 0.5,
        target_quantile: None,
        epsilon: 50.0,
        delta: 1e-5,
        cohort: 10,
        minimum_survivors: 8,
        colluders: 0,
        max_participations: 2,
    };
    let mut wire = Wire::new(Some(policy));
    wire.feed(Event::Start);
    wire.greet();
    wire.receive(&assignment(Some(RoundPrivacy { clipping_norm: 0.5, rotation: [1; 32] })));
    wire.feed(Event::Downloaded { round: ROUND });
    let keys = AdvertisedKeys { encryption: [1; 32], masking: [2; 32] };
    let actions = wire.feed(Event::Secured { round: ROUND, reply: SecureReply::Keys(keys) });
    assert!(is_now(&actions, SessionState::Sharing), "{actions:?}");
    assert_eq!(wire.sent(), [ClientMessage::AdvertiseKeys { round: ROUND, keys }]);
    let directory = KeyDirectory {
        round: ROUND,
        own: 1,
        cohort: 8,
        threshold: 5,
        neighbours: Vec::new(),
        deadline: Duration::from_secs(5),
        group: None,
    };
    let actions = wire.receive(&ServerMessage::KeyDirectory(directory.clone()));
    assert_eq!(actions, [Action::Secure(ROUND, SecureRequest::Share(directory))]);
}

#[wasm_bindgen_test]
fn a_lost_connection_is_opened_again() {
    let mut wire = Wire::new(None);
    wire.feed(Event::Start);
    wire.greet();
    let actions = wire.feed(Event::Disconnected { reason: "gone".into() });
    assert!(is_now(&actions, SessionState::Reconnecting), "{actions:?}");
    wire.now = wire.session.deadline().expect("a time to try again");
    assert!(wire.feed(Event::Timer).contains(&Action::Connect));
    wire.greet();
}
