//! Held-out evaluation: figures come after the round, and one that a stop has
//! cut off is made up for.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use fedra_aggregator::config::Config;
use fedra_aggregator::storage::{self, Lease, RoundRecord};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{TestServer, soon};

/// Four images of 2 x 2 pixels, each with one bright pixel, and its number.
pub fn write_data(folder: &Path) {
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 2];
    let mut labels = vec![0, 0, 8, 1, 0, 0, 0, 4];
    for class in 0..4_u8 {
        images.extend((0..4).map(|pixel| if pixel == class { 255 } else { 0 }));
        labels.push(class);
    }
    fs::write(folder.join("images"), images).expect("writes");
    fs::write(folder.join("labels"), labels).expect("writes");
}

/// A config with a task that the server evaluates on them.
pub fn toml(folder: &Path) -> String {
    let at = folder.display();
    format!(
        r#"
        [server]
        listen = "127.0.0.1:0"
        store = "{at}/store"
        [[task]]
        id = "tiny"
        model = {{ input = [4], layers = [{{ type = "linear", outputs = 4 }}], loss = "softmax_cross_entropy" }}
        round = {{ cohort_size = 1, selection_window = "0s" }}
        evaluation = {{ data = "{at}/images", labels = "{at}/labels" }}
        "#
    )
}

fn config(folder: &Path) -> Config {
    Config::from_toml(&toml(folder)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[tokio::test]
async fn models_are_evaluated_and_pending_evaluations_redone() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    write_data(folder.path());
    let server = TestServer::start_config(config(folder.path()), Arc::clone(&folder)).await;
    let mut client = server.joined().await;
    // A weight of 30 from each pixel to its class: every image is told apart.
    let mut delta = [0.0; 20];
    (0..4).for_each(|class| delta[5 * class] = 30.0);
    client.take_part(&delta, 1).await;
    let of_round_1 = |status: &fedra_protocol::TaskStatus| {
        status.evaluation.is_some_and(|evaluation| evaluation.round == 1)
    };
    let status = client.status(of_round_1).await;
    let evaluation = status.evaluation.expect("is there");
    assert_eq!(evaluation.quality.accuracy, Some(1.0));
    let task = server.task().await;
    assert_eq!(task["evaluated"], true);
    assert_eq!(task["latest"]["round"], 1);
    assert_eq!(task["latest"]["accuracy"], 1.0);
    assert_eq!(task["history"][0]["loss"], evaluation.quality.loss);
    assert_eq!(task["headline"], "accuracy");
    assert_eq!(task["latest"]["macro_f1"], 1.0);
    assert_eq!(task["latest"].get("rmse"), None);
    let diagonal = json!([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]);
    assert_eq!(task["classes"]["confusion"], diagonal);
    let class = json!({ "examples": 1, "recall": 1.0, "precision": 1.0 });
    assert_eq!(task["classes"]["metrics"][3], class);
    drop(client);
    server.stop().await;

    // A round that was stored, but not evaluated any more.
    let definition = config(folder.path()).tasks[0].settings.definition();
    let id = fedra_protocol::TaskId::new("tiny").expect("valid");
    let store_folder = folder.path().join("store");
    let record = tokio::task::spawn_blocking(move || {
        let store = storage::open(&store_folder).expect("opens");
        let lease = Lease::take(&store, &id).expect("leads");
        let checkpoint = lease.load(&definition, 1).expect("loads").expect("is there");
        let last = checkpoint.history.last().expect("one").clone();
        let record = RoundRecord { round: 2, quality: None, ..last };
        lease.commit(&record, &checkpoint.files).expect("commits");
        record
    });
    let record = soon(record).await.expect("no panic");
    let server = TestServer::start_config(config(folder.path()), Arc::clone(&folder)).await;
    let mut client = server.joined().await;
    let of_round_2 = |status: &fedra_protocol::TaskStatus| {
        status.evaluation.is_some_and(|evaluation| evaluation.round == record.round)
    };
    let status = client.status(of_round_2).await;
    assert_eq!(status.evaluation.and_then(|of| of.quality.accuracy), Some(1.0));
    drop(client);
    server.stop().await;

    // The matrix is not stored: it comes with one more evaluation of the newest model.
    let server = TestServer::start_config(config(folder.path()), folder).await;
    let classes = async {
        loop {
            let task = server.task().await;
            assert_eq!(task["latest"]["round"], 2);
            if !task["classes"].is_null() {
                return task["classes"].clone();
            }
        }
    };
    assert_eq!(soon(classes).await["confusion"], diagonal);
    server.stop().await;
}
