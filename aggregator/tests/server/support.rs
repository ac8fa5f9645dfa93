//! A server to test, a client that says exactly what a test wants, and a plain
//! HTTP GET.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedra_aggregator::config::Config;
use fedra_aggregator::storage::Storage;
use fedra_aggregator::{ServeError, Signals};
use fedra_learning::safetensors;
use fedra_protocol::{
    Availability, Capabilities, CheckedIn, ClientMessage, Hello, PROTOCOL_VERSION, Refusal,
    RoundAssignment, RoundId, RoundPhase, ServerMessage, Standby, SubjectId, TaskId, TaskStatus,
    Token, UpdateBegin, UpdateChunk, UpdateOutcome, UpdateVerdict, Welcome,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt, stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("hangs")
}

/// The tiny model as TOML.
pub const TINY_MODEL: &str =
    r#"{ input = [2], layers = [{ type = "linear", outputs = 1 }], loss = "mean_squared_error" }"#;
/// Parameters of the tiny model: two weights and a bias.
pub const PARAMETERS: usize = 3;

/// A config with one task of the tiny model; `round` and `rest` are TOML.
pub fn config(store: &Path, round: &str, rest: &str) -> Config {
    config_of(store, round, rest, "")
}

/// The same with TOML for the task itself.
pub fn config_of(store: &Path, round: &str, rest: &str, task: &str) -> Config {
    config_with(store, round, rest, task, "")
}

/// The same with more tables below the task.
pub fn config_with(store: &Path, round: &str, rest: &str, task: &str, tables: &str) -> Config {
    let window = if round.contains("selection_window") { "" } else { "selection_window = \"0s\"" };
    let toml = format!(
        r#"
        [server]
        listen = "127.0.0.1:0"
        store = "{}"
        drain_timeout = "0s"
        {rest}
        [[task]]
        id = "tiny"
        title = "A tiny task"
        model = {TINY_MODEL}
        {task}
        [task.round]
        {window}
        {round}
        {tables}
        "#,
        store.display()
    );
    Config::from_toml(&toml).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

pub struct TestServer {
    pub address: SocketAddr,
    pub folder: Arc<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), ServeError>>,
}

impl TestServer {
    /// Starts with a folder of its own.
    pub async fn start(round: &str) -> Self {
        Self::start_with(round, "").await
    }

    pub async fn start_with(round: &str, rest: &str) -> Self {
        let folder = Arc::new(TempDir::new().expect("a folder"));
        let config = config(&folder.path().join("store"), round, rest);
        Self::start_config(config, folder).await
    }

    /// Starts a task with a limited number of rounds.
    pub async fn start_rounds(round: &str, rounds: u64) -> Self {
        let folder = Arc::new(TempDir::new().expect("a folder"));
        let rounds = format!("rounds = {rounds}");
        let config = config_of(&folder.path().join("store"), round, "", &rounds);
        Self::start_config(config, folder).await
    }

    pub async fn start_config(config: Config, folder: Arc<TempDir>) -> Self {
        Self::serve(folder, |listener, stop| fedra_aggregator::run(config, listener, stop)).await
    }

    /// Starts and goes by each config that is sent.
    pub async fn start_reloading(
        config: Config,
        folder: Arc<TempDir>,
    ) -> (Self, mpsc::UnboundedSender<Config>) {
        let (reload, mut configs) = mpsc::unbounded_channel();
        let configs = stream::poll_fn(move |context| configs.poll_recv(context));
        let server = Self::serve(folder, |listener, stop| {
            let signals = Signals::new(stop).with_reload(configs);
            fedra_aggregator::run(config, listener, signals)
        });
        (server.await, reload)
    }

    /// Starts with a store of the test's own.
    pub async fn start_store(config: Config, store: Storage) -> Self {
        let folder = Arc::new(TempDir::new().expect("a folder"));
        Self::serve(folder, |listener, stop| {
            fedra_aggregator::run_with_store(config, store, listener, stop)
        })
        .await
    }

