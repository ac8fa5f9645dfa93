//! The privacy ledger under faults: what a store that fails at the worst moment
//! leaves behind never shows less than was released.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fedra_aggregator::config::Config;
use fedra_aggregator::storage::{
    Checkpoint, CheckpointFiles, Debit, Decision, Definition, MemoryStore, Quality, Retention, RoundRecord, Store,
    StoreError,
};
use fedra_protocol::{RoundPhase, Sha256Hash, SubjectId, TaskId, UpdateVerdict};
use std::path::Path;

use super::support::{TestClient, TestServer, config_with};

/// A store that fails where it is told to.
#[derive(Default)]
struct Faulty {
    inner: MemoryStore,
    refuses_debits: AtomicBool,
    refuses_commits: AtomicBool,
}

fn disk_full() -> StoreError {
    let source = std::io::Error::other("no space left");
    StoreError::File { action: "write", path: "ledger".into(), source }
}

impl Store for Faulty {
    fn create(
        &self,
        task: &TaskId,
        definition: &Definition,
        record: &RoundRecord,
        model: &Bytes,
    ) -> Result<(), StoreError> {
        self.inner.create(task, definition, record, model)
    }

    fn load(
        &self,
        task: &TaskId,
        definition: &Definition,
        rounds: usize,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.inner.load(task, definition, rounds)
    }

    fn commit(
        &self,
        task: &TaskId,
        record: &RoundRecord,
        files: &CheckpointFiles,
    ) -> Result<(), StoreError> {
        let paid = |debit: &Debit| (debit.round, debit.attempt) == (record.round, record.attempt);
        assert!(self.inner.debits(task)?.iter().any(paid), "a release without a debit");
        if self.refuses_commits.swap(false, Ordering::Relaxed) {
            return Err(disk_full());
        }
        self.inner.commit(task, record, files)
    }

    fn set_quality(&self, task: &TaskId, round: u64, quality: Quality) -> Result<(), StoreError> {
        self.inner.set_quality(task, round, quality)
    }

    fn model(&self, task: &TaskId, sha256: &Sha256Hash) -> Result<Option<Bytes>, StoreError> {
        self.inner.model(task, sha256)
    }

    fn debit(&self, task: &TaskId, debit: &Debit) -> Result<(), StoreError> {
        if self.refuses_debits.swap(false, Ordering::Relaxed) {
            return Err(disk_full());
        }
        self.inner.debit(task, debit)
    }

    fn debits(&self, task: &TaskId) -> Result<Vec<Debit>, StoreError> {
        self.inner.debits(task)
    }

    fn secret(&self, task: &TaskId, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.inner.secret(task, fresh)
    }

    fn roll_back(
        &self,
        task: &TaskId,
        to: u64,
        unix_seconds: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        self.inner.roll_back(task, to, unix_seconds)
    }

    fn checkpoint(
        &self,
        task: &TaskId,
        round: u64,
    ) -> Result<(RoundRecord, CheckpointFiles), StoreError> {
        self.inner.checkpoint(task, round)
    }

    fn checkpoints(&self, task: &TaskId) -> Result<Vec<u64>, StoreError> {
        self.inner.checkpoints(task)
    }

    fn prune(&self, task: &TaskId, keep: &Retention) -> Result<(), StoreError> {
        self.inner.prune(task, keep)
    }

    fn decide(&self, task: &TaskId, decision: &Decision) -> Result<(), StoreError> {
        self.inner.decide(task, decision)
    }

    fn decisions(&self, task: &TaskId) -> Result<Vec<Decision>, StoreError> {
        self.inner.decisions(task)
    }

    fn add_task(&self, task: &TaskId, toml: &str, unix_seconds: u64) -> Result<(), StoreError> {
        self.inner.add_task(task, toml, unix_seconds)
    }

    fn added_tasks(&self) -> Result<Vec<(TaskId, String)>, StoreError> {
        self.inner.added_tasks()
    }
}

