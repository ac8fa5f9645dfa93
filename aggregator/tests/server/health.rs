//! The health of a task: what operators are told about rounds that come to nothing.

use std::sync::Arc;

use fedra_protocol::{ClientMessage, DeclineCause, RoundId, SubjectId};
use serde_json::{Value, json};
use tempfile::TempDir;
use tracing::subscriber::DefaultGuard;

use crate::admin::{Log, admin, operator};
use crate::command_line::run;
use crate::support::{PARAMETERS, TestClient, TestServer, config_with, metric};

const WHY: &str = "3 of 4: training diverged; a smaller learning rate may help";

/// The log of the server's tasks, which run on this thread, while the guard lives.
fn log() -> (Log, tracing::Dispatch, DefaultGuard) {
    let log = Log::default();
    // With only one subscriber, callsites that another test's thread reaches first
    // are cached as disabled.
    let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(log.clone());
    let guard = tracing::subscriber::set_default(subscriber.finish());
    (log, second, guard)
}

async fn decline(client: &mut TestClient, cause: Option<DeclineCause>) -> RoundId {
    let round = client.assignment().await.round;
    let reason = "the secret of this device".to_owned();
    client.send(ClientMessage::Decline { round, reason, cause }).await;
    round
}

async fn health(server: &TestServer) -> Value {
    server.task().await["health"].clone()
}

/// Invitations that failed in this way.
async fn failed(server: &TestServer, kind: &str, cause: &str) -> u64 {
    let labels = format!("{{task=\"tiny\",kind=\"{kind}\",cause=\"{cause}\"}}");
    metric(server.address, &format!("fedra_invitations_failed_total{labels}")).await
}

#[tokio::test]
async fn a_task_whose_clients_diverge_is_failing_and_says_why_wherever_operators_look() {
    let (log, _second, _guard) = log();
    let round = "cohort_size = 4\nminimum_reports = 2";
    let server = TestServer::start_with(round, &admin()).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(server.joined().await);
    }
    let mut steady = clients.pop().expect("four");
    for client in &mut clients {
        decline(client, Some(DeclineCause::TrainingDiverged)).await;
    }
    steady.status(|status| status.round.attempt == 1).await;

    let health = health(&server).await;
    for (field, value) in [
        ("state", json!("failing")),
        ("reason", json!(WHY)),
        ("attempts", json!(1)),
        (
            "failures",
            json!([{
                "kind": "declined", "cause": "training-diverged", "count": 3,
                "text": "training diverged",
            }]),
        ),
    ] {
        assert_eq!(health[field], value, "{health}");
    }
    let since = health["since"].as_str().expect("a time");
    assert!(humantime::parse_rfc3339(since).is_ok(), "{since}");
    let status = operator(&server, "GET", "/v1/admin/status").await.json();
    assert_eq!(status["tasks"][0]["health"], health);
    let task = operator(&server, "GET", "/v1/admin/tasks/tiny").await.json();
    assert_eq!(task["health"], health);

    assert_eq!(failed(&server, "declined", "training-diverged").await, 3);
    assert_eq!(failed(&server, "declined", "bad-dataset").await, 0);
    assert_eq!(failed(&server, "lost", "").await, 0);
    assert_eq!(metric(server.address, "fedra_failing_attempts{task=\"tiny\"}").await, 1);
    let text = log.text();
    let line = text.lines().find(|line| line.contains("round abandoned")).expect("a line");
    for part in [" WARN ", "task=tiny", "kind=\"too_few_reports\"", &format!("reason=\"{WHY}\"")] {
        assert!(line.contains(part), "{part}\n{line}");
    }
    let line = format!("tiny: failing since {since}, 1 attempt in a row: {WHY}\n");
    let status = run(&server, "status").await.done();
    assert!(status.ends_with(&line), "{status}");
    let show = run(&server, "task show tiny").await.done();
    assert!(show.contains(&line[6..]) && show.contains("3  training diverged\n"), "{show}");
    server.stop().await;
}

