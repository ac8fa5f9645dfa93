//! A client with a real socket and real training, against a server of few words.

mod leaving;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use fedra_data::{Dataset, Targets};
use fedra_learning::{init_parameters, safetensors};
use fedra_privacy_policy::PrivacyFloors;
use fedra_protocol::layers::Linear;
use fedra_protocol::{
    Availability, CentralNoise, CheckedIn, ClientMessage, CodecName, DataSpec, EncodedDataSpec,
    Layer, LocalTraining, Loss, Mechanism, ModelRef, ModelSpec, PrivacyPolicy, RoundAssignment,
    RoundId, RoundPhase, RoundPrivacy, ServerMessage, Sha256Hash, Shape, SubjectId,
    TaskDescription, TaskStatus, Token, UpdateBegin, UpdateChunk, UpdateOutcome, UpdateRange,
    UpdateVerdict, Welcome, checksum,
};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::codes::{EventCode, Notice};
use crate::events::UpdateFate;
use crate::failure::Failure;
use crate::privacy::Consent;
use crate::residual::ResidualStore;

const ROUND: RoundId = RoundId { round: 1, attempt: 0 };
const CHUNK: u32 = 4096;

/// A server with one model; sockets are the test's business.
struct Server {
    listener: TcpListener,
    address: SocketAddr,
    spec: ModelSpec,
    file: Vec<u8>,
    phase: RoundPhase,
    privacy: Option<PrivacyPolicy>,
    /// Description of its data, which an operator may change.
    data: RefCell<Option<EncodedDataSpec>>,
    codec: Option<CodecName>,
}

impl Server {
    async fn new() -> Self {
        Self::of(ModelSpec::softmax_regression()).await
    }

    async fn of(spec: ModelSpec) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let file = safetensors::write(&spec, &init_parameters(&spec, 1)).unwrap();
        let (phase, data) = (RoundPhase::Collecting, RefCell::default());
        Self { listener, address, spec, file, phase, privacy: None, data, codec: None }
    }

    fn model(&self) -> ModelRef {
        let sha256 = Sha256Hash::of(&self.file);
        ModelRef { round: 0, sha256, url: "models/x".into(), bytes: self.file.len() as u64 }
    }

    /// The next socket, up to the invitation. Any request for the model is answered.
    async fn session(&self) -> (Peer, Option<Token>) {
        let (mut peer, token, availability) = self.greet().await;
        if availability == Availability::Paused {
            let available = ClientMessage::SetAvailability(Availability::Available);
            assert_eq!(peer.next().await, available, "its data fit");
        }
        peer.send(self.invitation()).await;
        (peer, token)
    }

    /// The next socket, up to the check-in.
    async fn greet(&self) -> (Peer, Option<Token>, Availability) {
        let mut peer = Peer(self.socket().await);
        assert!(matches!(peer.next().await, ClientMessage::Hello(_)));
        peer.send(ServerMessage::Welcome(Welcome {
            version: 1,
            session_id: "s".into(),
            heartbeat: Duration::from_secs(60),
            max_chunk_bytes: CHUNK,
        }))
        .await;
        let ClientMessage::CheckIn { token, availability, .. } = peer.next().await else {
            panic!("checks in")
        };
        let data = self.data.borrow().clone();
        peer.send(ServerMessage::CheckedIn(Box::new(CheckedIn {
            task: TaskDescription {
                id: TaskId::new("digits").unwrap(),
                title: "Digits".into(),
                model: self.spec.clone(),
                update_range: UpdateRange::default_for(self.spec.loss()),
                data,
                client_evaluation: None,
                frozen: None,
                privacy: self.privacy.clone(),
            },
            status: self.status(),
        })))
        .await;
        (peer, token, availability)
    }

    async fn socket(&self) -> WebSocketStream<TcpStream> {
        loop {
            let (stream, _) = self.listener.accept().await.unwrap();
            let mut start = [0; 14];
            while stream.peek(&mut start).await.unwrap() < start.len() {}
            if &start == b"GET /v1/models" {
                self.serve_model(stream).await;
            } else {
                return tokio_tungstenite::accept_async(stream).await.unwrap();
            }
        }
    }

    /// Answers the next visitor, who wants the model.
    async fn hand_out_the_model(&self) {
        let (stream, _) = self.listener.accept().await.unwrap();
        self.serve_model(stream).await;
    }

    async fn serve_model(&self, mut stream: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let length = self.file.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&self.file).await.unwrap();
    }

    fn status(&self) -> TaskStatus {
        TaskStatus {
            round: ROUND,
            phase: self.phase,
            clients_connected: 1,
            cohort: 1,
            reported: 0,
            left: 0,
            report_goal: 1,
            deadline: None,
            model: self.model(),
            evaluation: None,
            client_evaluation: None,
            rounds_total: None,
            privacy_spent_epsilon: None,
        }
    }

    fn invitation(&self) -> ServerMessage {
        ServerMessage::RoundAssignment(RoundAssignment {
            round: ROUND,
            model: self.model(),
            training: LocalTraining::default(),
            deadline: Duration::from_secs(60),
            max_staleness: 0,
            privacy: self.privacy.as_ref().map(|policy| RoundPrivacy {
                clipping_norm: policy.clipping_norm,
                rotation: [3; 32],
            }),
            codec: self.codec,
            evaluates: false,
            steps: Box::default(),
            drawn: None,
            control: None,
        })
    }
}

