//! Exits of the program `fedra-edge`, against a server of few words.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use fedra_protocol::{
    CheckedIn, ClientMessage, ModelRef, ModelSpec, Refusal, RefusalCode, RoundId, RoundPhase,
    ServerMessage, Sha256Hash, TaskDescription, TaskId, TaskStatus, UpdateRange, Welcome,
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// Answer of the server to a check-in.
#[derive(Clone, Copy)]
enum Task {
    /// The task in the first phase, and in the second after each later message.
    Then(RoundPhase, RoundPhase),
    Unknown,
}

fn status(phase: RoundPhase) -> TaskStatus {
    TaskStatus {
        round: RoundId { round: 3, attempt: 0 },
        phase,
        clients_connected: 1,
        cohort: 0,
        reported: 0,
        left: 0,
        report_goal: 1,
        deadline: None,
        model: ModelRef {
            round: 2,
            sha256: Sha256Hash::of(b"model"),
            url: "models/x".into(),
            bytes: 8,
        },
        evaluation: None,
        client_evaluation: None,
        rounds_total: Some(2),
        privacy_spent_epsilon: None,
    }
}

fn answer(message: &ClientMessage, task: Task) -> Option<ServerMessage> {
    Some(match (message, task) {
        (ClientMessage::Hello(_), _) => ServerMessage::Welcome(Welcome {
            version: 1,
            session_id: "s".into(),
            heartbeat: Duration::from_secs(60),
            max_chunk_bytes: 4096,
        }),
        (ClientMessage::CheckIn { .. }, Task::Then(phase, _)) => {
            let model = ModelSpec::softmax_regression();
            let task = TaskDescription {
                id: TaskId::new("digits").expect("an id"),
                title: "Digits".into(),
                update_range: UpdateRange::default_for(model.loss()),
                data: None,
                client_evaluation: None,
                frozen: None,
                model,
                privacy: None,
            };
            ServerMessage::CheckedIn(Box::new(CheckedIn { task, status: status(phase) }))
        }
        (ClientMessage::CheckIn { .. }, Task::Unknown) => ServerMessage::Refusal(Refusal {
            code: RefusalCode::UnknownTask,
            message: "there is no such task".into(),
            retry_after: None,
        }),
        (_, Task::Then(_, next)) => ServerMessage::TaskStatus(Box::new(status(next))),
        (_, Task::Unknown) => return None,
    })
}

/// Answers one client to its end; says what it sent after the check-in.
async fn serve(stream: TcpStream, task: Task) -> Vec<ClientMessage> {
    let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a WebSocket");
    let mut heard = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        let message = ClientMessage::decode(bytes).expect("a message");
        if let Some(answer) = answer(&message, task) {
            // Fails when the client has gone meanwhile.
            let _ = socket.send(Message::Binary(answer.encode())).await;
        }
        heard.push(message);
    }
    heard.split_off(2.min(heard.len()))
}

/// Images of `side` by `side` pixels in a folder, as MNIST's files are.
fn write_images(folder: &Path, side: u32) {
    let count: u32 = 20;
    let header = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>();
    let mut images = header(&[0x803, count, side, side]);
    images.resize(images.len() + (count * side * side) as usize, 7);
    let mut labels = header(&[0x801, count]);
    labels.extend((0..count).map(|i| (i % 10) as u8));
    std::fs::write(folder.join("train-images-idx3-ubyte"), images).expect("there is room");
    std::fs::write(folder.join("train-labels-idx1-ubyte"), labels).expect("there is room");
}

/// Two clients of a task; also what they sent after their check-ins.
async fn run(task: Task, side: u32) -> (Output, Vec<ClientMessage>) {
    let folder = tempfile::tempdir().expect("a folder");
    write_images(folder.path(), side);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let url = format!("ws://{address}/v1/connect");
    let data = folder.path().to_owned();
    let program = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fedra-edge"));
        command.args(["--task", "digits", "--clients", "2", "--url", &url, "--data"]).arg(data);
        command.output().expect("the program starts")
    });
    let mut sessions = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (stream, _) = listener.accept().await.expect("a client");
        sessions.spawn(serve(stream, task));
    }
    let heard = sessions.join_all().await.concat();
    (program.await.expect("it ends"), heard)
}

fn said(output: &Output, words: &str) -> usize {
    String::from_utf8_lossy(&output.stderr).matches(words).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_do_not_fit_are_told_once_and_the_server_does_not_hear_of_them() {
    let phase = RoundPhase::Selecting;
    let (output, heard) = run(Task::Then(phase, phase), 4).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(said(&output, "the data do not fit the task"), 1, "{output:?}");
    assert_eq!(heard, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_round_of_a_task_ends_the_program_with_success() {
    let (output, heard) = run(Task::Then(RoundPhase::Collecting, RoundPhase::Finished), 28).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(said(&output, "has had its last round"), 1, "{output:?}");
    assert_eq!(heard.len(), 2, "each is available: {heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_has_ended_ends_it_too_whatever_the_data() {
    for side in [28, 4] {
        let phase = RoundPhase::Finished;
        let (output, _) = run(Task::Then(phase, phase), side).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(said(&output, "has had its last round"), 1, "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_gave_up_are_counted_by_their_reasons() {
    let (output, _) = run(Task::Unknown, 28).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let counts = "2 of 2 clients gave up: 2 refused-unknown-task";
    assert_eq!(said(&output, counts), 1, "{output:?}");
}
