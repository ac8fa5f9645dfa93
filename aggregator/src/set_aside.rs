//! Tasks that could not start, each with its reason. The other tasks run; these
//! are shown to operators, and a check-in to one is to be tried again later.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{PoisonError, RwLock};

use fedra_http_api::SetAsideTask;
use fedra_protocol::TaskId;

use crate::metrics::Metrics;

/// All tasks that could not start.
#[derive(Debug, Default)]
pub(crate) struct SetAside {
    reasons: RwLock<BTreeMap<TaskId, String>>,
}

impl SetAside {
    /// Notes why a task could not start.
    pub(crate) fn add(&self, id: TaskId, error: &dyn Error, metrics: &Metrics) {
        let reason = error.to_string();
        tracing::error!(task = %id, reason, "the task is set aside: it cannot start");
        metrics.set_aside(&id, true);
        self.reasons.write().unwrap_or_else(PoisonError::into_inner).insert(id, reason);
    }

    /// The reason for which a task of this name could not start, if it could not.
    pub(crate) fn reason(&self, id: &TaskId) -> Option<String> {
        self.reasons.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All of them, by name.
    pub(crate) fn list(&self) -> Vec<SetAsideTask> {
        let reasons = self.reasons.read().unwrap_or_else(PoisonError::into_inner);
        let task = |(id, reason): (&TaskId, &String)| SetAsideTask {
            id: id.to_string(),
            reason: reason.clone(),
        };
        reasons.iter().map(task).collect()
    }
}
