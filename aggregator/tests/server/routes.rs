//! The HTTP routes: bodies, methods, caching, errors, the built-in page.

use std::sync::Arc;

use fedra_protocol::RoundId;
use tempfile::TempDir;

use crate::support::{
    PARAMETERS, TestServer, UPGRADE, config_with, get, metric, model_of, request,
};

#[tokio::test]
async fn tasks_are_listed_and_shown() {
    let server = TestServer::start("cohort_size = 1").await;
    let answer = get(server.address, "/v1/tasks").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let (mut tasks, task) = (answer.json(), server.task().await);
    let sha256 = task["model"]["sha256"].as_str().expect("text").to_owned();
    // Each document leads to the same model from where it is.
    let model = format!("/v1/models/{sha256}");
    assert_eq!(model_of("/v1/tasks", &tasks[0]), model);
    assert_eq!(model_of("/v1/tasks/tiny", &task), model);
    // But for that the list has all of a task, without its classes and its rounds.
    tasks[0]["model"]["url"] = task["model"]["url"].clone();
    tasks[0]["classes"] = serde_json::Value::Null;
    tasks[0]["history"] = serde_json::json!([]);
    assert_eq!(tasks, serde_json::json!([task]));
    assert_eq!(
        task,
        serde_json::json!({
            "id": "tiny",
            "title": "A tiny task",
            "state": "running",
            "round": 0,
            "round_under_way": 1,
            "phase": "selecting",
            "attempt": 0,
            "cohort": { "invited": 0, "reported": 0, "left": 0, "report_goal": 1 },
            "seconds_left": null,
            "health": {
                "state": "waiting",
                "reason": "no client is available, 1 is needed",
                "since": task["health"]["since"],
                "attempts": 0,
                "failures": [],
            },
            "clients_connected": 0,
            "model": {
                "sha256": sha256,
                "url": format!("../models/{sha256}"),
                "bytes": task["model"]["bytes"],
                "parameters": 3,
                "round": 0,
                "frozen": null,
                "input": [2],
                "vocabulary": null,
                "output": [1],
                "loss": "mean_squared_error",
            },
            "data": null,
            "evaluated": false,
            "headline": "rmse",
            "latest": null,
            "latest_by_clients": null,
            "classes": null,
            "history": [],
            "rounds_total": null,
            "privacy": null,
            "gate": null,
        })
    );
    server.stop().await;
}

#[tokio::test]
async fn a_task_tells_its_data_as_the_card_of_its_model_does() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let table = r#"
        [task.data]
        kind = "table"
        target = "price"
        missing = ["", "?"]
        columns = [
            { name = "area", type = "number", mean = 90, deviation = 30 },
            { name = "garden", type = "boolean" },
            { name = "price", type = "number" },
        ]
    "#;
    let config = config_with(&folder.path().join("store"), "cohort_size = 1", "", "", table);
    let server = TestServer::start_config(config, folder).await;
    let task = server.task().await;
    assert_eq!(
        task["data"],
        serde_json::json!({
            "kind": "table",
            "target": "price",
            "missing": ["", "?"],
            "columns": [
                { "name": "area", "type": "number", "mean": 90.0, "deviation": 30.0 },
                { "name": "garden", "type": "boolean" },
                { "name": "price", "type": "number" },
            ],
        })
    );
    let listed = get(server.address, "/v1/tasks").await.json();
    assert_eq!(listed[0]["data"], task["data"]);
    let card = format!("{}/card", model_of("/v1/tasks/tiny", &task));
    let card = get(server.address, &card).await.json();
    assert_eq!(card["data"]["preparation"], task["data"]);
    server.stop().await;
}

#[tokio::test]
async fn a_task_shows_the_cohort_of_the_round_under_way() {
    let server = TestServer::start("cohort_size = 3\nreport_goal = 2").await;
    let mut clients = [server.joined().await, server.joined().await, server.joined().await];
    for client in &mut clients {
        client.assignment().await;
    }
    let round = RoundId { round: 1, attempt: 0 };
    clients[0].report(round, &[1.0; PARAMETERS], 1).await;
    clients[1].status(|status| status.reported == 1).await;
    let task = server.task().await;
    assert_eq!(task["phase"], "collecting");
    let cohort = serde_json::json!({ "invited": 3, "reported": 1, "left": 0, "report_goal": 2 });
    assert_eq!(task["cohort"], cohort);
    let left = task["seconds_left"].as_f64().expect("a deadline");
    assert!(left > 0.0 && left <= 60.0, "{left}");
    server.stop().await;
}

