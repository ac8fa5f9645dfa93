//! `[task.gate]`: the rule by which a model is refused for its held-out loss, and the earlier
//! model that takes its place. Pure functions of a task's records.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::RoundRecord;

/// Rule of a task: a model whose held-out loss is not finite, or more than a limit, is
/// refused, and the task goes back to the last one that was not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// Evaluation that the rule goes by.
    pub source: LossSource,
    /// Share by which a loss may be above that of the last kept model; above 0.
    pub loss_increase: f64,
    /// Largest loss in any case, if there is one.
    pub loss_limit: Option<f64>,
    /// Roll-backs in a row after which the task is paused, at least 1.
    pub rollbacks: u32,
}

/// Evaluation that a gate goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossSource {
    /// The server's, of each model before it is announced.
    Server,
    /// The clients', in rounds of evaluation. The models between two of them are kept or
    /// refused together.
    Clients,
}

/// Refusal of a model by its task's gate, in the record of the roll-back that follows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GateRefusal {
    /// Round of the model.
    pub round: u64,
    /// Its held-out loss; `None` if it is not finite, or the model could not be evaluated.
    pub loss: Option<f64>,
    /// Largest loss that would have passed; `None` if any finite one would have.
    pub limit: Option<f64>,
    /// Roll-backs of the gate in a row, with this one.
    pub in_a_row: u32,
}

impl fmt::Display for GateRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let round = self.round;
        match (self.loss, self.limit) {
            (Some(loss), Some(limit)) => {
                write!(f, "the held-out loss of round {round} is {loss:.4}, more than {limit:.4}")
            }
            _ => write!(f, "the model of round {round} has no finite held-out loss"),
        }
    }
}

/// Rule as a phrase, for people.
impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.source {
            LossSource::Server => "the server's evaluation",
            LossSource::Clients => "the clients' evaluation",
        };
        let times = ((1.0 + self.loss_increase) * 1e6).round() / 1e6;
        write!(
            f,
            "refuses a model whose held-out loss, by {by}, is more than {times} times that of the \
             last kept one"
        )?;
        match self.loss_limit {
            Some(limit) => write!(f, ", or above {limit}"),
            None => Ok(()),
        }
    }
}

impl Gate {
    /// True if the gate judges the round of this record by a loss of its own. A roll-back is
    /// the decision of an operator or of the gate itself. The server does not evaluate a round
    /// of evaluation again, whose model is that of the round before.
    #[must_use]
    pub fn judges(&self, record: &RoundRecord) -> bool {
        let is_evaluation = record.client_quality.is_some();
        let has_loss = match self.source {
            LossSource::Server => !is_evaluation,
            LossSource::Clients => is_evaluation,
        };
        has_loss && record.round > 0 && record.restored.is_none()
    }

    /// Finite held-out loss of a record, once it is known.
    #[must_use]
    pub fn loss(&self, record: &RoundRecord) -> Option<f64> {
        let quality = match self.source {
            LossSource::Server => record.quality,
            LossSource::Clients => record.client_quality,
        };
        quality.map(|quality| quality.loss).filter(|loss| loss.is_finite())
    }

    /// Refusal of the model of a record, whose loss is final, after the records `before`,
    /// oldest first; `None` if it is kept.
    #[must_use]
    pub fn refusal<'a>(
        &self,
        record: &RoundRecord,
        before: impl DoubleEndedIterator<Item = &'a RoundRecord> + Clone,
    ) -> Option<GateRefusal> {
        let reference = self.reference(before.clone());
        let limits = [reference.map(|loss| loss * (1.0 + self.loss_increase)), self.loss_limit];
        let limit = limits.into_iter().flatten().reduce(f64::min);
        let loss = self.loss(record);
        if loss.is_some_and(|loss| limit.is_none_or(|limit| loss <= limit)) {
            return None;
        }
        let kept = self.last_kept(before);
        let earlier = kept.and_then(|kept| kept.refusal).map_or(0, |refusal| refusal.in_a_row);
        Some(GateRefusal { round: record.round, loss, limit, in_a_row: earlier.saturating_add(1) })
    }

    /// The newest of these records, oldest first, that the gate has let pass, and so the one
    /// to go back to.
    #[must_use]
    pub fn last_kept<'a>(
        &self,
        before: impl DoubleEndedIterator<Item = &'a RoundRecord>,
    ) -> Option<&'a RoundRecord> {
        before.rev().find(|record| self.lets_pass(record))
    }

    /// True if the task is paused with this refusal.
    #[must_use]
    pub fn pauses(&self, refusal: &GateRefusal) -> bool {
        refusal.in_a_row.is_multiple_of(self.rollbacks.max(1))
    }

    /// True unless the record's round was not judged, or was refused: that one has a roll-back
    /// after it, which comes first for whoever looks back.
    fn lets_pass(&self, record: &RoundRecord) -> bool {
        record.round == 0 || record.restored.is_some() || self.loss(record).is_some()
    }

    /// Held-out loss of the last kept model, or of the newest one that it comes from and that
    /// has a loss. A roll-back leads to the round that it went back to.
    fn reference<'a>(
        &self,
        before: impl DoubleEndedIterator<Item = &'a RoundRecord>,
    ) -> Option<f64> {
        let mut newest = u64::MAX;
        for record in before.rev().filter(|record| self.lets_pass(record)) {
            if record.round > newest {
                continue;
            }
            match (self.loss(record), record.restored) {
                (Some(loss), _) => return Some(loss),
                (None, Some(to)) => newest = to,
                (None, None) => {}
            }
        }
        None
    }
}

/// Rounds whose models a gate has refused, by the roll-backs among these records.
#[must_use]
pub fn refused_rounds<'a>(records: impl IntoIterator<Item = &'a RoundRecord>) -> BTreeSet<u64> {
    let rounds = |record: &RoundRecord| Some(record.restored? + 1..=record.refusal?.round);
    records.into_iter().filter_map(rounds).flatten().collect()
}

#[cfg(test)]
mod tests;
