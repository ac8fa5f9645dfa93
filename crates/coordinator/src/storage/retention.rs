//! Choice of the global models of a task that stay on disk: a pure function.

use std::collections::BTreeSet;

use super::RoundRecord;
use super::gate::refused_rounds;

/// `[task.checkpoints]`: the checkpoints of a task that are kept. The initial
/// model and the newest always are: a task can go back to its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Number of the newest rounds to keep; 0 keeps every round.
    pub last: usize,
    /// In addition, every round whose number is a multiple of this; 0 for none.
    pub every: u64,
    /// In addition, the round that did best on held-out examples, of those that are
    /// still there and that no gate has refused: by accuracy, or by loss where there is none.
    pub best: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self { last: 10, every: 0, best: true }
    }
}

impl Retention {
    /// True if nothing is ever removed.
    #[must_use]
    pub fn everything(&self) -> bool {
        self.last == 0 || self.every == 1
    }

    /// The rounds whose models stay. `kept` are the records of those that are
    /// there, oldest first. A model that a gate has refused stays only among the newest.
    #[must_use]
    pub fn rounds(&self, kept: &[RoundRecord]) -> BTreeSet<u64> {
        let all = kept.iter().map(|record| record.round);
        let Some(newest) = kept.last().map(|record| record.round) else { return BTreeSet::new() };
        if self.everything() {
            return all.collect();
        }
        let first = (newest + 1).saturating_sub(self.last as u64);
        let refused = refused_rounds(kept);
        let best = if self.best { best(kept, &refused) } else { None };
        all.filter(|&round| {
            let multiple = self.every > 0 && round.is_multiple_of(self.every);
            let chosen = multiple && !refused.contains(&round) || best == Some(round);
            round == 0 || round >= first || chosen
        })
        .collect()
    }
}

/// The round of the best model that was evaluated and not refused; of equals, the newest. The
/// server's examples decide if there are any, otherwise the clients' do.
fn best(kept: &[RoundRecord], refused: &BTreeSet<u64>) -> Option<u64> {
    let at_the_server = kept.iter().any(|record| record.quality.is_some());
    // Greater is better. What has an accuracy is better than what has none.
    let worth = |record: &RoundRecord| {
        let quality = if at_the_server { record.quality? } else { record.client_quality? };
        let accuracy = quality.accuracy.filter(|accuracy| accuracy.is_finite());
        let loss = if quality.loss.is_nan() { f64::INFINITY } else { quality.loss };
        Some((accuracy.unwrap_or(f64::NEG_INFINITY), -loss))
    };
    let candidates = kept.iter().filter(|record| !refused.contains(&record.round));
    let rated = candidates.filter_map(|record| Some((worth(record)?, record.round)));
    rated
        .max_by(|((accuracy, loss), _), ((other, other_loss), _)| {
            accuracy.total_cmp(other).then_with(|| loss.total_cmp(other_loss))
        })
        .map(|(_, round)| round)
}

#[cfg(test)]
mod tests {
    use fedra_protocol::{Quality, Sha256Hash};

    use super::*;
    use crate::storage::GateRefusal;

    fn record(round: u64, quality: Option<(Option<f64>, f64)>) -> RoundRecord {
        RoundRecord {
            round,
            attempt: 0,
            sha256: Sha256Hash::of(&round.to_le_bytes()),
            model_bytes: 8,
            cohort: 1,
            reports: 1,
            weight: 1,
            seconds: 1.0,
            bytes_up: 0,
            bytes_down: 0,
            quality: quality.map(|(accuracy, loss)| Quality { accuracy, ..Quality::of_loss(loss) }),
            client_quality: None,
            clipping_norm: None,
            restored: None,
            refusal: None,
            optimizer_state: None,
            frozen: None,
            step: None,
            residual: None,
            control: None,
        }
    }

    fn kept(keep: Retention, records: &[RoundRecord]) -> Vec<u64> {
        keep.rounds(records).into_iter().collect()
    }

    #[test]
    fn the_last_and_every_so_many() {
        let records: Vec<_> = (0..=10).map(|round| record(round, None)).collect();
        let keep = Retention { last: 2, every: 0, best: true };
        assert_eq!(kept(keep, &records), [0, 9, 10]);
        assert_eq!(kept(Retention { every: 4, ..keep }, &records), [0, 4, 8, 9, 10]);
        assert_eq!(kept(Retention { last: 0, ..keep }, &records).len(), 11);
        assert_eq!(kept(Retention { every: 1, ..keep }, &records).len(), 11);
        assert_eq!(kept(Retention { last: 50, ..keep }, &records).len(), 11);
        assert_eq!(kept(keep, &records[..1]), [0]);
        assert!(kept(keep, &[]).is_empty());
    }

    #[test]
    fn the_best_is_by_accuracy_then_loss_then_age() {
        let keep = Retention { last: 1, every: 0, best: true };
        let of = |qualities: &[Option<(Option<f64>, f64)>]| {
            let records: Vec<_> =
                (1..).zip(qualities).map(|(round, quality)| record(round, *quality)).collect();
            kept(keep, &records)
        };
        let (good, bad) = (Some((Some(0.9), 2.0)), Some((Some(0.5), 1.0)));
        assert_eq!(of(&[bad, good, bad, None]), [2, 4]);
        assert_eq!(of(&[good, good, bad, None]), [2, 4]);
        assert_eq!(of(&[good, Some((Some(0.9), 3.0)), None, None]), [1, 4]);
        assert_eq!(of(&[Some((None, 0.1)), Some((None, 0.2)), None]), [1, 3]);
        assert_eq!(of(&[Some((None, f64::NAN)), Some((None, 7.0)), None]), [2, 3]);
        assert_eq!(of(&[Some((Some(f64::NAN), 0.0)), bad, None]), [2, 3]);
        assert_eq!(of(&[None, None, None]), [3]);
    }

    #[test]
    fn a_refused_model_stays_among_the_newest_alone() {
        let keep = Retention { last: 3, every: 2, best: true };
        let back = |round: u64, to| {
            let refusal = GateRefusal { round: round - 1, loss: None, limit: None, in_a_row: 1 };
            RoundRecord { restored: Some(to), refusal: Some(refusal), ..record(round, None) }
        };
        // The refused one has the best accuracy of all, and an even number.
        let good = Some((Some(0.9), 2.0));
        let fair = Some((Some(0.5), 1.0));
        let mut records = vec![record(0, None), record(1, fair), record(2, good), back(3, 1)];
        assert_eq!(kept(keep, &records), [0, 1, 2, 3]);
        records.extend([record(4, None), record(5, None)]);
        assert_eq!(kept(keep, &records), [0, 1, 3, 4, 5]);
    }

    #[test]
    fn without_examples_at_the_server_the_clients_decide_what_is_best() {
        let keep = Retention { last: 1, every: 0, best: true };
        let by_clients = |round, loss| RoundRecord {
            client_quality: Some(Quality::of_loss(loss)),
            ..record(round, None)
        };
        let records = [record(1, None), by_clients(2, 0.5), by_clients(3, 0.7), record(4, None)];
        assert_eq!(kept(keep, &records), [2, 4]);
        let both = [record(1, Some((None, 9.0))), by_clients(2, 0.5), record(3, None)];
        assert_eq!(kept(keep, &both), [1, 3]);
    }
}
