//! The privacy ledger under faults: what a store that fails at the worst moment
//! leaves behind never shows less than was released.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fedra_aggregator::config::Config;
use fedra_aggregator::storage::{Debit, Intercept, Storage, StoreError, Write};
use fedra_protocol::{RoundPhase, SubjectId, TaskId, UpdateVerdict};
use std::path::Path;

use super::support::{TestClient, TestServer, config_with};

/// Stores that fail where they are told to.
struct Faults {
    durable: Storage,
    refuses_debits: AtomicBool,
    refuses_commits: AtomicBool,
}

fn disk_full() -> StoreError {
    let source = std::io::Error::other("no space left");
    StoreError::File { action: "write", path: "ledger".into(), source }
}

impl Faults {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            durable: Storage::in_memory(),
            refuses_debits: AtomicBool::new(false),
            refuses_commits: AtomicBool::new(false),
        })
    }

    /// The stores as the server has them.
    fn faulty(self: &Arc<Self>) -> Storage {
        self.durable.clone().intercepted(Arc::<Self>::clone(self))
    }
}

impl Intercept for Faults {
    fn write(
        &self,
        write: &Write<'_>,
        run: &mut dyn FnMut() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let refused = match write {
            Write::Append(term, record, None) => {
                let paid =
                    |debit: &Debit| (debit.round, debit.attempt) == (record.round, record.attempt);
                let debits = self.durable.tasks.debits(&term.task)?;
                assert!(debits.iter().any(paid), "a release without a debit");
                self.refuses_commits.swap(false, Ordering::Relaxed)
            }
            Write::Debit(..) => self.refuses_debits.swap(false, Ordering::Relaxed),
            _ => false,
        };
        if refused { Err(disk_full()) } else { run() }
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
    let store = Faults::new();
    store.refuses_commits.store(true, Ordering::Relaxed);
    let server = TestServer::start_store(config(CENTRAL), store.faulty()).await;
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
    let debits = store.durable.tasks.debits(&TaskId::new("tiny").expect("valid")).expect("reads");
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
    let store = Faults::new();
    store.refuses_debits.store(true, Ordering::Relaxed);
    let server = TestServer::start_store(config(CENTRAL), store.faulty()).await;
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
    let store = Faults::new();
    store.refuses_debits.store(true, Ordering::Relaxed);
    let config = config("policy = \"local\"");
    let server = TestServer::start_store(config, store.faulty()).await;
    let mut clients = two(&server).await;
    // The first attempt fails before any client hears of it.
    let round = clients[0].assignment().await.round;
    assert_eq!((round.round, round.attempt), (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_spent_budget_survives_a_restart() {
    let store = Storage::in_memory();
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
    let server = TestServer::start_store(config(), store.clone()).await;
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