/// The server's end of a socket.
struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn next(&mut self) -> ClientMessage {
        match self.0.next().await.expect("it is open").unwrap() {
            Message::Binary(bytes) => ClientMessage::decode(bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn send(&mut self, message: ServerMessage) {
        self.0.send(Message::Binary(message.encode())).await.unwrap();
    }

    async fn begin(&mut self) -> UpdateBegin {
        match self.next().await {
            ClientMessage::UpdateBegin(begin) => begin,
            other => panic!("{other:?}"),
        }
    }

    /// Takes the update from `received` on, up to `end` bytes.
    async fn take(&mut self, received: &mut Vec<u8>, end: usize) {
        let offset = received.len() as u64;
        self.send(ServerMessage::UploadReady { round: ROUND, offset }).await;
        while received.len() < end {
            let ClientMessage::UpdateChunk(chunk) = self.next().await else { panic!("a chunk") };
            assert_eq!(chunk, UpdateChunk::new(ROUND, received.len() as u64, chunk.data.clone()));
            received.extend_from_slice(&chunk.data);
        }
    }
}

fn data() -> LocalData {
    examples().into()
}

fn examples() -> Dataset {
    let pixels: Vec<f32> = (0..20 * 784).map(|i| (i % 7) as f32 / 7.0).collect();
    let classes = Targets::Classes((0..20).map(|i| i % 10).collect());
    Dataset::new(pixels, Shape::from_dims(&[784]).unwrap(), classes).unwrap()
}

/// A client whose tokens are numbered.
fn client(address: SocketAddr) -> Rc<Client> {
    client_with(address, ParticipationLog::nowhere(), ResidualStore::nowhere())
}

fn client_with(address: SocketAddr, log: ParticipationLog, residual: ResidualStore) -> Rc<Client> {
    let asked = Cell::new(0);
    let config = ClientConfig {
        url: format!("ws://{address}/v1/connect").parse().unwrap(),
        trust: Trust::default(),
        task: TaskId::new("digits").unwrap(),
        token: TokenSource::new(move || {
            asked.set(asked.get() + 1);
            std::future::ready(Ok(token(asked.get())))
        }),
        backend: BackendPreference::Cpu,
        privacy: PrivacyConfig {
            floors: PrivacyFloors::default(),
            consent: Consent::Granted,
            subject: SubjectId::from_bytes([7; 16]),
            participations: 0,
        },
        example_privacy: None,
        log,
        residual,
        dropouts: None,
    };
    let client = Client::new(config, TrainingSlots::new(1));
    drop(client.set_data(data()));
    Rc::new(client)
}

fn token(number: u32) -> Token {
    Token::new(format!("token-{number}")).unwrap()
}

/// Runs the client until its update is accepted; says how often it was told so.
async fn take_part(client: Rc<Client>) -> u32 {
    let mut accepted = 0;
    let steer = client.clone();
    client
        .run(|event| {
            if let ClientEvent::Update { outcome, .. } = event {
                assert_eq!(outcome, UpdateFate::Accepted);
                accepted += 1;
                steer.close();
            }
        })
        .await;
    accepted
}

#[tokio::test]
async fn an_upload_that_is_cut_off_goes_on_with_a_fresh_token() {
    let server = Server::new().await;
    let client = client(server.address);
    let serve = async {
        let (mut peer, first) = server.session().await;
        server.hand_out_the_model().await;
        let begin = peer.begin().await;
        let mut received = Vec::new();
        peer.take(&mut received, 2 * CHUNK as usize).await;
        drop(peer);

        let (mut peer, second) = server.session().await;
        assert_eq!((first, second), (Some(token(1)), Some(token(2))));
        assert_eq!(peer.begin().await, begin, "the same update");
        peer.take(&mut received, begin.bytes as usize).await;
        assert_eq!(checksum(&received), begin.crc32);
        let (verdict, message) = (UpdateVerdict::Accepted, String::new());
        let outcome = UpdateOutcome { round: ROUND, verdict, message };
        peer.send(ServerMessage::UpdateOutcome(outcome)).await;
        match peer.0.next().await {
            Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1000),
            other => panic!("says goodbye: {other:?}"),
        }
    };
    let ((), accepted) = futures_util::join!(serve, take_part(client));
    assert_eq!(accepted, 1);
}

#[tokio::test]
async fn what_a_short_round_does_is_told_in_its_order() {
    let server = Server::new().await;
    let client = client(server.address);
    let serve = async {
        let (mut peer, _) = server.session().await;
        server.hand_out_the_model().await;
        peer.begin().await;
        client.close();
        while peer.0.next().await.is_some_and(|item| item.is_ok()) {}
    };
    let mut told = Vec::new();
    let run = client.run(|event| match event {
        ClientEvent::Status { state, round: Some(_), .. } => told.push(format!("{state:?}")),
        ClientEvent::Progress { step, steps, .. } if step == steps => told.push("Steps".into()),
        _ => {}
    });
    let ((), _) = futures_util::join!(serve, run);
    assert_eq!(told, ["Downloading", "Training", "Steps", "Uploading"]);
}

#[tokio::test]
async fn a_goodbye_in_the_middle_of_an_upload_is_heard() {
    // More than sockets hold, so that the client is still sending when it closes.
    let layers = vec![Layer::Linear(Linear { outputs: 5000 })];
    let spec = ModelSpec::new(&[784], layers, Loss::SoftmaxCrossEntropy).unwrap();
    let server = Server::of(spec).await;
    let client = client(server.address);
    let serve = async {
        let (mut peer, _) = server.session().await;
        server.hand_out_the_model().await;
        let begin = peer.begin().await;
        peer.send(ServerMessage::UploadReady { round: ROUND, offset: 0 }).await;
        let Some(Ok(Message::Binary(first))) = peer.0.next().await else { panic!("a chunk") };
        client.close();
        let mut received = first.len() as u64;
        loop {
            match peer.0.next().await {
                Some(Ok(Message::Binary(bytes))) => received += bytes.len() as u64,
                Some(Ok(Message::Close(Some(frame)))) => {
                    assert_eq!(u16::from(frame.code), 1000);
                    break;
                }
                other => panic!("says goodbye: {other:?}"),
            }
        }
        assert!(received < begin.bytes, "it was in the middle: {received} of {}", begin.bytes);
    };
    let ((), accepted) = futures_util::join!(serve, take_part(client.clone()));
    assert_eq!(accepted, 0);
}

#[tokio::test]
async fn training_that_ends_without_a_connection_is_not_lost() {
    let server = Server::new().await;
    let client = client(server.address);
    let serve = async {
        let (peer, _) = server.session().await;
        // Nothing can be trained before the model is here.
        drop(peer);
        server.hand_out_the_model().await;
        let (mut peer, _) = server.session().await;
        let begin = peer.begin().await;
        let mut received = Vec::new();
        peer.take(&mut received, begin.bytes as usize).await;
        let (verdict, message) = (UpdateVerdict::Accepted, String::new());
        let outcome = UpdateOutcome { round: ROUND, verdict, message };
        peer.send(ServerMessage::UpdateOutcome(outcome)).await;
        // Held until the client has gone.
        while peer.0.next().await.is_some_and(|item| item.is_ok()) {}
    };
    let ((), accepted) = futures_util::join!(serve, take_part(client));
    assert_eq!(accepted, 1);
}

/// A client without data.
fn observer(address: SocketAddr) -> Rc<Client> {
    let client = client(address);
    client.withdraw_data();
    client
}

fn code(verdict: Result<(), DataRefused>) -> &'static str {
    verdict.expect_err("they are refused").code.as_str()
}

