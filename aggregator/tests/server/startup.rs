//! Faults at the start and their effects: tasks that cannot start, a model that
//! would not be finite, variables of the platform, few descriptors.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fedra_aggregation::ServerOptimizer;
use fedra_aggregator::config::{Config, TaskConfig};
use fedra_protocol::{RefusalCode, RoundId};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    TINY_MODEL, TestClient, TestServer, check_in, config, get, metric, request, request_with,
};

const ALONE: &str = "cohort_size = 1";

#[tokio::test]
async fn a_model_that_would_not_be_finite_is_never_stored() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let store = folder.path().join("store");
    let mut steep = config(&store, ALONE, "");
    steep.tasks[0].settings.optimizer = ServerOptimizer::Averaging { learning_rate: 1e40 };
    let server = TestServer::start_config(steep, Arc::clone(&folder)).await;
    let before = server.parameters().await;
    let mut client = server.joined().await;
    assert_eq!(client.take_part(&[1.0; 3], 1).await, RoundId { round: 1, attempt: 0 });
    let again = client.assignment().await;
    assert_eq!(again.round, RoundId { round: 1, attempt: 1 });
    assert_eq!(again.model.round, 0, "the last good model");
    let abandoned = "fedra_rounds_total{task=\"tiny\",outcome=\"abandoned\",reason=\"not_finite\"}";
    assert_eq!(metric(server.address, abandoned).await, 1);
    server.stop().await;

    let server = TestServer::start_config(config(&store, ALONE, ""), folder).await;
    assert_eq!(server.parameters().await, before);
    let mut client = server.joined().await;
    assert_eq!(client.take_part(&[1.0; 3], 1).await.round, 1);
    server.stop().await;
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A config with the tasks `tiny` and `other`; `other` has more TOML.
fn two_tasks(folder: &Path, other: &str) -> Config {
    let admin = format!("[server.admin]\ntoken = \"{TOKEN}\"");
    let mut config = config(&folder.join("store"), ALONE, &admin);
    let toml = format!(
        "[[task]]\nid = \"other\"\nmodel = {TINY_MODEL}\n[task.round]\ncohort_size = 3\n{other}"
    );
    let task: TaskConfig =
        Config::task_from_toml(&toml, &config.server).unwrap_or_else(|error| panic!("{error}"));
    config.tasks.push(task);
    config
}

/// The newest model of `other`.
fn model_file(folder: &Path) -> PathBuf {
    let models = fs::read_dir(folder.join("store/models/other")).expect("lists");
    models.map(|entry| entry.expect("readable").path()).max().expect("one")
}

async fn operator(server: &TestServer, path: &str) -> Value {
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    request(server.address, "GET", path, &bearer).await.json()
}

/// Makes both tasks, does `damage` to the folder, and starts with `other`'s TOML.
async fn started_with(damage: impl FnOnce(&Path), other: &str) -> (TestServer, Arc<TempDir>) {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let sound = two_tasks(folder.path(), "");
    TestServer::start_config(sound, Arc::clone(&folder)).await.stop().await;
    damage(folder.path());
    let config = two_tasks(folder.path(), other);
    (TestServer::start_config(config, Arc::clone(&folder)).await, folder)
}

/// The reason for which `other` is set aside, while `tiny` makes a round.
async fn reason_beside_a_round(server: &TestServer) -> String {
    let mut client = server.joined().await;
    client.take_part(&[1.0; 3], 1).await;
    client.status(|status| status.model.round == 1).await;
    let ready = get(server.address, "/readyz").await;
    assert_eq!(ready.status, 200);
    let text = ready.text();
    let reason = text.strip_prefix("ready\ntask other is set aside: ").expect("a reason");
    reason.trim_end().to_owned()
}

