//! A gate between rounds: what a server with held-out examples refuses, and where it says so.

use std::sync::Arc;

use fedra_aggregator::config::Config;
use fedra_protocol::Sha256Hash;
use serde_json::json;
use tempfile::TempDir;

use crate::admin::{admin, operator};
use crate::command_line::run;
use crate::evaluated::{toml, write_data};
use crate::support::{TestServer, get, metric};

fn config(folder: &TempDir) -> Config {
    let text = toml(folder.path()).replace("[[task]]", &format!("{}\n[[task]]", admin()));
    let text = format!("{text}\n[task.gate]\nloss_increase = 0.1\nrollbacks = 2\n");
    Config::from_toml(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// An update that moves the weight of each pixel for its class.
fn update(weight: f32) -> [f32; 20] {
    let mut delta = [0.0; 20];
    (0..4).for_each(|class| delta[5 * class] = weight);
    delta
}

#[tokio::test]
async fn a_jump_of_the_held_out_loss_is_rolled_back_and_told() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    write_data(folder.path());
    let server = TestServer::start_config(config(&folder), Arc::clone(&folder)).await;
    let mut client = server.joined().await;
    client.take_part(&update(2.0), 1).await;
    let kept = client.status(|status| status.model.round == 1).await.model;
    // Far to the other side: every class is taken for another.
    client.take_part(&update(-9.0), 1).await;
    let status = client.status(|status| status.model.round > 1).await;
    assert_eq!((status.model.round, status.model.sha256), (3, kept.sha256));
    let next = client.assignment().await;
    assert_eq!((next.round.round, next.model.sha256), (4, kept.sha256));

    let task = server.task().await;
    let rounds: Vec<_> = task["history"].as_array().expect("rounds").iter().collect();
    assert_eq!(rounds.len(), 3);
    assert_eq!(
        rounds.iter().map(|round| round["refused"] == true).collect::<Vec<_>>(),
        [false, true, false]
    );
    let last = &task["gate"]["last"];
    assert_eq!((&last["round"], &last["to"], &last["in_a_row"]), (&json!(2), &json!(1), &json!(1)));
    let limit = last["limit"].as_f64().expect("a number");
    let loss = |round: usize| rounds[round]["loss"].as_f64().expect("a number");
    assert!((limit - 1.1 * loss(0)).abs() < 1e-9 && loss(1) > limit, "{task}");
    assert_eq!(loss(2), loss(0));
    assert_eq!(metric(server.address, "fedra_gate_rollbacks_total{task=\"tiny\"}").await, 1);
    let show = run(&server, "task show tiny").await.done();
    for text in ["refused by the gate", "back to 1", "the gate refused the model of round 2 last"] {
        assert!(show.contains(text), "{text}: {show}");
    }
    let refused = operator(&server, "GET", "/v1/admin/tasks/tiny/export?round=2").await.body;
    let card = format!("/v1/models/{}/card", Sha256Hash::of(&refused));
    let card = get(server.address, &card).await.json();
    assert_eq!(card["model"]["refused"], true);
    assert!(card["training"]["gate"].as_str().expect("text").contains("1.1 times"), "{card}");

    // Another one in a row is one too many.
    client.report(next.round, &update(-9.0), 1).await;
    client.status(|status| status.model.round == 5).await;
    let task = operator(&server, "GET", "/v1/admin/tasks/tiny").await.json();
    assert_eq!((&task["state"], &task["phase"]), (&json!("paused"), &json!("paused")));
    let reason = task["health"]["reason"].as_str().expect("text").to_owned();
    assert!(reason.starts_with("paused by the gate after 2 roll-backs in a row"), "{reason}");
    let decision = &task["decisions"][0];
    assert_eq!((&decision["action"], &decision["refused"]), (&json!("pause"), &json!(4)));
    let model = task["model"]["sha256"].clone();
    drop(client);
    server.stop().await;

    let server = TestServer::start_config(config(&folder), folder).await;
    let task = server.task().await;
    assert_eq!((&task["state"], &task["health"]["reason"]), (&json!("paused"), &json!(reason)));
    assert_eq!(task["model"]["sha256"], model);
    server.stop().await;
}