fn config(policy: &str) -> Config {
    let round = "cohort_size = 2\nminimum_cohort = 2\nminimum_reports = 2";
    let privacy = format!(
        "[task.privacy]\n{policy}\nnoise_multiplier = 10.0\nclipping_norm = 1.0\n\
         epsilon = 8.0\ndelta = 1e-5"
    );
    config_with(Path::new("unused"), round, "", "", &privacy)
}

const CENTRAL: &str = "policy = \"central\"\nnoise = \"independent\"";

async fn two(server: &TestServer) -> [TestClient; 2] {
    let mut clients = [server.client().await, server.client().await];
    for (client, number) in clients.iter_mut().zip(1..) {
        client.check_in_as("tiny", Some(SubjectId::from_bytes([number; 16]))).await;
    }
    clients
}

#[tokio::test]
async fn a_release_that_fails_after_its_debit_costs_budget_and_is_paid_again() {
    let store = Arc::new(Faulty::default());
    store.refuses_commits.store(true, Ordering::Relaxed);
    let server = TestServer::start_store(config(CENTRAL), Arc::<Faulty>::clone(&store)).await;
    let before = server.parameters().await;
    let mut clients = two(&server).await;
    for attempt in 0..2 {
        for client in &mut clients {
            let round = client.take_part(&[0.1, 0.2, 0.3], 1).await;
            assert_eq!((round.round, round.attempt), (1, attempt));
        }
    }
    clients[0].status(|status| status.model.round == 1).await;
    assert_ne!(server.parameters().await, before);
    let debits = store.debits(&TaskId::new("tiny").expect("valid")).expect("reads");
    let paid: Vec<_> = debits.iter().map(|debit| (debit.round, debit.attempt)).collect();
    assert_eq!(paid, [(1, 0), (1, 1)]);
    assert!(debits.iter().all(|debit| debit.subjects.len() == 2));
    // What a failed attempt has cost is told at once, not after a restart.
    let told = &server.task().await["privacy"];
    assert_eq!(told["debits"], 2, "{told}");
    server.stop().await;
}

#[tokio::test]
async fn without_a_debit_nothing_is_released() {
    let store = Arc::new(Faulty::default());
    store.refuses_debits.store(true, Ordering::Relaxed);
    let server = TestServer::start_store(config(CENTRAL), Arc::<Faulty>::clone(&store)).await;
    let before = server.parameters().await;
    let mut clients = two(&server).await;
    for client in &mut clients {
        client.take_part(&[0.1, 0.2, 0.3], 1).await;
    }
    let status = clients[0].status(|status| status.round.attempt == 1).await;
    assert_eq!(status.model.round, 0);
    assert_eq!(server.parameters().await, before);
    server.stop().await;
}

#[tokio::test]
async fn without_a_debit_nobody_is_invited_to_send_local_noise() {
    let store = Arc::new(Faulty::default());
    store.refuses_debits.store(true, Ordering::Relaxed);
    let config = config("policy = \"local\"");
    let server = TestServer::start_store(config, Arc::<Faulty>::clone(&store)).await;
    let mut clients = two(&server).await;
    // The first attempt fails before any client hears of it.
    let round = clients[0].assignment().await.round;
    assert_eq!((round.round, round.attempt), (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_spent_budget_survives_a_restart() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let config = || {
        let mut config = config(CENTRAL);
        let task = &mut config.tasks[0];
        let mut privacy = task.settings.privacy.clone().expect("a policy");
        let mut policy = privacy.derived.policy().clone();
        policy.max_participations = 1;
        let derived =
            fedra_privacy_policy::DerivedPolicy::new(policy, task.settings.model.parameters());
        privacy.derived = Arc::new(derived.expect("sound"));
        task.settings.privacy = Some(privacy);
        config
    };
    let server = TestServer::start_store(config(), Arc::clone(&store)).await;
    let mut clients = two(&server).await;
    for client in &mut clients {
        let round = client.assignment().await.round;
        let outcome = client.report(round, &[0.1, 0.2, 0.3], 1).await;
        assert_eq!(outcome.verdict, UpdateVerdict::Accepted);
    }
    clients[0].phase(RoundPhase::Finished).await;
    server.stop().await;
    let again = TestServer::start_store(config(), store).await;
    assert_eq!(again.task().await["state"], "finished");
    again.stop().await;
}
