//! Rights of operators, which no other caller has.

use std::io::Write;
use std::sync::{Arc, Mutex};

use fedra_protocol::{RoundPhase, Sha256Hash};
use serde_json::{Value, json};
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{
    Answer, PARAMETERS, TestClient, TestServer, config, get, metric, model_of, request,
    request_with, soon,
};

/// 32 characters.
pub const TOKEN: &str = "0123456789abcdef-operator-token-";

/// The line of `[server]` that lets operators in.
pub fn admin() -> String {
    format!("admin = {{ token = \"{TOKEN}\" }}")
}

/// A server with operators, whose rounds take one client.
pub async fn server() -> TestServer {
    TestServer::start_with("cohort_size = 1", &admin()).await
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

pub async fn operator(server: &TestServer, method: &str, path: &str) -> Answer {
    request(server.address, method, path, &bearer(TOKEN)).await
}

async fn post(server: &TestServer, path: &str, kind: &str, body: &[u8]) -> Answer {
    let headers = format!("{}content-type: {kind}\r\n", bearer(TOKEN));
    request_with(server.address, "POST", path, &headers, body).await
}

async fn roll_back(server: &TestServer, round: u64) -> Answer {
    let body = json!({ "round": round }).to_string();
    post(server, "/v1/admin/tasks/tiny/rollback", "application/json", body.as_bytes()).await
}

/// The task as operators see it.
async fn task(server: &TestServer) -> Value {
    let answer = operator(server, "GET", "/v1/admin/tasks/tiny").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Trains `rounds` rounds, each of which moves the model.
async fn train(client: &mut TestClient, rounds: std::ops::RangeInclusive<u64>) {
    for round in rounds {
        client.take_part(&[round as f32; 3], 1).await;
        client.status(|status| status.model.round == round).await;
    }
}

/// Log of this thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("whole").clone()).expect("text")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn without_the_token_no_address_tells_anything() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    let _guard = tracing::subscriber::set_default(subscriber.with_writer(log.clone()).finish());
    let server = server().await;
    let wrong = "a-wrong-token-that-nobody-should-see";
    let mut refused = 0;
    for (method, path) in [
        ("GET", "/v1/admin/status"),
        ("GET", "/v1/admin/tasks/tiny"),
        ("GET", "/v1/admin/tasks/none"),
        ("POST", "/v1/admin/tasks/tiny/stop"),
        ("DELETE", "/v1/admin"),
    ] {
        let basic = format!("authorization: Basic {wrong}\r\n");
        for headers in ["", &bearer(wrong), &bearer(&TOKEN[1..]), &basic] {
            let answer = request(server.address, method, path, headers).await;
            assert_eq!(answer.status, 401, "{method} {path} {headers}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.header("access-control-allow-origin"), None);
            assert!(!answer.text().contains("tiny") && !answer.text().contains(wrong));
            refused += 1;
        }
    }
    // In the URL it does not count.
    let path = format!("/v1/admin/status?token={TOKEN}");
    assert_eq!(get(server.address, &path).await.status, 401);
    refused += 1;
    assert_eq!(metric(server.address, "fedra_admin_denied_total").await, refused as u64);
    let log = log.text();
    assert_eq!(log.matches("admin call refused").count(), refused);
    assert!(!log.contains(wrong) && !log.contains(TOKEN), "{log}");
    // The task goes on as if nothing had been asked.
    assert_eq!(server.task().await["state"], "running");
    server.stop().await;
}

#[tokio::test]
async fn without_a_token_in_the_config_there_is_no_admin_api() {
    let server = TestServer::start("cohort_size = 1").await;
    let answer = operator(&server, "GET", "/v1/admin/status").await;
    assert_eq!(answer.status, 404);
    assert!(answer.json()["detail"].as_str().expect("text").contains("server.admin.token_file"));
    server.stop().await;
}

#[tokio::test]
async fn an_address_says_what_it_answers() {
    let server = server().await;
    for (method, path, status, allow) in [
        ("POST", "/v1/admin/status", 405, Some("GET, HEAD, OPTIONS")),
        ("HEAD", "/v1/admin/tasks", 405, Some("POST, OPTIONS")),
        ("GET", "/v1/admin/tasks", 405, Some("POST, OPTIONS")),
        ("GET", "/v1/admin/tasks/tiny/pause", 405, Some("POST, OPTIONS")),
        ("POST", "/v1/admin/tasks/tiny/export", 405, Some("GET, HEAD, OPTIONS")),
        ("GET", "/v1/admin", 404, None),
        ("GET", "/v1/admin/", 404, None),
        ("GET", "/v1/admin/tasks/tiny/", 404, None),
        ("GET", "/v1/admin/tasks/none", 404, None),
        ("POST", "/v1/admin/tasks/NO/pause", 404, None),
        ("GET", "/v1/admin/tasks/tiny/export?round=one", 400, None),
        ("GET", "/v1/admin/tasks/tiny/export?rounds=1", 400, None),
        ("GET", "/v1/admin/tasks/tiny?rounds=all", 400, None),
        ("POST", "/v1/admin/tasks/tiny/rollback", 400, None),
    ] {
        let answer = operator(&server, method, path).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_address_tells_its_methods_and_the_head_of_what_it_has() {
    let server = server().await;
    for (path, allow) in [
        ("/v1/admin/status", "GET, HEAD, OPTIONS"),
        ("/v1/admin/tasks/tiny/export", "GET, HEAD, OPTIONS"),
        ("/v1/admin/tasks", "POST, OPTIONS"),
    ] {
        let options = operator(&server, "OPTIONS", path).await;
        assert_eq!((options.status, options.header("allow")), (204, Some(allow)), "{path}");
        assert_eq!(request(server.address, "OPTIONS", path, "").await.status, 401, "{path}");
    }
    let whole = operator(&server, "GET", "/v1/admin/tasks/tiny/export").await;
    let head = operator(&server, "HEAD", "/v1/admin/tasks/tiny/export").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-length", "etag", "fedra-round"] {
        assert!(whole.header(name).is_some(), "{name}");
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_document_of_a_task_leads_to_its_model() {
    let server = server().await;
    let model = model_of("/v1/admin/tasks/tiny", &task(&server).await);
    assert_eq!(get(server.address, &model).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn the_status_is_of_the_server_and_its_tasks() {
    let server = server().await;
    let mut client = server.joined().await;
    train(&mut client, 1..=1).await;
    client.assignment().await;
    let answer = operator(&server, "GET", "/v1/admin/status").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let status = answer.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    // The client's connection, and the one that asks.
    assert_eq!(status["connections"], 2);
    assert_eq!(status["sessions"], 1);
    assert_eq!(status["upload_budget_bytes"], 256 << 20);
    assert!(status["uptime_seconds"].as_f64().expect("a number") > 0.0);
    if cfg!(target_os = "linux") {
        assert!(status["memory_bytes"].as_u64().expect("known") > 1 << 20);
    }
    let [task] = status["tasks"].as_array().expect("tasks").as_slice() else { panic!("{status}") };
    for (field, value) in [
        ("id", json!("tiny")),
        ("title", json!("A tiny task")),
        ("state", json!("running")),
        ("round", json!(1)),
        ("round_under_way", json!(2)),
        ("attempt", json!(0)),
        ("phase", json!("collecting")),
        ("clients_connected", json!(1)),
        ("cohort", json!({ "invited": 1, "reported": 0, "left": 0, "report_goal": 1 })),
        ("weight", json!(0)),
        ("contested", json!(0)),
    ] {
        assert_eq!(task[field], value, "{field}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_task_is_shown_with_what_only_operators_see() {
    let server = server().await;
    let mut client = server.joined().await;
    train(&mut client, 1..=2).await;
    let public = server.task().await;
    let task = task(&server).await;
    for field in ["id", "title", "state", "round", "round_under_way", "privacy"] {
        assert_eq!(task[field], public[field], "{field}");
    }
    assert_eq!(task["model"]["sha256"], public["model"]["sha256"]);
    assert_eq!(task["checkpoints"], json!([0, 1, 2]));
    assert_eq!(task["decisions"], json!([]));
    let mut rounds = task["history"].clone();
    assert_eq!(rounds[1]["cohort"], 1);
    for round in rounds.as_array_mut().expect("rounds") {
        let round = round.as_object_mut().expect("a round");
        round.retain(|field, _| !["attempt", "cohort", "weight"].contains(&field.as_str()));
    }
    assert_eq!(rounds, public["history"]);
    let last = operator(&server, "GET", "/v1/admin/tasks/tiny?rounds=1").await.json();
    assert_eq!(last["history"], json!([task["history"][1]]));
    assert!(task["config"].as_str().expect("text").starts_with("task tiny: 3 parameters"));
    server.stop().await;
}

#[tokio::test]
async fn a_paused_task_begins_no_round_until_it_is_resumed() {
    let server = server().await;
    let mut client = server.joined().await;
    // The round under way completes.
    let round = client.assignment().await.round;
    let paused = operator(&server, "POST", "/v1/admin/tasks/tiny/pause").await;
    assert_eq!((paused.status, paused.json()), (200, json!({ "state": "paused" })));
    let under_way = server.task().await;
    assert_eq!(
        (&under_way["state"], &under_way["phase"]),
        (&json!("paused"), &json!("collecting"))
    );
    client.report(round, &[1.0; 3], 1).await;
    client.phase(RoundPhase::Paused).await;
    assert_eq!(task(&server).await["round"], 1);
    let again = operator(&server, "POST", "/v1/admin/tasks/tiny/pause").await;
    assert_eq!(again.status, 409, "{}", again.text());

    // It stays so over a restart.
    let (folder, config) = (Arc::clone(&server.folder), config_of(&server));
    drop(client);
    server.stop().await;
    let server = TestServer::start_config(config, folder).await;
    let mut client = server.joined().await;
    client.pong(1).await;
    assert_eq!(task(&server).await["state"], "paused");

    let resumed = operator(&server, "POST", "/v1/admin/tasks/tiny/resume").await;
    assert_eq!((resumed.status, resumed.json()), (200, json!({ "state": "running" })));
    train(&mut client, 2..=2).await;
    let actions: Vec<Value> = task(&server).await["decisions"]
        .as_array()
        .expect("decisions")
        .iter()
        .map(|decision| decision["action"].clone())
        .collect();
    assert_eq!(actions, ["pause", "resume"]);
    server.stop().await;
}

/// The config that a server of [`server`] was started with.
fn config_of(server: &TestServer) -> fedra_aggregator::config::Config {
    config(&server.folder.path().join("store"), "cohort_size = 1", &admin())
}

#[tokio::test]
async fn a_finished_task_says_that_it_is_finished() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let store = folder.path().join("store");
    let config = crate::support::config_of(&store, "cohort_size = 1", &admin(), "rounds = 1");
    let server = TestServer::start_config(config, folder).await;
    let mut client = server.joined().await;
    client.take_part(&[0.0; PARAMETERS], 1).await;
    client.phase(RoundPhase::Finished).await;
    for order in ["pause", "resume", "stop"] {
        let path = format!("/v1/admin/tasks/tiny/{order}");
        let answer = operator(&server, "POST", &path).await;
        assert_eq!(answer.status, 409, "{}", answer.text());
        assert!(answer.text().contains("finished"), "{}", answer.text());
    }
    assert_eq!(server.task().await["state"], "finished");
    server.stop().await;
}

#[tokio::test]
async fn a_stopped_task_is_over_for_good() {
    let server = server().await;
    let mut client = server.joined().await;
    client.assignment().await;
    let stopped = operator(&server, "POST", "/v1/admin/tasks/tiny/stop").await;
    assert_eq!((stopped.status, stopped.json()), (200, json!({ "state": "stopped" })));
    client.phase(RoundPhase::Finished).await;
    assert_eq!(server.task().await["state"], "stopped");
    let resumed = operator(&server, "POST", "/v1/admin/tasks/tiny/resume").await;
    assert_eq!(resumed.status, 409, "{}", resumed.text());
    let mut late = server.client().await;
    assert_eq!(late.check_in("tiny").await.status.phase, RoundPhase::Finished);
    for name in [
        "fedra_rounds_total{task=\"tiny\",outcome=\"abandoned\",reason=\"stopped\"}",
        "fedra_admin_actions_total{action=\"stop\"}",
        "fedra_task_standing{task=\"tiny\",standing=\"stopped\"}",
    ] {
        assert_eq!(metric(server.address, name).await, 1, "{name}");
    }
    let rolled_back = "fedra_admin_actions_total{action=\"roll-back\"}";
    assert_eq!(metric(server.address, rolled_back).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn an_earlier_model_becomes_the_newest_again() {
    let server = server().await;
    let mut client = server.joined().await;
    train(&mut client, 1..=3).await;
    let first = operator(&server, "GET", "/v1/admin/tasks/tiny/export?round=1").await;
    let answer = roll_back(&server, 1).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "round": 4 })));
    client.status(|status| status.model.round == 4).await;
    let task = task(&server).await;
    let sha256 = Sha256Hash::of(&first.body).to_string();
    assert_eq!(task["model"]["sha256"], json!(sha256));
    assert_eq!(task["history"][3]["restored"], 1);
    let decision = &task["decisions"][0];
    assert_eq!(
        (&decision["action"], &decision["to"], &decision["round"]),
        (&json!("roll-back"), &json!(1), &json!(4))
    );
    // It is from there that training goes on: the round that was under way is over.
    let mut round = client.assignment().await.round;
    while round.round < 5 {
        round = client.assignment().await.round;
    }
    client.report(round, &[5.0; 3], 1).await;
    client.status(|status| status.model.round == 5).await;
    let parameters = server.parameters().await;
    let first = crate::support::parameters(&first.body);
    let moved: Vec<f32> = first.iter().map(|value| value + 5.0).collect();
    assert_eq!(parameters, moved);
    server.stop().await;
}

#[tokio::test]
async fn a_round_that_is_not_kept_is_refused_with_those_that_are() {
    let server = server().await;
    let mut client = server.joined().await;
    train(&mut client, 1..=1).await;
    let answers = [
        roll_back(&server, 9).await,
        operator(&server, "GET", "/v1/admin/tasks/tiny/export?round=9").await,
    ];
    for answer in answers {
        assert_eq!(answer.status, 409, "{}", answer.text());
        assert_eq!(answer.json()["kept"], json!([0, 1]));
    }
    assert_eq!(task(&server).await["decisions"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn models_are_exported_by_round() {
    let server = server().await;
    let mut client = server.joined().await;
    train(&mut client, 1..=2).await;
    for (query, round) in [("", "2"), ("?round=2", "2"), ("?round=0", "0")] {
        let path = format!("/v1/admin/tasks/tiny/export{query}");
        let answer = operator(&server, "GET", &path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("fedra-round"), Some(round));
        let tag = format!("\"{}\"", Sha256Hash::of(&answer.body));
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
        let name = format!("attachment; filename=\"tiny-{round}.safetensors\"");
        assert_eq!(answer.header("content-disposition"), Some(name.as_str()));
        assert_eq!(crate::support::parameters(&answer.body).len(), 3);
    }
    server.stop().await;
}

const SECOND: &str = r#"
[[task]]
id = "second"
model = { input = [2], layers = [{ type = "linear", outputs = 1 }], loss = "mean_squared_error" }
[task.round]
cohort_size = 1
selection_window = "0s"
"#;

#[tokio::test]
async fn a_task_is_created_while_the_server_runs() {
    let server = server().await;
    let answer = post(&server, "/v1/admin/tasks", "application/toml", SECOND.as_bytes()).await;
    assert_eq!((answer.status, answer.json()), (201, json!({ "id": "second" })));
    // Beside the address that was asked.
    assert_eq!(answer.header("location"), Some("tasks/second"));
    let mut client = server.client().await;
    client.check_in("second").await;
    train(&mut client, 1..=1).await;
    let again = post(&server, "/v1/admin/tasks", "application/toml", SECOND.as_bytes()).await;
    assert_eq!(again.status, 409, "{}", again.text());

    // It is not in the config, and there after a restart all the same.
    let (folder, config) = (Arc::clone(&server.folder), config_of(&server));
    drop(client);
    server.stop().await;
    let server = TestServer::start_config(config, folder).await;
    let second = operator(&server, "GET", "/v1/admin/tasks/second").await.json();
    assert_eq!(second["round"], 1);
    assert_eq!(second["decisions"][0]["action"], "create");
    server.stop().await;
}

#[tokio::test]
async fn a_task_that_cannot_be_is_refused_with_every_mistake() {
    let server = server().await;
    let path = "/v1/admin/tasks";
    let bad = SECOND.replace("cohort_size = 1", "cohort_size = 0\nmaximum = 3");
    let answer = post(&server, path, "application/toml; charset=utf-8", bad.as_bytes()).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let problem = answer.json();
    let paths: Vec<&str> = problem["mistakes"]
        .as_array()
        .expect("mistakes")
        .iter()
        .map(|mistake| mistake["path"].as_str().expect("text"))
        .collect();
    for path in ["task[second].round.cohort_size", "task[second].round.maximum"] {
        assert!(paths.contains(&path), "{problem}");
    }
    let two = SECOND.repeat(2);
    let with_server = format!("[server]\nstore = \"/tmp\"\n{SECOND}");
    let huge = format!("{SECOND}\n#{}", "x".repeat(256 << 10));
    for (kind, body, status) in [
        ("application/toml", two.as_bytes(), 422),
        ("application/toml", with_server.as_bytes(), 422),
        ("application/toml", b"not toml [", 422),
        ("application/toml", b"\xff\xfe", 400),
        ("application/toml", huge.as_bytes(), 413),
        ("application/json", SECOND.as_bytes(), 415),
    ] {
        let answer = post(&server, path, kind, body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let tasks = get(server.address, "/v1/tasks").await.json();
    assert_eq!(tasks.as_array().expect("tasks").len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_token_may_be_in_a_file() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("writes");
    let rest = format!("admin = {{ token_file = \"{}\" }}", file.display());
    let config = config(&folder.path().join("store"), "cohort_size = 1", &rest);
    let server = TestServer::start_config(config, folder).await;
    assert_eq!(operator(&server, "GET", "/v1/admin/status").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_token_is_replaced_while_the_server_runs() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let store = folder.path().join("store");
    let with = |token: &str| {
        config(&store, "cohort_size = 1", &format!("admin = {{ token = \"{token}\" }}"))
    };
    let (server, reload) = TestServer::start_reloading(with(TOKEN), Arc::clone(&folder)).await;
    let status = "/v1/admin/status";
    assert_eq!(operator(&server, "GET", status).await.status, 200);
    let other = TOKEN.to_uppercase();
    reload.send(with(&other)).expect("the server runs");
    // It takes a moment; until then the new one is wrong.
    soon(async {
        while request(server.address, "GET", status, &bearer(&other)).await.status != 200 {}
    })
    .await;
    assert_eq!(operator(&server, "GET", status).await.status, 401);
    server.stop().await;
}
