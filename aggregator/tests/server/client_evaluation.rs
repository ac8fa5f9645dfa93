//! Models that the clients evaluate, in rounds of their own.

use std::path::Path;
use std::sync::Arc;

use fedra_aggregator::config::Config;
use fedra_protocol::{
    Capabilities, ClientAlgorithm, ClientMessage, RefusalCode, UpdateFault, UpdateVerdict,
};
use tempfile::TempDir;

use crate::support::{PARAMETERS, TestServer, check_in, config_with, get};

/// Every second round is one of evaluation.
const TABLE: &str = "[task.client_evaluation]\nevery = 1\nheld_out = 0.25";

const TWO: &str = "cohort_size = 2\nminimum_cohort = 2\nminimum_reports = 2";

fn config(folder: &Path) -> Config {
    config_with(&folder.join("store"), TWO, "", "", TABLE)
}

async fn server(folder: &Arc<TempDir>) -> TestServer {
    TestServer::start_config(config(folder.path()), Arc::clone(folder)).await
}

#[tokio::test]
async fn clients_evaluate_every_second_round_and_everybody_sees_it() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let server = server(&folder).await;
    let (mut first, mut second) = (server.joined().await, server.client().await);
    let checked_in = second.check_in("tiny").await;
    let evaluation = checked_in.task.client_evaluation.expect("the task has it evaluated");
    assert_eq!(evaluation.held_out(), 0.25);
    let assignment = first.assignment().await;
    assert!(!assignment.evaluates, "the first round trains");
    first.report(assignment.round, &[1.0; PARAMETERS], 1).await;
    second.take_part(&[1.0; PARAMETERS], 1).await;

    let assignment = first.assignment().await;
    assert!(assignment.evaluates && assignment.round.round == 2);
    let trained = server.task().await["model"]["sha256"].clone();
    let refused = first.report_length(assignment.round, 4 * PARAMETERS as u64).await;
    assert_eq!(refused.verdict, UpdateVerdict::Rejected(UpdateFault::WrongLength));
    assert!(refused.message.contains("the round needs 4"), "{}", refused.message);
    server.stop().await;

    // The round is tried again after a restart, as one of evaluation.
    let server = self::server(&folder).await;
    let (mut first, mut second) = (server.joined().await, server.joined().await);
    for (client, loss, examples) in [(&mut first, 4.0, 1), (&mut second, 1.0, 3)] {
        let assignment = client.assignment().await;
        assert!(assignment.evaluates && assignment.round.round == 2);
        let outcome = client.report(assignment.round, &[loss], examples).await;
        assert_eq!(outcome.verdict, UpdateVerdict::Accepted);
    }
    let status = first.status(|status| status.client_evaluation.is_some()).await;
    let quality = status.client_evaluation.expect("is there").quality;
    assert!((quality.loss - 1.75).abs() < 1e-6, "weighted by examples: {quality:?}");
    assert_eq!(status.evaluation, None, "the server has no examples");
    let task = server.task().await;
    assert_eq!(task["latest_by_clients"]["round"], 2);
    assert_eq!(task["latest_by_clients"]["loss"], quality.loss);
    assert_eq!(task["history"][1]["by_clients"]["rmse"], quality.rmse.expect("of squares"));
    assert_eq!(task["history"][0]["by_clients"], serde_json::Value::Null);
    assert_eq!(task["latest"], serde_json::Value::Null);
    assert_eq!(task["model"]["sha256"], trained, "the model stays");
    assert_eq!(task["model"]["round"], 2);
    let metrics = get(server.address, "/metrics").await.text();
    let gauge = format!("fedra_model_client_loss{{task=\"tiny\"}} {}", quality.loss);
    assert!(metrics.contains(&gauge), "{metrics}");

    assert!(!first.assignment().await.evaluates, "the third round trains");
    drop((first, second));
    server.stop().await;
    let server = self::server(&folder).await;
    assert_eq!(server.task().await["latest_by_clients"]["loss"], quality.loss, "it is stored");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_cannot_evaluate_is_told_so() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let server = server(&folder).await;
    let mut client = server.client().await;
    client.hello().await;
    let ClientMessage::CheckIn { task, availability, subject, token, .. } = check_in("tiny") else {
        panic!("no check-in");
    };
    let mut capabilities = Capabilities::all();
    assert!(capabilities.algorithms.remove(ClientAlgorithm::EVALUATION));
    let message = ClientMessage::CheckIn { task, availability, subject, token, capabilities };
    client.send(message).await;
    let (refusal, _) = client.refusal().await;
    assert_eq!(refusal.code, RefusalCode::UnsupportedClient);
    assert!(refusal.message.contains("evaluation of models"), "{}", refusal.message);
    server.stop().await;
}

#[test]
fn what_does_not_go_with_it_is_a_mistake_in_the_config() {
    let of = |round: &str, table: &str, privacy: &str| {
        let toml = format!(
            r#"
            [[task]]
            id = "tiny"
            rounds = 8
            model = {{ input = [2], layers = [{{ type = "linear", outputs = 1 }}], loss = "mean_squared_error" }}
            [task.round]
            {round}
            [task.client_evaluation]
            {table}
            {privacy}
            "#
        );
        Config::from_toml(&toml).expect_err("a mistake").to_string()
    };
    let central = |noise: &str| {
        format!(
            "[task.privacy]\npolicy = \"central\"\nnoise = \"{noise}\"\nnoise_multiplier = 1.0\n\
             clipping_norm = 1.0\nepsilon = 1e6\ndelta = 1e-5\nmax_participations = 2"
        )
    };
    for (mistakes, expected) in [
        (of("mode = \"buffered\"", "", ""), "client_evaluation.every: clients evaluate in rounds"),
        (of("", "held_out = 0.7", ""), "client_evaluation.held_out"),
        (of("", "every = 0", ""), "client_evaluation.every"),
        (of("", "evry = 1", ""), "client_evaluation.evry"),
        (of("", "", &central("independent")), "client_evaluation.loss_bound: missing"),
        (of("", "loss_bound = 2.0", &central("tree")), "noise goes on from one round of training"),
    ] {
        assert!(mistakes.contains(expected), "{expected}: {mistakes}");
    }
}
