//! Models as ONNX files over HTTP.

use fedra_onnx::Origin;
use fedra_protocol::{ModelSpec, Sha256Hash};

use crate::admin::{operator, server};
use crate::support::{TestServer, config, get, metric, model_of, parameters, request};

fn spec() -> ModelSpec {
    let config = config(std::path::Path::new("unused"), "cohort_size = 1", "");
    config.tasks[0].settings.model.clone()
}

/// The ONNX file of a safetensors file.
fn converted(file: &[u8], round: Option<u64>) -> Vec<u8> {
    let origin = Origin { round, sha256: Some(Sha256Hash::of(file)) };
    fedra_onnx::write(&spec(), &parameters(file), &origin).expect("finite")
}

/// A server that has completed four rounds, and the address of its initial model, which
/// is in memory no more.
async fn trained() -> (TestServer, String) {
    let server = server().await;
    let first = model_of("/v1/tasks/tiny", &server.task().await);
    let mut client = server.joined().await;
    for round in 1..=4 {
        client.take_part(&[round as f32; 3], 1).await;
        client.status(|status| status.model.round == round).await;
    }
    (server, first)
}

#[tokio::test]
async fn a_model_is_served_as_onnx_by_its_own_hash() {
    let (server, first) = trained().await;
    let newest = model_of("/v1/tasks/tiny", &server.task().await);
    assert_ne!(first, newest);
    for model in [first, newest] {
        let file = get(server.address, &model).await.body;
        let same = get(server.address, &format!("{model}?format=safetensors")).await;
        assert_eq!(same.body, file);
        let path = format!("{model}?format=onnx");
        let answer = get(server.address, &path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, converted(&file, None));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=86400"));
        let name = format!("attachment; filename=\"tiny-{}.onnx\"", Sha256Hash::of(&file));
        assert_eq!(answer.header("content-disposition"), Some(name.as_str()));
        let tag = format!("\"{}\"", Sha256Hash::of(&answer.body));
        assert_eq!(answer.header("etag"), Some(tag.as_str()));

        let again = format!("if-none-match: {tag}\r\n");
        let unchanged = request(server.address, "GET", &path, &again).await;
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
        let other = format!("if-none-match: \"{}\"\r\n", Sha256Hash::of(&file));
        assert_eq!(request(server.address, "GET", &path, &other).await.status, 200);
        let part = request(server.address, "GET", &path, "range: bytes=2-9\r\n").await;
        assert_eq!((part.status, part.body.as_slice()), (206, &answer.body[2..10]));
        let head = request(server.address, "HEAD", &path, "").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), answer.header("content-length"));
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_sent_as_onnx_is_counted() {
    let server = TestServer::start("cohort_size = 1").await;
    let path = format!("{}?format=onnx", model_of("/v1/tasks/tiny", &server.task().await));
    let sent = get(server.address, &path).await.body.len();
    assert_eq!(metric(server.address, "fedra_sent_bytes_total{task=\"tiny\"}").await, sent as u64);
    assert_eq!(metric(server.address, "fedra_model_downloads_total{task=\"tiny\"}").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_format_is_a_problem_that_names_those_there_are() {
    let server = server().await;
    let model = model_of("/v1/tasks/tiny", &server.task().await);
    let export = "/v1/admin/tasks/tiny/export";
    let mut refused = vec![format!("{model}?round=1"), format!("{export}?round=x&format=onnx")];
    for query in ["format=pickle", "format=", "format", "onnx", "format=onnx&format=onnx"] {
        refused.extend([format!("{model}?{query}"), format!("{export}?{query}")]);
    }
    for path in refused {
        let answer = operator(&server, "GET", &path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        let detail = answer.json()["detail"].as_str().expect("a sentence").to_owned();
        assert!(detail.contains("`format=safetensors` or `format=onnx`"), "{detail}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_operator_exports_a_round_as_onnx() {
    let (server, first) = trained().await;
    let initial = get(server.address, &first).await.body;
    let newest = model_of("/v1/tasks/tiny", &server.task().await);
    let newest = get(server.address, &newest).await.body;
    for (query, round, file) in [("round=0&", 0, initial), ("", 4, newest)] {
        let path = format!("/v1/admin/tasks/tiny/export?{query}format=onnx");
        let answer = operator(&server, "GET", &path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, converted(&file, Some(round)));
        assert_eq!(answer.header("fedra-round"), Some(round.to_string().as_str()));
        let tag = format!("\"{}\"", Sha256Hash::of(&answer.body));
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
        let name = format!("attachment; filename=\"tiny-{round}.onnx\"");
        assert_eq!(answer.header("content-disposition"), Some(name.as_str()));
    }
    server.stop().await;
}