    async fn serve<F>(
        folder: Arc<TempDir>,
        run: impl FnOnce(TcpListener, BoxFuture<'static, ()>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<(), ServeError>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        let running = tokio::spawn(run(listener, stopped.boxed()));
        Self { address, folder, stop: Some(stop), running }
    }

    /// Stops in an orderly way.
    pub async fn stop(mut self) {
        let _ = self.stop.take().expect("once").send(());
        soon(&mut self.running).await.expect("no panic").expect("no error");
    }

    pub async fn client(&self) -> TestClient {
        TestClient::connect(self.address).await
    }

    /// A client that has checked in.
    pub async fn joined(&self) -> TestClient {
        let mut client = self.client().await;
        client.check_in("tiny").await;
        client
    }

    pub async fn task(&self) -> serde_json::Value {
        get(self.address, "/v1/tasks/tiny").await.json()
    }

    /// The parameters of the newest model.
    pub async fn parameters(&self) -> Vec<f32> {
        parameters(&get(self.address, &model_of("/v1/tasks/tiny", &self.task().await)).await.body)
    }
}

/// Address of the newest model of a task, which was read from `document`.
pub fn model_of(document: &str, task: &serde_json::Value) -> String {
    let mut address = task["model"]["url"].as_str().expect("text");
    let (mut folder, _) = document.rsplit_once('/').expect("a path");
    while let Some(rest) = address.strip_prefix("../") {
        (folder, _) = folder.rsplit_once('/').expect("a folder above");
        address = rest;
    }
    format!("{folder}/{address}")
}

pub fn parameters(file: &[u8]) -> Vec<f32> {
    let config = config(Path::new("unused"), "cohort_size = 1", "");
    safetensors::read(&config.tasks[0].settings.model, file).expect("a model of the task")
}

pub type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub struct TestClient {
    pub stream: Stream,
    /// Invitations that came while the test waited for something else.
    invitations: VecDeque<RoundAssignment>,
}

impl TestClient {
    pub async fn connect(address: SocketAddr) -> Self {
        let url = format!("ws://{address}/v1/connect");
        let (stream, _) = soon(connect_async(url)).await.expect("connects");
        Self { stream, invitations: VecDeque::new() }
    }

    /// Connects, unless the server has no room.
    pub async fn try_connect(address: SocketAddr) -> Option<Self> {
        let url = format!("ws://{address}/v1/connect");
        let (stream, _) = soon(connect_async(url)).await.ok()?;
        Some(Self { stream, invitations: VecDeque::new() })
    }

