//! Log of a process with many clients: problems of any, rounds once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use fedra_edge_client::{
    ClientEvent, EventCode, Failure, Notice, PolicyName, PrivacyTerms, UpdateFate,
};
use fedra_protocol::Headline;
use tracing::{debug, error, info, warn};

/// Shared by the clients of one process.
#[derive(Clone)]
pub struct Report {
    clients: usize,
    evaluated: Rc<RefCell<Option<u64>>>,
    /// The metric to log, once the task is known.
    headline: Rc<Cell<Option<Headline>>>,
    /// The most participations that any client has told of, once one has.
    participations: Rc<RefCell<Option<u32>>>,
    /// True if a client has told of the task's end.
    finished: Rc<Cell<bool>>,
}

impl Report {
    pub fn new(clients: usize) -> Self {
        Self {
            clients,
            evaluated: Rc::default(),
            headline: Rc::default(),
            participations: Rc::default(),
            finished: Rc::default(),
        }
    }

    /// Logs an event of client `index`.
    pub fn event(&self, index: usize, event: &ClientEvent) {
        match event {
            // The last words of the process.
            ClientEvent::Error { code: EventCode::Failure(Failure::BadDataset), .. } => {}
            ClientEvent::Error {
                code: EventCode::Notice(Notice::TaskFinished), message, ..
            } => {
                if !self.finished.replace(true) {
                    info!("{message}");
                }
            }
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
            ClientEvent::Task { headline, .. } => self.headline.set(Some(*headline)),
            ClientEvent::Model { accuracy, bits_per_token, rmse, evaluated_round, .. } => {
                let (name, value) = match self.headline.get() {
                    None => return,
                    Some(Headline::Accuracy) => ("accuracy", accuracy),
                    Some(Headline::BitsPerToken) => ("loss in bits a token", bits_per_token),
                    Some(Headline::Rmse) => ("root of the mean squared error", rmse),
                };
                let Some(value) = value else { return };
                if self.evaluated.replace(*evaluated_round) != *evaluated_round {
                    let round = evaluated_round.unwrap_or_default();
                    info!(round, "the global model's held-out {name} is {value:.4}");
                }
            }
            ClientEvent::Privacy(terms) => self.privacy(index, terms),
            other => debug!(client = index, ?other),
        }
    }

    /// Reports the terms once, and then their cost for the client that took part most.
    fn privacy(&self, index: usize, terms: &PrivacyTerms) {
        let most = *self.participations.borrow();
        if most.is_some_and(|most| terms.participations <= most) {
            return debug!(client = index, ?terms);
        }
        *self.participations.borrow_mut() = Some(terms.participations);
        if terms.policy == PolicyName::None {
            return info!("the task has no privacy policy: the server sees each update");
        }
        if most.is_none() {
            info!(
                policy = ?terms.policy,
                noise_multiplier = terms.noise_multiplier,
                minimum_survivors = terms.minimum_survivors,
                max_participations = terms.max_participations,
                budget_epsilon = terms.budget_epsilon,
                delta = terms.delta,
                "the task's privacy policy"
            );
        }
        info!(
            client = index,
            participations = terms.participations,
            "privacy spent so far: epsilon {:.3} of {:.3}",
            terms.spent_epsilon,
            terms.budget_epsilon.unwrap_or(f64::INFINITY)
        );
    }
}