#[tokio::test]
async fn the_rounds_of_a_task_are_all_or_the_last_ones() {
    let server = TestServer::start("cohort_size = 1").await;
    let mut client = server.joined().await;
    for round in 1..=3 {
        client.take_part(&[1.0; 3], 1).await;
        client.status(|status| status.model.round == round).await;
    }
    let rounds = async |query: &str| {
        let task = get(server.address, &format!("/v1/tasks/tiny{query}")).await.json();
        let rounds = task["history"].as_array().expect("rounds").iter();
        rounds.map(|round| round["round"].as_u64().expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!(rounds("").await, [1, 2, 3]);
    assert_eq!(rounds("?rounds=2").await, [2, 3]);
    assert!(rounds("?rounds=0").await.is_empty());
    assert_eq!(rounds("?rounds=9").await, [1, 2, 3]);
    for bad in ["?rounds=x", "?rounds", "?round=1"] {
        let answer = get(server.address, &format!("/v1/tasks/tiny{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    server.stop().await;
}

#[tokio::test]
async fn models_may_be_kept_for_ever() {
    let server = TestServer::start("cohort_size = 1").await;
    let first = model_of("/v1/tasks/tiny", &server.task().await);
    let mut client = server.joined().await;
    for round in 1..=4 {
        client.take_part(&[1.0; 3], 1).await;
        client.status(|status| status.model.round == round).await;
    }
    // The first one is out of memory by now, but kept.
    let answer = get(server.address, &first).await;
    assert_eq!(answer.status, 200);
    let cache = answer.header("cache-control").expect("cached");
    assert!(cache.contains("immutable") && cache.contains("max-age=31536000"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let sha256 = first.rsplit('/').next().expect("a hash");
    let tag = format!("\"{sha256}\"");
    assert_eq!(answer.header("etag"), Some(tag.as_str()));
    assert_eq!(fedra_protocol::Sha256Hash::of(&answer.body).to_string(), sha256);

    let again = format!("if-none-match: \"other\", W/{tag}\r\n");
    let unchanged = request(server.address, "GET", &first, &again).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_model_can_be_fetched_in_parts_and_what_is_sent_is_counted() {
    let server = TestServer::start("cohort_size = 1").await;
    let path = model_of("/v1/tasks/tiny", &server.task().await);
    let whole = get(server.address, &path).await;
    let (length, tag) = (whole.body.len(), whole.header("etag").expect("a tag"));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let mut sent = length;
    for (headers, status, body) in [
        ("range: bytes=2-9\r\n".to_owned(), 206, &whole.body[2..10]),
        (format!("range: bytes=-4\r\nif-range: {tag}\r\n"), 206, &whole.body[length - 4..]),
        ("range: bytes=2-9\r\nif-range: \"other\"\r\n".to_owned(), 200, &whole.body[..]),
        ("range: bytes=0-1,4-5\r\n".to_owned(), 200, &whole.body[..]),
    ] {
        let answer = request(server.address, "GET", &path, &headers).await;
        assert_eq!((answer.status, answer.body.as_slice()), (status, body), "{headers}");
        assert_eq!(answer.header("etag"), Some(tag));
        sent += body.len();
    }
    let beyond = request(server.address, "GET", &path, "range: bytes=1000000-\r\n").await;
    let length_alone = format!("bytes */{length}");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some(&*length_alone)));
    let head = request(server.address, "HEAD", &path, "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), whole.header("content-length"));
    let count = async |name| metric(server.address, name).await;
    assert_eq!(count("fedra_sent_bytes_total{task=\"tiny\"}").await, sent as u64);
    assert_eq!(count("fedra_model_downloads_total{task=\"tiny\"}").await, 5);
    server.stop().await;
}

#[tokio::test]
async fn whatever_can_be_read_has_a_head_and_names_its_methods() {
    let server = TestServer::start("cohort_size = 1").await;
    let model = model_of("/v1/tasks/tiny", &server.task().await);
    for path in [
        "/",
        "/v1/tasks",
        "/v1/tasks/tiny",
        "/v1/tasks/tiny/privacy/ledger",
        &model,
        "/v1/connect",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        let answer = get(server.address, path).await;
        let head = request(server.address, "HEAD", path, "").await;
        assert_eq!((head.status, head.body.len()), (answer.status, 0), "{path}");
        assert_eq!(head.header("content-type"), answer.header("content-type"), "{path}");
        assert!(answer.header("content-length").is_some(), "{path}");
        // hyper leaves the length out where it is 0, and metrics change all the time.
        if !answer.body.is_empty() && path != "/metrics" {
            assert_eq!(head.header("content-length"), answer.header("content-length"), "{path}");
        }
        for name in ["date", "cache-control"] {
            assert!(answer.header(name).is_some() && head.header(name).is_some(), "{path} {name}");
        }
        for (method, status) in [("OPTIONS", 204), ("POST", 405), ("DELETE", 405), ("X", 405)] {
            let answer = request(server.address, method, path, "").await;
            assert_eq!(answer.status, status, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"), "{method} {path}");
        }
        // Nothing is negotiated, so nothing is refused.
        let picky = "accept: image/png\r\naccept-encoding: identity;q=0\r\n";
        let same = request(server.address, "GET", path, picky).await;
        assert_eq!(same.status, get(server.address, path).await.status, "{path}");
    }
    // Other addresses: relative ones in an answer would mean something else there.
    for path in ["/v1/tasks/", "/v1/tasks/tiny/", "/metrics/", "/v1/nothing"] {
        for method in ["GET", "HEAD", "POST"] {
            let answer = request(server.address, method, path, "").await;
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn only_get_opens_a_websocket() {
    let server = TestServer::start("cohort_size = 1").await;
    for (method, headers) in [
        ("HEAD", UPGRADE.to_owned()),
        ("GET", UPGRADE.replace("version: 13", "version: 8")),
        ("GET", String::new()),
    ] {
        // `request` also says `connection: close`.
        let answer = request(server.address, method, "/v1/connect", &headers).await;
        assert_eq!(answer.status, 426, "{method} {headers}");
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    }
    server.stop().await;
}

#[tokio::test]
async fn errors_are_problem_details() {
    let server = TestServer::start("cohort_size = 1").await;
    let unknown = format!("/v1/models/{}", "0".repeat(64));
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/v1/tasks/other", 404),
        ("GET", "/v1/tasks/Not%20An%20Id", 404),
        ("GET", "/v1/models/xyz", 404),
        ("GET", "/v1/steps/xyz", 404),
        ("GET", unknown.as_str(), 404),
        ("POST", "/v1/tasks", 405),
        ("GET", "/v1/connect", 426),
    ] {
        let answer = request(server.address, method, path, "").await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{path}");
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
    server.stop().await;
}

#[tokio::test]
async fn health_metrics_and_the_built_in_page() {
    let server = TestServer::start("cohort_size = 1").await;
    assert_eq!(get(server.address, "/healthz").await.status, 200);
    assert_eq!(get(server.address, "/readyz").await.status, 200);
    let page = get(server.address, "/").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("Fedra"));
    // Its links are right behind a proxy that puts a prefix before them.
    assert!(!page.text().contains("href=\"/"));
    let mut client = server.joined().await;
    client.take_part(&[1.0; 3], 1).await;
    client.status(|status| status.model.round == 1).await;
    for (name, count) in [
        ("fedra_rounds_total{task=\"tiny\",outcome=\"completed\",reason=\"\"}", 1),
        ("fedra_updates_total{task=\"tiny\",verdict=\"accepted\",fault=\"\"}", 1),
        ("fedra_folded_bytes_total{task=\"tiny\"}", 12),
        ("fedra_clients{task=\"tiny\"}", 1),
        ("fedra_round{task=\"tiny\"}", 1),
        ("fedra_upload_bytes_in_flight", 0),
    ] {
        assert_eq!(metric(server.address, name).await, count, "{name}");
    }
    server.stop().await;
}
