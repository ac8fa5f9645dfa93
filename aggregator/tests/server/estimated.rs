//! Step of the server: an estimate of the mean that resists an arbitrary update, an adaptive
//! optimizer, and learning rates that a schedule changes from round to round.

use std::sync::Arc;

use fedra_protocol::RoundId;
use tempfile::TempDir;

use crate::support::{TestServer, config_with, get};

const TABLES: &str = r#"
    [task.aggregation]
    estimator = "median"
    [task.server_optimizer]
    name = "adagrad"
    learning_rate = 0.5
    tau = 1e-9
    [task.server_optimizer.schedule]
    warmup_rounds = 1
    [task.training.schedule]
    kind = "step"
    every = 1
    factor = 0.5
    rounds = 3
"#;

#[tokio::test]
async fn a_round_takes_the_step_of_its_estimate_and_its_rates_also_after_a_restart() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let start = || async {
        let config = config_with(&folder.path().join("store"), "cohort_size = 3", "", "", TABLES);
        TestServer::start_config(config, Arc::clone(&folder)).await
    };
    let mut server = start().await;
    let mut expected: Vec<f64> = server.parameters().await.into_iter().map(f64::from).collect();
    // Without momentum a median D moves each parameter by rate * D / sqrt(sum of D^2).
    for (round, median, rate, clients_rate) in [(1, 3.0, 0.25, 0.1), (2, -4.0, 0.5, 0.05)] {
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(server.joined().await);
        }
        for (client, value) in clients.iter_mut().zip([median, -60.0, 60.0]) {
            let assignment = client.assignment().await;
            assert_eq!(assignment.round, RoundId { round, attempt: 0 });
            assert_eq!(assignment.training.learning_rate(), clients_rate);
            client.report(assignment.round, &[value; 3], 1).await;
        }
        for client in &mut clients {
            client.status(|status| status.model.round == round).await;
        }
        let sum: f64 = if round == 1 { 9.0 } else { 25.0 };
        expected.iter_mut().for_each(|value| *value += rate * f64::from(median) / sum.sqrt());
        for (found, expected) in server.parameters().await.into_iter().zip(&expected) {
            assert!((f64::from(found) - expected).abs() < 1e-6, "{found} for {expected}");
        }
        drop(clients);
        server.stop().await;
        server = start().await;
    }

    let model = server.task().await["model"]["sha256"].as_str().expect("a hash").to_owned();
    let card = get(server.address, &format!("/v1/models/{model}/card")).await.body;
    let card: serde_json::Value = serde_json::from_slice(&card).expect("JSON");
    assert_eq!(
        card["training"]["server_optimizer"],
        "the coordinate-wise median of the updates, by FedAdagrad, momentum 0, tau 0.000000001, \
         learning rate 0.5 (constant, after 1 rounds of warm-up)"
    );
    assert_eq!(
        card["training"]["learning_rate_schedule"],
        "times 0.5 every 1 rounds up to round 3"
    );
    server.stop().await;
}