fn other_data() -> LocalData {
    let classes = Targets::Classes(vec![0; 3]);
    Dataset::new(vec![0.5; 3 * 16], Shape::from_dims(&[16]).unwrap(), classes).unwrap().into()
}

#[tokio::test]
async fn data_that_do_not_fit_are_refused_when_they_are_given() {
    let server = Server::new().await;
    let client = observer(server.address);
    let refused = client.set_data(other_data());
    let serve = async {
        let mut peer = server.greet().await.0;
        assert_eq!(code(refused.await), "bad-dataset");
        // Later ones are judged at once, and the first ones are not announced.
        assert_eq!(code(client.set_data(other_data()).await), "bad-dataset");
        assert_eq!(client.set_data(data()).await, Ok(()));
        let available = ClientMessage::SetAvailability(Availability::Available);
        assert_eq!(peer.next().await, available);
        // They stay where others do not fit.
        assert_eq!(code(client.set_data(other_data()).await), "bad-dataset");
        peer.send(server.invitation()).await;
        server.hand_out_the_model().await;
        peer.begin().await;
        client.close();
    };
    futures_util::join!(serve, client.run(|_| {}));
    assert_eq!(code(client.set_data(data()).await), "closed");
}

/// Arrays of which `largest` becomes 1.
fn arrays(largest: u32) -> EncodedDataSpec {
    let described = serde_json::json!({
        "kind": "array", "shape": [784], "dtype": "float32", "min": 0, "max": largest,
    });
    serde_json::from_value::<DataSpec>(described).unwrap().encoded()
}

