//! Ends of the clients of a process, and the result of the process.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::bail;
use fedra_edge_client::client::DataRefused;
use fedra_edge_client::{CallCode, ClientEvent, EventCode, Failure, Notice};
use tokio::sync::Notify;

/// Shared by the clients of one process.
#[derive(Clone, Default)]
pub struct Ends(Rc<State>);

#[derive(Default)]
struct State {
    /// True if the task has had its last round.
    finished: Cell<bool>,
    /// The first words about data that do not fit the task.
    misfit: RefCell<Option<String>>,
    misfits: Notify,
    /// Clients that have ended for good, by the code of the reason.
    given_up: RefCell<BTreeMap<&'static str, u32>>,
}

impl Ends {
    /// Takes in what became of a client's data.
    pub fn judged(&self, verdict: Result<(), DataRefused>) {
        if let Err(DataRefused { code, message }) = verdict
            && code == CallCode::Failure(Failure::BadDataset)
        {
            self.bad_data(message);
        }
    }

    /// Takes in an event; says whether its client has no more to do.
    pub fn event(&self, event: &ClientEvent) -> bool {
        let ClientEvent::Error { code, message, fatal } = event else { return false };
        match (code, fatal) {
            (EventCode::Notice(Notice::TaskFinished), _) => self.0.finished.set(true),
            (EventCode::Failure(Failure::BadDataset), _) => self.bad_data(message.clone()),
            (_, true) => *self.0.given_up.borrow_mut().entry(code.as_str()).or_default() += 1,
            _ => return false,
        }
        true
    }

    /// Data come from one folder: where one client's do not fit, that is the wrong one.
    pub fn bad_data(&self, message: String) {
        // The data of a task that has ended are not used any more.
        if !self.0.finished.get() {
            self.0.misfit.borrow_mut().get_or_insert(message);
            self.0.misfits.notify_one();
        }
    }

    /// Waits until data turn out not to fit.
    pub async fn misfit(&self) {
        self.0.misfits.notified().await;
    }

    /// Result that the process ends with.
    pub fn result(&self, clients: u32) -> anyhow::Result<()> {
        if let Some(message) = &*self.0.misfit.borrow() {
            bail!("the data do not fit the task: {message}");
        }
        let given_up = self.0.given_up.borrow();
        let failed: u32 = given_up.values().sum();
        if failed > 0 {
            let reasons = given_up.iter().map(|(code, count)| format!("{count} {code}"));
            let reasons: Vec<_> = reasons.collect();
            bail!("{failed} of {clients} clients gave up: {}; see above", reasons.join(", "));
        }
        Ok(())
    }
}