#[tokio::test]
async fn a_task_that_cannot_start_is_set_aside_with_its_reason() {
    let private = "[task.privacy]\npolicy = \"local\"\nnoise_multiplier = 10.0\n\
                   clipping_norm = 1.0\nepsilon = 8.0\ndelta = 1e-5";
    let damages: [(Damage, &str, &str); 4] = [
        (remove_model, "", "the newest model, that of round 0, is damaged: "),
        (garble_model, "", "does not have the hash in its name"),
        (garble_record, "", "the store's database "),
        (|_| {}, private, "the store has this task with another privacy policy"),
    ];
    for (damage, other, expected) in damages {
        let (server, _folder) = started_with(damage, other).await;
        let reason = reason_beside_a_round(&server).await;
        assert!(reason.contains(expected), "{reason}");
        server.stop().await;
    }
}

type Damage = fn(&Path);

fn remove_model(folder: &Path) {
    fs::remove_file(model_file(folder)).expect("removes");
}

fn garble_model(folder: &Path) {
    fs::write(model_file(folder), "garbage").expect("writes");
}

/// Puts something else in the place of the record of `other`'s round 0.
fn garble_record(folder: &Path) {
    let database = redb::Database::open(folder.join("store/fedra.redb")).expect("opens");
    let transaction = database.begin_write().expect("begins");
    let rounds = redb::TableDefinition::<(&str, u64), &[u8]>::new("rounds");
    let mut table = transaction.open_table(rounds).expect("opens");
    table.insert(("other", 0), &b"garbage"[..]).expect("inserts");
    drop(table);
    transaction.commit().expect("commits");
}

#[tokio::test]
async fn held_out_examples_that_do_not_fit_set_their_task_aside() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let examples = folder.path().join("examples");
    fs::write(&examples, "garbage").expect("writes");
    let held_out =
        format!("[task.evaluation]\ndata = \"{0}\"\nlabels = \"{0}\"", examples.display());
    let config = two_tasks(folder.path(), &held_out);
    let server = TestServer::start_config(config, folder).await;
    let reason = reason_beside_a_round(&server).await;
    assert!(reason.starts_with("held-out evaluation: "), "{reason}");
    server.stop().await;
}

#[tokio::test]
async fn a_task_that_is_set_aside_is_shown_to_whom_it_concerns() {
    let (server, _folder) = started_with(remove_model, "").await;
    let listed = get(server.address, "/v1/tasks").await.json();
    assert_eq!(listed.as_array().expect("a list").len(), 1);
    assert_eq!(get(server.address, "/v1/tasks/other").await.status, 503);
    let status = operator(&server, "/v1/admin/status").await;
    assert_eq!(status["set_aside"][0]["id"], "other");
    let reason = status["set_aside"][0]["reason"].as_str().expect("a text").to_owned();
    assert!(reason.contains("is damaged"), "{reason}");
    let shown = operator(&server, "/v1/admin/tasks/other").await;
    assert_eq!(shown["status"], 409);
    assert!(shown["detail"].as_str().expect("a text").contains(&reason), "{shown}");
    let is_set_aside = async |task| {
        metric(server.address, &format!("fedra_task_set_aside{{task=\"{task}\"}}")).await
    };
    assert_eq!((is_set_aside("other").await, is_set_aside("tiny").await), (1, 0));
    // Its name is taken.
    let toml = "[[task]]\nid = \"other\"\nmodel = \"softmax-regression\"\n";
    let headers = format!("authorization: Bearer {TOKEN}\r\ncontent-type: application/toml\r\n");
    let body = toml.as_bytes();
    let taken = request_with(server.address, "POST", "/v1/admin/tasks", &headers, body).await;
    assert_eq!(taken.status, 409);
    // A client is to come back: the next start may be better.
    let mut client = TestClient::connect(server.address).await;
    client.hello().await;
    client.send(check_in("other")).await;
    let (refusal, _) = client.refusal().await;
    assert_eq!(refusal.code, RefusalCode::Overloaded);
    assert!(refusal.retry_after.is_some());
    server.stop().await;
}
