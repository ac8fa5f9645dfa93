//! What a process with many clients says: problems of any, rounds once.

use std::cell::RefCell;
use std::rc::Rc;

use fedra_edge_client::{ClientEvent, UpdateFate};
use tracing::{debug, error, info, warn};

/// Shared by the clients of one process.
#[derive(Clone)]
pub struct Report {
    clients: usize,
    evaluated: Rc<RefCell<Option<u64>>>,
}

impl Report {
    pub fn new(clients: usize) -> Self {
        Self { clients, evaluated: Rc::default() }
    }

    /// Logs an event of client `index`.
    pub fn event(&self, index: usize, event: &ClientEvent) {
        match event {
            ClientEvent::Error { message, fatal: true, .. } => error!(client = index, "{message}"),
            ClientEvent::Error { message, .. } => warn!(client = index, "{message}"),
            ClientEvent::Update { round, outcome: UpdateFate::Accepted, .. } => {
                debug!(client = index, round, "update accepted");
            }
            ClientEvent::Update { round, outcome, message, .. } => {
                let message = message.as_deref().unwrap_or_default();
                warn!(client = index, round, ?outcome, "{message}");
            }
            ClientEvent::Backend { backend, reason, .. } if self.clients == 1 => {
                info!("training on {backend}: {reason}");
            }
            ClientEvent::Model { accuracy: Some(accuracy), evaluated_round, .. } => {
                if self.evaluated.replace(*evaluated_round) != *evaluated_round {
                    let round = evaluated_round.unwrap_or_default();
                    info!(round, "the global model's held-out accuracy is {accuracy:.4}");
                }
            }
            other => debug!(client = index, ?other),
        }
    }
}