#[tokio::test]
async fn a_completed_round_makes_a_failing_task_well_and_its_own_failures_are_told() {
    let (log, _second, _guard) = log();
    let server = TestServer::start("cohort_size = 2\nminimum_reports = 1\ndeadline = \"1s\"").await;
    let (mut a, mut b) = (server.joined().await, server.joined().await);
    let round = a.assignment().await.round;
    b.assignment().await;
    for client in [&mut a, &mut b] {
        let outcome = client.report(round, &[f32::NAN; PARAMETERS], 1).await;
        assert!(outcome.message.contains("finite"), "{outcome:?}");
    }
    a.status(|status| status.round.attempt == 1).await;
    let why = "2 of 2: rejected, the update has a value that is not finite; a smaller learning \
               rate may help";
    assert_eq!(health(&server).await["reason"], why);

    a.take_part(&[1.0; PARAMETERS], 1).await;
    a.status(|status| status.model.round == 1).await;
    let health = health(&server).await;
    assert_eq!((&health["state"], &health["attempts"]), (&json!("ok"), &json!(0)), "{health}");
    assert_eq!(failed(&server, "rejected", "not-finite").await, 2);
    assert_eq!(failed(&server, "missed-deadline", "").await, 1);
    let text = log.text();
    let line = text.lines().find(|line| line.contains("round completed")).expect("a line");
    let told =
        "failed=\"1 of 2: the deadline passed without an answer; a longer deadline may help\"";
    assert!(line.contains(told), "{line}");
    server.stop().await;
}

#[tokio::test]
async fn a_task_without_clients_waits_and_one_that_is_paused_is_in_order() {
    let server = TestServer::start_with("cohort_size = 2", &admin()).await;
    let waiting = health(&server).await;
    assert_eq!(waiting["state"], "waiting");
    assert_eq!(waiting["reason"], "no client is available, 2 are needed");
    let mut client = server.joined().await;
    client.status(|status| status.clients_connected == 1).await;
    let status = run(&server, "status").await.done();
    assert!(status.contains(": 1 client is available, 2 are needed\n"), "{status}");
    operator(&server, "POST", "/v1/admin/tasks/tiny/pause").await;
    let paused = health(&server).await;
    assert_eq!((&paused["state"], &paused["reason"]), (&json!("ok"), &json!("the task is paused")));
    server.stop().await;
}

/// Honest clients of a private task send no such cause; another program may.
#[tokio::test]
async fn what_a_client_of_a_private_task_says_about_its_data_is_neither_told_nor_counted() {
    let (log, _second, _guard) = log();
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let round = "cohort_size = 5\nminimum_cohort = 5\nreport_goal = 5\nminimum_reports = 3";
    let privacy = "[task.privacy]\npolicy = \"distributed\"\nnoise_multiplier = 0.05\n\
                   clipping_norm = 4.0\nepsilon = 1e9\ndelta = 1e-5";
    let config = config_with(&folder.path().join("store"), round, "", "", privacy);
    let server = TestServer::start_config(config, folder).await;
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = server.client().await;
        client.check_in_as("tiny", Some(SubjectId::from_bytes([number; 16]))).await;
        clients.push(client);
    }
    let causes = [DeclineCause::TrainingDiverged, DeclineCause::BadDataset, DeclineCause::NotNow];
    for (client, cause) in clients.iter_mut().zip(causes) {
        decline(client, Some(cause)).await;
    }
    clients[4].status(|status| status.round.attempt == 1).await;
    let health = health(&server).await;
    assert_eq!(health["reason"], "2 of 5: declined without a cause. 1 of 5: not available now");
    for (cause, count) in [("", 2), ("not-now", 1), ("training-diverged", 0), ("bad-dataset", 0)] {
        assert_eq!(failed(&server, "declined", cause).await, count, "{cause}");
    }
    let log = log.text();
    assert!(log.contains("round abandoned"), "{log}");
    for secret in ["diverged", "dataset", "data do not fit", "the secret of this device"] {
        assert!(!log.to_lowercase().contains(secret), "{secret}\n{log}");
        assert!(!health.to_string().contains(secret), "{health}");
    }
    server.stop().await;
}
