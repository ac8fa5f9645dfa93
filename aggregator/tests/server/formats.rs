//! Models in other formats over HTTP: ONNX, and safetensors for PyTorch.

use fedra_http_api::ModelFormat;
use fedra_learning::pytorch;
use fedra_onnx::Origin;
use fedra_protocol::{ModelSpec, Sha256Hash};

use crate::admin::{operator, server};
use crate::support::{TestServer, config, get, metric, model_of, parameters, request};

fn spec() -> ModelSpec {
    let config = config(std::path::Path::new("unused"), "cohort_size = 1", "");
    config.tasks[0].settings.model.clone()
}

/// A safetensors file in another format.
fn converted(file: &[u8], round: Option<u64>, format: ModelFormat) -> Vec<u8> {
    let origin = Origin { round, sha256: Some(Sha256Hash::of(file)) };
    match format {
        ModelFormat::Safetensors => file.to_vec(),
        ModelFormat::Onnx => {
            fedra_onnx::write(&spec(), &parameters(file), &origin).expect("finite")
        }
        ModelFormat::Pytorch => pytorch::write(&spec(), &parameters(file)).expect("finite"),
    }
}

/// The formats that are made of a model's file, with the end of their names.
const CONVERTED: [(ModelFormat, &str); 2] =
    [(ModelFormat::Onnx, "onnx"), (ModelFormat::Pytorch, "pytorch.safetensors")];

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
async fn a_model_is_served_in_each_format_under_a_tag_of_its_own() {
    let (server, first) = trained().await;
    let newest = model_of("/v1/tasks/tiny", &server.task().await);
    assert_ne!(first, newest);
    let cases =
        [first, newest].into_iter().flat_map(|model| CONVERTED.map(|of| (model.clone(), of)));
    for (model, (format, extension)) in cases {
        let file = get(server.address, &model).await.body;
        let same = get(server.address, &format!("{model}?format=safetensors")).await;
        assert_eq!(same.body, file);
        let path = format!("{model}?format={}", format.name());
        let answer = get(server.address, &path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, converted(&file, None, format));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=86400"));
        let sha256 = Sha256Hash::of(&file);
        let name = format!("attachment; filename=\"tiny-{sha256}.{extension}\"");
        assert_eq!(answer.header("content-disposition"), Some(name.as_str()));
        let tag = format!("\"{sha256}-{}-{}\"", format.name(), env!("CARGO_PKG_VERSION"));
        assert_eq!(answer.header("etag"), Some(tag.as_str()));

        let again = format!("if-none-match: {tag}\r\n");
        let unchanged = request(server.address, "GET", &path, &again).await;
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
        let failed = request(server.address, "GET", &path, "if-match: \"x\"\r\n").await;
        assert_eq!(failed.status, 412);
        let other = format!("if-none-match: \"{sha256}\"\r\n");
        assert_eq!(request(server.address, "GET", &path, &other).await.status, 200);
        let part = request(server.address, "GET", &path, "range: bytes=2-9\r\n").await;
        assert_eq!((part.status, part.body.as_slice()), (206, &answer.body[2..10]));
        // Without its bytes the length is not known.
        let head = request(server.address, "HEAD", &path, "").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("etag"), Some(tag.as_str()));
        assert_eq!(head.header("content-length"), None);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_model_that_there_is_not_is_not_unchanged_either() {
    let server = TestServer::start("cohort_size = 1").await;
    let gone = "0".repeat(64);
    for format in ["safetensors", "onnx", "pytorch"] {
        let path = format!("/v1/models/{gone}?format={format}");
        for method in ["GET", "HEAD"] {
            let answer = request(server.address, method, &path, "if-none-match: *\r\n").await;
            assert_eq!(answer.status, 404, "{method} {path}");
        }
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
        assert!(detail.contains("`format=onnx` or `format=pytorch`"), "{detail}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_operator_exports_a_round_in_each_format() {
    let (server, first) = trained().await;
    let initial = get(server.address, &first).await.body;
    let newest = model_of("/v1/tasks/tiny", &server.task().await);
    let newest = get(server.address, &newest).await.body;
    for (query, round, file) in [("round=0&", 0, initial), ("", 4, newest)] {
        for (format, extension) in CONVERTED {
            let name = format.name();
            let path = format!("/v1/admin/tasks/tiny/export?{query}format={name}");
            let answer = operator(&server, "GET", &path).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.body, converted(&file, Some(round), format));
            assert_eq!(answer.header("fedra-round"), Some(round.to_string().as_str()));
            let tag = format!("\"{}\"", Sha256Hash::of(&answer.body));
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
            let name = format!("attachment; filename=\"tiny-{round}.{extension}\"");
            assert_eq!(answer.header("content-disposition"), Some(name.as_str()));
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_published_model_has_a_card_and_another_hash_none() {
    let (server, first) = trained().await;
    let newest = model_of("/v1/tasks/tiny", &server.task().await);
    for (model, round, reports) in [(first, 0, 0), (newest, 4, 1)] {
        let answer = get(server.address, &format!("{model}/card")).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let card = answer.json();
        assert_eq!(card["task"], "tiny");
        assert_eq!(card["model"]["round"], round);
        assert_eq!(card["model"]["sha256"], model.rsplit('/').next().expect("a hash"));
        let layers = serde_json::json!([{ "type": "linear", "outputs": "1" }]);
        assert_eq!(card["model"]["layers"], layers);
        assert_eq!(card["training"]["reports"], reports);
        assert_eq!(card["privacy"], serde_json::Value::Null);
        assert_eq!(card["data"], serde_json::Value::Null);
        let text = get(server.address, &format!("{model}/card?format=markdown")).await;
        assert_eq!(text.header("content-type"), Some("text/markdown; charset=utf-8"));
        let text = String::from_utf8(text.body).expect("UTF-8");
        assert!(text.contains("1. linear: outputs 1\n"), "{text}");
    }
    for (path, status, says) in [
        (format!("/v1/models/{}/card", "0".repeat(64)), 404, "no round"),
        ("/v1/models/x/card".to_owned(), 404, "SHA-256"),
        (format!("/v1/models/{}/card?format=html", "0".repeat(64)), 400, "`format=markdown`"),
    ] {
        let answer = get(server.address, &path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        let detail = answer.json()["detail"].as_str().expect("a sentence").to_owned();
        assert!(detail.contains(says), "{detail}");
    }
    server.stop().await;
}
