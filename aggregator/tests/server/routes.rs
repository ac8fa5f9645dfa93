//! The HTTP routes: bodies, caching, errors, the page.

use std::fs;
use std::sync::Arc;

use fedra_protocol::RoundId;
use tempfile::TempDir;

use crate::support::{PARAMETERS, TestServer, config, get, request};

#[tokio::test]
async fn tasks_are_listed_and_shown() {
    let server = TestServer::start("cohort_size = 1").await;
    let answer = get(server.address, "/v1/tasks").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let tasks = answer.json();
    let task = server.task().await;
    assert_eq!(tasks, serde_json::json!([task]));
    let sha256 = task["model"]["sha256"].as_str().expect("text").to_owned();
    assert_eq!(
        task,
        serde_json::json!({
            "id": "tiny",
            "title": "A tiny task",
            "state": "running",
            "round": 0,
            "phase": "selecting",
            "attempt": 0,
            "cohort": { "invited": 0, "reported": 0, "left": 0, "report_goal": 1 },
            "seconds_left": null,
            "clients_connected": 0,
            "model": {
                "sha256": sha256,
                "url": format!("models/{sha256}"),
                "bytes": task["model"]["bytes"],
                "parameters": 3,
                "round": 0,
            },
            "latest": null,
            "history": [],
            "rounds_total": null,
            "privacy": null,
        })
    );
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
async fn models_may_be_kept_for_ever() {
    let server = TestServer::start("cohort_size = 1").await;
    let first = server.task().await["model"]["url"].as_str().expect("text").to_owned();
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
async fn errors_are_problem_details() {
    let server = TestServer::start("cohort_size = 1").await;
    let unknown = format!("/v1/models/{}", "0".repeat(64));
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/v1/tasks/other", 404),
        ("GET", "/v1/tasks/Not%20An%20Id", 404),
        ("GET", "/v1/models/xyz", 404),
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
    let mut client = server.joined().await;
    client.take_part(&[1.0; 3], 1).await;
    client.status(|status| status.model.round == 1).await;
    let metrics = get(server.address, "/metrics").await.text();
    for line in [
        "fedra_rounds_total{task=\"tiny\",outcome=\"completed\",reason=\"\"} 1",
        "fedra_updates_total{task=\"tiny\",verdict=\"accepted\",fault=\"\"} 1",
        "fedra_folded_bytes_total{task=\"tiny\"} 12",
        "fedra_clients{task=\"tiny\"} 1",
        "fedra_round{task=\"tiny\"} 1",
        "fedra_upload_bytes_in_flight 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_page_folder_is_served_beside_the_api() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let page = folder.path().join("page");
    fs::create_dir(&page).expect("creates");
    fs::write(page.join("index.html"), "<p>hello</p>").expect("writes");
    fs::write(page.join("code.wasm"), "wasm").expect("writes");
    fs::create_dir(page.join("admin")).expect("creates");
    fs::write(page.join("admin/index.html"), "<p>operator</p>").expect("writes");
    let rest = format!("page = \"{}\"", page.display());
    let config = config(&folder.path().join("store"), "cohort_size = 1", &rest);
    let server = TestServer::start_config(config, folder).await;
    assert_eq!(get(server.address, "/").await.text(), "<p>hello</p>");
    for path in ["/admin", "/admin/"] {
        assert_eq!(get(server.address, path).await.text(), "<p>operator</p>", "{path}");
    }
    let wasm = get(server.address, "/code.wasm").await;
    assert_eq!(wasm.header("content-type"), Some("application/wasm"));
    assert_eq!(get(server.address, "/v1/tasks").await.status, 200);
    assert_eq!(get(server.address, "/none.js").await.status, 404);
    server.stop().await;
}