    pub async fn send(&mut self, message: ClientMessage) {
        self.send_raw(Message::Binary(message.encode())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        soon(self.stream.send(message)).await.expect("sends");
    }

    /// The next message of the server, of any kind.
    pub async fn next(&mut self) -> ServerMessage {
        loop {
            let message = soon(self.stream.next()).await.expect("open").expect("sound");
            match message {
                Message::Binary(bytes) => return ServerMessage::decode(bytes).expect("valid"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The next message that `pick` takes. Others are skipped, except for
    /// invitations.
    pub async fn find<T>(&mut self, pick: impl Fn(ServerMessage) -> Option<T>) -> T {
        loop {
            match self.next().await {
                ServerMessage::RoundAssignment(assignment) => {
                    self.invitations.push_back(assignment);
                }
                other => {
                    if let Some(found) = pick(other) {
                        return found;
                    }
                }
            }
        }
    }

    /// The next notice that it is left out; the round, if an invitation comes first.
    pub async fn find_standby_or_invitation(&mut self) -> Result<Standby, RoundId> {
        if let Some(assignment) = self.invitations.pop_front() {
            return Err(assignment.round);
        }
        loop {
            match self.next().await {
                ServerMessage::RoundAssignment(assignment) => return Err(assignment.round),
                ServerMessage::Standby(standby) => return Ok(standby),
                _ => {}
            }
        }
    }

    /// Says goodbye, and returns once the server has heard it.
    pub async fn leave(mut self) {
        soon(self.stream.close(None)).await.expect("closes");
        while soon(self.stream.next()).await.is_some() {}
    }

    pub async fn hello(&mut self) -> Welcome {
        let hello = Hello { versions: vec![PROTOCOL_VERSION], software: "test".to_owned() };
        self.send(ClientMessage::Hello(hello)).await;
        match self.next().await {
            ServerMessage::Welcome(welcome) => welcome,
            other => panic!("no welcome: {other:?}"),
        }
    }

    pub async fn check_in(&mut self, task: &str) -> Box<CheckedIn> {
        self.check_in_as(task, None).await
    }

    /// Asks to be let in with a token; the answer may be a refusal.
    pub async fn ask_with_token(&mut self, token: &str) {
        self.hello().await;
        let token = Some(Token::new(token).expect("visible ASCII"));
        self.send(check_in_with("tiny", Availability::Available, None, token)).await;
    }

    pub async fn check_in_as(&mut self, task: &str, subject: Option<SubjectId>) -> Box<CheckedIn> {
        self.check_in_with(task, subject, Availability::Available).await
    }

    /// Checks in without taking part.
    pub async fn observe(&mut self, task: &str) -> Box<CheckedIn> {
        self.check_in_with(task, None, Availability::Paused).await
    }

    async fn check_in_with(
        &mut self,
        task: &str,
        subject: Option<SubjectId>,
        availability: Availability,
    ) -> Box<CheckedIn> {
        self.hello().await;
        self.send(check_in_with(task, availability, subject, None)).await;
        match self.next().await {
            ServerMessage::CheckedIn(checked_in) => checked_in,
            other => panic!("not checked in: {other:?}"),
        }
    }

    pub async fn assignment(&mut self) -> RoundAssignment {
        loop {
            if let Some(assignment) = self.invitations.pop_front() {
                return assignment;
            }
            if let ServerMessage::RoundAssignment(assignment) = self.next().await {
                return assignment;
            }
        }
    }

    pub async fn outcome(&mut self) -> UpdateOutcome {
        self.find(|message| match message {
            ServerMessage::UpdateOutcome(outcome) => Some(outcome),
            _ => None,
        })
        .await
    }

    pub async fn status(&mut self, holds: impl Fn(&TaskStatus) -> bool) -> TaskStatus {
        self.find(|message| match message {
            ServerMessage::TaskStatus(status) if holds(&status) => Some(*status),
            _ => None,
        })
        .await
    }

    pub async fn phase(&mut self, phase: RoundPhase) -> TaskStatus {
        self.status(|status| status.phase == phase).await
    }

    pub async fn pong(&mut self, nonce: u64) {
        self.send(ClientMessage::Ping { nonce }).await;
        self.find(|message| {
            matches!(message, ServerMessage::Pong { nonce: n } if n == nonce).then_some(())
        })
        .await;
    }

    pub async fn begin(&mut self, begin: UpdateBegin) {
        self.send(ClientMessage::UpdateBegin(begin)).await;
    }

    /// The verdict on an announcement that must not be let through.
    pub async fn stream_begin(&mut self, round: RoundId) -> UpdateVerdict {
        self.begin(announcement(round, &update(&[1.0; PARAMETERS]), 1)).await;
        let outcome = self.outcome().await;
        assert_eq!(outcome.round, round);
        outcome.verdict
    }

    pub async fn upload_ready(&mut self) -> (RoundId, u64) {
        self.find(|message| match message {
            ServerMessage::UploadReady { round, offset } => Some((round, offset)),
            _ => None,
        })
        .await
    }

    /// Announces the update and waits for room.
    pub async fn announce(&mut self, round: RoundId, update: &Bytes, examples: u64) {
        self.begin(announcement(round, update, examples)).await;
        let (ready, offset) = self
            .find(|message| match message {
                ServerMessage::UploadReady { round, offset } => Some((round, offset)),
                ServerMessage::UpdateOutcome(outcome) => panic!("no room: {outcome:?}"),
                _ => None,
            })
            .await;
        assert_eq!((ready, offset), (round, 0));
    }

    pub async fn chunk(&mut self, round: RoundId, offset: u64, data: Bytes) {
        self.send(ClientMessage::UpdateChunk(UpdateChunk::new(round, offset, data))).await;
    }

    /// Announces, sends and returns what became of it.
    pub async fn report(&mut self, round: RoundId, values: &[f32], examples: u64) -> UpdateOutcome {
        self.send_update(round, &update(values), examples).await
    }

    /// Announces an update of this length, which is turned down.
    pub async fn report_length(&mut self, round: RoundId, bytes: u64) -> UpdateOutcome {
        self.begin(UpdateBegin { round, bytes, examples: 1, crc32: 0 }).await;
        self.outcome().await
    }

    /// The same with an update in the form in which it travels.
    pub async fn send_update(
        &mut self,
        round: RoundId,
        update: &Bytes,
        examples: u64,
    ) -> UpdateOutcome {
        self.announce(round, update, examples).await;
        self.chunk(round, 0, update.slice(..4)).await;
        self.chunk(round, 4, update.slice(4..)).await;
        self.outcome().await
    }

    /// Takes part in one round and is accepted.
    pub async fn take_part(&mut self, values: &[f32], examples: u64) -> RoundId {
        let round = self.assignment().await.round;
        let outcome = self.report(round, values, examples).await;
        assert_eq!(outcome.verdict, UpdateVerdict::Accepted, "{outcome:?}");
        round
    }

    /// The refusal and the close that end the session.
    pub async fn refusal(&mut self) -> (Refusal, CloseFrame) {
        let refusal = self
            .find(|message| match message {
                ServerMessage::Refusal(refusal) => Some(refusal),
                _ => None,
            })
            .await;
        (refusal, self.closed().await)
    }

    /// The close that ends the session.
    pub async fn closed(&mut self) -> CloseFrame {
        loop {
            match soon(self.stream.next()).await.expect("a close frame").expect("sound") {
                Message::Close(frame) => return frame.expect("with a code"),
                _ => continue,
            }
        }
    }
}

/// The check-in of an available client with neither subject nor token.
pub fn check_in(task: &str) -> ClientMessage {
    check_in_with(task, Availability::Available, None, None)
}

fn check_in_with(
    task: &str,
    availability: Availability,
    subject: Option<SubjectId>,
    token: Option<Token>,
) -> ClientMessage {
    let task = TaskId::new(task).expect("valid");
    let capabilities = Capabilities::all();
    ClientMessage::CheckIn { task, availability, subject, token, capabilities }
}

pub fn update(values: &[f32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub fn announcement(round: RoundId, update: &Bytes, examples: u64) -> UpdateBegin {
    UpdateBegin { round, bytes: update.len() as u64, examples, crc32: crc32fast::hash(update) }
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, "").await
}

/// The count that the server shows under a metric's name and labels. Panics if it
/// shows none.
pub async fn metric(address: SocketAddr, name: &str) -> u64 {
    metric_in(&get(address, "/metrics").await.text(), name)
}

/// The same in a text of `/metrics`.
pub fn metric_in(metrics: &str, name: &str) -> u64 {
    let count = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let count = count.unwrap_or_else(|| panic!("there is no metric {name}:\n{metrics}"));
    count.parse().unwrap_or_else(|_| panic!("{name} {count} is no count"))
}

/// One request on a connection of its own; `headers` end with CRLF each.
pub async fn request(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    request_with(address, method, path, headers, b"").await
}

/// The same with a body, whose length goes into a header if there is one.
pub async fn request_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let mut stream = soon(TcpStream::connect(address)).await.expect("connects");
    let length =
        if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{length}{headers}\r\n"
    );
    soon(stream.write_all(head.as_bytes())).await.expect("writes");
    // A server that has heard enough may answer before it has all of it.
    let _ = soon(stream.write_all(body)).await;
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.expect("reads");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("text");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

/// The headers that ask for a WebSocket.
pub const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The request for a WebSocket; `headers` end with CRLF each.
pub fn upgrade_request(headers: &str) -> String {
    format!("GET /v1/connect HTTP/1.1\r\nhost: test\r\n{UPGRADE}{headers}\r\n")
}

/// Asks for a WebSocket and returns the head of the answer; the connection is
/// given up then.
pub async fn upgrade(address: SocketAddr, headers: &str) -> Answer {
    upgrading(address, headers).await.0
}

/// The same with the connection.
pub async fn upgrading(address: SocketAddr, headers: &str) -> (Answer, TcpStream) {
    let mut stream = soon(TcpStream::connect(address)).await.expect("connects");
    soon(stream.write_all(upgrade_request(headers).as_bytes())).await.expect("writes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (Answer { status, head: head.trim_end().to_owned(), body: Vec::new() }, stream)
}
