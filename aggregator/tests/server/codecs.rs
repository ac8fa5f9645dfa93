//! Rounds whose updates travel in another codec than float32.

use std::sync::Arc;

use bytes::Bytes;
use fedra_aggregation::{Codec, UpdateShape};
use fedra_protocol::{
    Availability, Capabilities, CheckedIn, ClientMessage, RefusalCode, RoundAssignment, SubjectId,
    TaskId, UpdateFault, UpdateVerdict,
};
use tempfile::TempDir;

use super::support::{TestClient, TestServer, announcement, config_with, update};

const CENTRAL: &str = r#"
    [task.privacy]
    policy = "central"
    noise = "independent"
    noise_multiplier = 0.001
    clipping_norm = 4.0
    epsilon = 1e12
    delta = 1e-5
"#;

/// A server whose task has half-precision updates.
async fn server(tables: &str) -> TestServer {
    server_with("codec = \"f16\"", tables).await
}

/// A server whose task has updates in a codec.
async fn server_with(codec: &str, tables: &str) -> TestServer {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let round = "cohort_size = 2\nminimum_reports = 2";
    let config = config_with(&folder.path().join("store"), round, "", codec, tables);
    TestServer::start_config(config, folder).await
}

/// A client that encodes its update as the assignment says.
struct Participant {
    client: TestClient,
    checked_in: Box<CheckedIn>,
}

impl Participant {
    async fn join(server: &TestServer, number: u8) -> Self {
        let mut client = server.client().await;
        let subject = Some(SubjectId::from_bytes([number; 16]));
        let checked_in = client.check_in_as("tiny", subject).await;
        Self { client, checked_in }
    }

    fn encoded(&self, assignment: &RoundAssignment, values: &[f32]) -> Bytes {
        let task = &self.checked_in.task;
        let shape = UpdateShape::new(task.model.parameters(), task.update_range, None);
        let codec = Codec::new(assignment.codec, shape).expect("for values");
        codec.values().expect("values").encode(values, &rand::random()).into()
    }

    async fn take_part(&mut self, values: &[f32], examples: u64) -> UpdateVerdict {
        let assignment = self.client.assignment().await;
        assert_ne!(assignment.codec, None);
        let update = self.encoded(&assignment, values);
        self.client.send_update(assignment.round, &update, examples).await.verdict
    }
}

#[tokio::test]
async fn updates_in_half_precision_make_the_average_of_their_rounded_values() {
    let server = server("").await;
    let start = server.parameters().await;
    let (mut a, mut b) = (Participant::join(&server, 1).await, Participant::join(&server, 2).await);
    // 0.1 as a half, and a value beyond the largest half.
    let rounded = f64::from(1638.0_f32 / 16384.0);
    assert_eq!(a.take_part(&[0.1, -2.0, 1e5], 1).await, UpdateVerdict::Accepted);
    assert_eq!(b.take_part(&[0.1, 2.0, 0.0], 3).await, UpdateVerdict::Accepted);
    a.client.status(|status| status.model.round == 1).await;
    let mean = [rounded, 1.0, 65504.0 / 4.0];
    let expected: Vec<f32> =
        start.iter().zip(mean).map(|(old, mean)| (f64::from(*old) + mean) as f32).collect();
    assert_eq!(server.parameters().await, expected);
    server.stop().await;
}

#[tokio::test]
async fn updates_in_half_precision_are_clipped_under_a_central_policy() {
    let server = server(CENTRAL).await;
    let start = server.parameters().await;
    let (mut a, mut b) = (Participant::join(&server, 1).await, Participant::join(&server, 2).await);
    assert_eq!(a.take_part(&[1.0, 0.0, 0.0], 1).await, UpdateVerdict::Accepted);
    assert_eq!(b.take_part(&[0.0, 40.0, 0.0], 1).await, UpdateVerdict::Accepted);
    a.client.status(|status| status.model.round == 1).await;
    for ((new, old), mean) in server.parameters().await.iter().zip(start).zip([0.5, 2.0, 0.0]) {
        assert!((new - old - mean).abs() < 0.1, "{new} after {old}");
    }
    server.stop().await;
}

#[tokio::test]
async fn compressed_updates_make_the_average_of_what_was_sent() {
    for (codec, most) in
        [("int8", 0.05), ("int4", 0.6), ("eden2", 1.0), ("topk", 0.0), ("stc", 0.0)]
    {
        let server = server_with(&format!("codec = {codec:?}"), "").await;
        let start = server.parameters().await;
        let (mut a, mut b) =
            (Participant::join(&server, 1).await, Participant::join(&server, 2).await);
        assert_eq!(a.take_part(&[0.0, -2.0, 0.0], 1).await, UpdateVerdict::Accepted);
        assert_eq!(b.take_part(&[0.0, 0.0, 1.0], 1).await, UpdateVerdict::Accepted);
        a.client.status(|status| status.model.round == 1).await;
        let pairs = server.parameters().await.into_iter().zip(start).zip([0.0, -1.0, 0.5]);
        for ((new, old), mean) in pairs {
            assert!((new - old - mean).abs() <= most + 1e-6, "{codec}: {new} after {old}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_compressed_update_that_is_none_leaves_no_trace() {
    let server = server_with("codec = \"int8\"", "").await;
    let start = server.parameters().await;
    let (mut a, b) = (Participant::join(&server, 1).await, Participant::join(&server, 2).await);
    let round = a.client.assignment().await.round;
    // A seed, a scale that is no number, four words.
    let bad = [[0; 8].as_slice(), &f32::NAN.to_le_bytes(), &[9; 4]].concat();
    let verdict = a.client.send_update(round, &bad.into(), 1).await.verdict;
    assert_eq!(verdict, UpdateVerdict::Rejected(UpdateFault::OutOfRange));
    assert_eq!(server.parameters().await, start);
    drop(b);
    server.stop().await;
}

#[tokio::test]
async fn an_update_in_another_codec_has_the_wrong_length() {
    let server = server("").await;
    let (mut a, b) = (Participant::join(&server, 1).await, Participant::join(&server, 2).await);
    let round = a.client.assignment().await.round;
    let single = update(&[1.0; 3]);
    a.client.begin(announcement(round, &single, 1)).await;
    let outcome = a.client.outcome().await;
    assert_eq!(outcome.verdict, UpdateVerdict::Rejected(UpdateFault::WrongLength));
    assert_eq!(outcome.message, "12 bytes announced, the round needs 6");
    drop(b);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_know_the_codec_is_refused() {
    let server = server("").await;
    let mut client = server.client().await;
    client.hello().await;
    let check_in = ClientMessage::CheckIn {
        task: TaskId::new("tiny").expect("valid"),
        availability: Availability::Available,
        subject: None,
        token: None,
        capabilities: Capabilities::version_1(),
    };
    client.send(check_in).await;
    let (refusal, _) = client.refusal().await;
    assert_eq!(refusal.code, RefusalCode::UnsupportedClient);
    assert_eq!(refusal.message, "this client does not know the codec f16; update this client");
    server.stop().await;
}