#[tokio::test]
async fn data_that_were_read_as_the_task_no_longer_describes_them_are_not_trained_on() {
    let server = Server::new().await;
    *server.data.borrow_mut() = Some(arrays(1));
    let client = observer(server.address);
    let taken = client.set_data(LocalData::read(examples(), Some(arrays(1))));
    let [available, paused] =
        [Availability::Available, Availability::Paused].map(ClientMessage::SetAvailability);
    let mut told = Vec::new();
    let serve = async {
        let mut peer = server.greet().await.0;
        assert_eq!(taken.await, Ok(()));
        assert_eq!(peer.next().await, available);
        // The operator changes the description and starts the server again.
        *server.data.borrow_mut() = Some(arrays(255));
        drop(peer);
        let mut peer = server.greet().await.0;
        assert_eq!(peer.next().await, paused, "the examples have the old scale");
        let old = client.set_data(LocalData::read(examples(), Some(arrays(1))));
        assert_eq!(code(old.await), "bad-dataset");
        assert_eq!(client.set_data(LocalData::read(examples(), Some(arrays(255)))).await, Ok(()));
        assert_eq!(peer.next().await, available);
        client.close();
    };
    let run = client.run(|event| {
        if let ClientEvent::Error { code, message, .. } = event
            && code == EventCode::Failure(Failure::BadDataset)
        {
            told.push(message);
        }
    });
    futures_util::join!(serve, run);
    let [message] = told.as_slice() else { panic!("told once: {told:?}") };
    assert!(message.ends_with("give the data again"), "{message}");
}

