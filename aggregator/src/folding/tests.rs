//! Tests of the worker on a store in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fedra_aggregation::CheckedUpdate;
use fedra_protocol::RoundId;
use tokio::sync::Semaphore;

use super::{Contribution, Job, Received, RoundFigures};
use crate::config::Config;
use crate::coordinator::Command;
use crate::metrics::Metrics;
use crate::round::ClientId;
use crate::server::{Revived, revive};
use crate::storage::{MemoryStore, Store};

const TOML: &str = r#"
[[task]]
id = "tiny"
model = "softmax-regression"

[task.round]
mode = "buffered"
cohort_size = 64
"#;

/// Folds one report and returns what the worker answers.
fn report(weight: u64, staleness: u32, client: u64, revived: &mut Revived) -> Vec<Command> {
    let parameters = revived.task.config.model.parameters();
    let range = revived.task.config.update_range;
    let bytes = Bytes::from(0.5_f32.to_le_bytes().repeat(parameters));
    let update = CheckedUpdate::parse(bytes, parameters, range).expect("valid");
    let budget = Arc::new(Semaphore::new(1));
    let permit = budget.try_acquire_owned().expect("free");
    let contribution = Contribution::Update(Received { update, _permit: permit }, weight);
    let client = ClientId(client);
    revived.worker.work(Job::Take { client, subject: None, contribution, staleness })
}

#[test]
fn a_buffered_round_has_room_for_the_largest_weight_of_every_client() {
    let config = Config::from_toml(TOML).expect("valid");
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let metrics = Arc::new(Metrics::new());
    let task = config.tasks[0].clone();
    let most = task.plan.max_weight;
    let mut revived = revive(&store, task, &metrics, 1).expect("a new task");
    let round = RoundId { round: 1, attempt: 0 };
    revived.worker.work(Job::Open(round, None));
    for client in 0..64 {
        let commands = report(most, 0, client, &mut revived);
        assert!(commands.is_empty(), "report {client} was left out");
    }
    let figures = RoundFigures {
        round: 1,
        attempt: 0,
        cohort: 64,
        reports: 64,
        weight: 64 * most,
        elapsed: Duration::ZERO,
        traffic: (0, 0),
    };
    let done = revived.worker.work(Job::Finalize(figures));
    let [Command::Finalized(_, _, Ok(model))] = &done[..] else { panic!("no model was made") };
    assert_eq!(model.record.round, 1);
}
