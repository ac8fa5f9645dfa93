//! The answers of a running server against `docs/openapi.json` and the types of the
//! API.

use std::collections::BTreeMap;

use fedra_http_api::{
    LedgerEntry, ModelFormat, OperatedTask, Problem, ServerStatus, Task, TaskSummary, address,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::admin::{TOKEN, operator, server};
use crate::support::{Answer, TestServer, get, model_of, request, request_with};

const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// The operations of the document: path, method, description.
fn operations() -> Vec<(String, String, Value)> {
    let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
    let paths: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_value(document["paths"].clone()).expect("paths");
    let operations = paths.into_iter().flat_map(|(path, methods)| {
        methods.into_iter().map(move |(method, what)| (path.clone(), method.to_uppercase(), what))
    });
    operations.collect()
}

/// Compares the status and content type of an answer with the description.
fn is_described(answer: &Answer, what: &Value) {
    let response = &what["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{} is not described: {what}", answer.status);
    let kind = answer.header("content-type").expect("a content type");
    let kind = kind.split(';').next().expect("one");
    if response["$ref"].is_string() {
        assert_eq!(kind, "application/problem+json");
        let problem = round_trip::<Problem>(&answer.json());
        assert_eq!(problem.status, answer.status);
    } else {
        assert!(response["content"][kind].is_object(), "{kind} is not described: {what}");
    }
}

/// The value as this type, which has to say all that it says.
fn round_trip<T: Serialize + DeserializeOwned>(json: &Value) -> T {
    let value: T = serde_json::from_value(json.clone()).unwrap_or_else(|e| panic!("{e}: {json}"));
    assert_eq!(serde_json::to_value(&value).expect("JSON"), *json);
    value
}

async fn trained() -> TestServer {
    let server = server().await;
    let mut client = server.joined().await;
    client.take_part(&[1.0; 3], 1).await;
    client.status(|status| status.model.round == 1).await;
    server
}

#[tokio::test]
async fn every_described_operation_is_answered_as_described() {
    let server = trained().await;
    let model = model_of("/v1/tasks/tiny", &server.task().await);
    let hash = model.rsplit('/').next().expect("a hash");
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    for (path, method, what) in operations() {
        let here = path.replace("{id}", "tiny").replace("{sha256}", hash);
        let headers =
            what["requestBody"]["content"].as_object().map_or_else(String::new, |kinds| {
                format!("content-type: {}\r\n", kinds.keys().next().expect("a content type"))
            });
        let headers = format!("{bearer}{headers}");
        // A roll-back is to the initial model; a task without a text has mistakes.
        let body = if path.ends_with("rollback") { r#"{"round": 0}"# } else { "" };
        let answer = match method.as_str() {
            "GET" => request(server.address, "GET", &here, &headers).await,
            _ => request_with(server.address, &method, &here, &headers, body.as_bytes()).await,
        };
        is_described(&answer, &what);
        let unknown = path.replace("{id}", "none").replace("{sha256}", "none");
        if unknown != path {
            let answer = request(server.address, &method, &unknown, &bearer).await;
            assert_eq!(answer.status, 404, "{method} {unknown}");
            is_described(&answer, &what);
        }
        let anonymous = request(server.address, &method, &here, "").await;
        let needs_token = what["security"].is_array();
        assert_eq!(anonymous.status == 401, needs_token, "{method} {path}");
        let options = request(server.address, "OPTIONS", &here, &bearer).await;
        let allowed = options.header("allow").expect("methods");
        assert!(allowed.split(", ").any(|allowed| allowed == method), "{path}: {allowed}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_answer_is_what_its_type_says() {
    let server = trained().await;
    let list = get(server.address, address::TASKS).await.json();
    let list: Vec<TaskSummary> = round_trip(&list);
    let task: Task = round_trip(&get(server.address, &address::task("tiny")).await.json());
    assert_eq!((list.len(), task.history.len()), (1, 1));
    let rolled_back = request_with(
        server.address,
        "POST",
        &address::order("tiny", "rollback"),
        &format!("authorization: Bearer {TOKEN}\r\n"),
        br#"{"round": 0}"#,
    )
    .await;
    assert_eq!(rolled_back.json(), json!({ "round": 2 }));
    let operated = operator(&server, "GET", &address::operated_task("tiny")).await.json();
    let operated: OperatedTask = round_trip(&operated);
    assert_eq!(operated.history[1].restored, Some(0));
    let status: ServerStatus = round_trip(&operator(&server, "GET", address::STATUS).await.json());
    assert_eq!(status.tasks[0].summary.round, 2);
    let refused =
        operator(&server, "GET", &address::export("tiny", Some(9), ModelFormat::default())).await;
    let problem: Problem = round_trip(&refused.json());
    assert_eq!(problem.kept.as_deref(), Some(&[0, 1, 2][..]));
    server.stop().await;
}

/// The entries of a privacy ledger.
pub fn entries(text: &str) -> Vec<LedgerEntry> {
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    lines.map(|line: Value| round_trip(&line)).collect()
}