#[tokio::test]
async fn arrays_that_their_owner_has_prepared_stay_when_the_description_of_files_changes() {
    let server = Server::new().await;
    let client = client(server.address);
    let serve = async {
        let (peer, ..) = server.session().await;
        server.hand_out_the_model().await;
        *server.data.borrow_mut() = Some(arrays(1));
        drop(peer);
        let (mut peer, _) = server.session().await;
        peer.begin().await;
        client.close();
    };
    futures_util::join!(serve, client.run(|_| {}));
}

#[tokio::test]
async fn an_observer_predicts_in_a_task_that_has_ended() {
    let mut server = Server::new().await;
    server.phase = RoundPhase::Finished;
    let client = observer(server.address);
    let mut problems = Vec::new();
    let is_known = tokio::sync::Notify::new();
    let serve = async {
        let _peer = server.greet().await;
        is_known.notified().await;
        let features = vec![0.5; 784];
        let (outputs, ()) =
            futures_util::join!(client.predict(&features), server.hand_out_the_model());
        assert_eq!(outputs.expect("the model is there").len(), 10);
        client.close();
    };
    let run = client.run(|event| match event {
        ClientEvent::Model { .. } => is_known.notify_one(),
        ClientEvent::Error { code, fatal, .. } => problems.push((code, fatal)),
        _ => {}
    });
    futures_util::join!(serve, run);
    assert_eq!(problems, [(EventCode::Notice(Notice::TaskFinished), false)]);
}

#[tokio::test]
async fn data_that_wait_for_the_task_can_be_taken_back() {
    let client = observer("127.0.0.1:1".parse().unwrap());
    let first = client.set_data(data());
    let second = client.set_data(data());
    assert_eq!(code(first.await), "aborted");
    client.withdraw_data();
    assert_eq!(code(second.await), "aborted");
    let third = client.set_data(data());
    client.close();
    client.run(|_| {}).await;
    assert_eq!(code(third.await), "closed");
}

/// A server whose task has a policy, which needs no secure aggregation.
async fn private_server() -> Server {
    let policy = PrivacyPolicy {
        mechanism: Mechanism::Central(CentralNoise::Independent),
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
    Server { privacy: Some(policy), ..Server::new().await }
}

#[tokio::test]
async fn no_update_leaves_before_the_owners_log_has_the_participation() {
    let server = private_server().await;
    let (asked, mut questions) = mpsc::unbounded();
    let log = ParticipationLog::new(move |participations| {
        let (answer, kept) = oneshot::channel();
        asked.unbounded_send((participations, answer)).expect("the test listens");
        async move { kept.await.expect("the test answers") }
    });
    let client = client_with(server.address, log, ResidualStore::nowhere());
    let serve = async {
        let (mut peer, _) = server.session().await;
        server.hand_out_the_model().await;
        let (participations, answer) = questions.next().await.expect("a question");
        assert_eq!(participations, 1);
        assert!(peer.next().now_or_never().is_none(), "nothing before the answer");
        answer.send(Ok(())).expect("the client waits");
        assert_eq!(peer.begin().await.examples, 1);
        client.close();
    };
    futures_util::join!(serve, client.run(|_| {}));
}

#[tokio::test]
async fn a_participation_that_is_not_kept_costs_the_round_and_sends_nothing() {
    let server = private_server().await;
    let log = ParticipationLog::new(|_| {
        std::future::ready(Err(crate::CallbackError::new("the storage is full")))
    });
    let client = client_with(server.address, log, ResidualStore::nowhere());
    let mut problems = Vec::new();
    let serve = async {
        let (mut peer, _) = server.session().await;
        server.hand_out_the_model().await;
        let ClientMessage::Decline { reason, cause, .. } = peer.next().await else {
            panic!("leaves the round")
        };
        assert!(!reason.contains("storage") && cause.is_none(), "no word about why");
        let paused = ClientMessage::SetAvailability(Availability::Paused);
        assert_eq!(peer.next().await, paused, "for a while");
        client.close();
    };
    let run = client.run(|event| {
        if let ClientEvent::Error { code, message, fatal } = event {
            problems.push((code, message, fatal));
        }
    });
    futures_util::join!(serve, run);
    let message = "taking part cannot be written down (the storage is full)".to_owned();
    assert_eq!(problems, [(Failure::ParticipationNotKept.into(), message, false)]);
}
