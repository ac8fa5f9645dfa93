//! A row a round: what of a task's history is new, as text. It does no I/O.

use fedra_http_api::{Round, TaskState};

use crate::status;

/// The columns' names.
pub const HEADER: &str = "round  accuracy      loss  reports  seconds          up        down";

/// Follows one task.
pub struct Table {
    rounds: Option<u64>,
    /// The last round that was printed.
    printed: u64,
    /// The last round that clients were trained in.
    trained: u64,
    /// True if the task itself says that there will be no more rounds.
    ended: bool,
    accuracy: Option<f64>,
}

impl Table {
    /// `rounds`: after how many the task is done, if ever.
    pub fn new(rounds: Option<u64>) -> Self {
        Self { rounds, printed: 0, trained: 0, ended: false, accuracy: None }
    }

    /// The rows that a task adds with its state and its completed rounds. A round waits
    /// for its evaluation, unless a later one has been evaluated already.
    pub fn update(&mut self, state: TaskState, history: &[Round]) -> Vec<String> {
        self.ended = state.is_over();
        let last = history.iter().map(|round| round.round).max();
        self.trained = self.trained.max(last.unwrap_or(0));
        let evaluated = history.iter().filter(|round| round.metrics.loss.is_some());
        let evaluated = evaluated.map(|round| round.round).max().unwrap_or(0);
        let mut rows = Vec::new();
        for round in history {
            if round.round > self.printed && round.round <= evaluated {
                self.printed = round.round;
                self.accuracy = round.metrics.accuracy;
                rows.push(row(round));
            }
        }
        rows
    }

    /// The last accuracy, once the last round was printed: that of the number
    /// given, or the one with which the task has ended by itself.
    pub fn finished(&self) -> Option<Option<f64>> {
        let last = if self.ended { self.trained } else { self.rounds? };
        (self.printed >= last).then_some(self.accuracy)
    }

    /// True if no client is needed any more.
    pub fn all_trained(&self) -> bool {
        self.ended || self.rounds.is_some_and(|rounds| self.trained >= rounds)
    }
}

fn row(entry: &Round) -> String {
    let Round { round, metrics, reports, seconds, bytes_up, bytes_down, .. } = *entry;
    let number = |value: Option<f64>| match value {
        Some(value) => format!("{value:.4}"),
        None => "-".to_owned(),
    };
    let [accuracy, loss] = [metrics.accuracy, metrics.loss].map(number);
    let [up, down] = [bytes_up, bytes_down].map(status::bytes);
    format!(
        "{round:>5}  {accuracy:>8}  {loss:>8}  {reports:>7}  {seconds:>7.1}  {up:>10}  {down:>10}"
    )
}

#[cfg(test)]
mod tests {
    use fedra_http_api::Metrics;

    use super::TaskState::{Finished, Running};
    use super::*;

    fn entry(round: u64, accuracy: Option<f64>) -> Round {
        Round {
            round,
            metrics: Metrics { accuracy, loss: accuracy.map(|a| 1.0 - a), ..Metrics::default() },
            by_clients: None,
            reports: 8,
            seconds: 1.25,
            bytes_up: 6_374_720,
            bytes_down: 6_400_000,
            refused: false,
        }
    }

    #[test]
    fn a_row_fits_under_the_header() {
        let row = row(&entry(12, Some(0.9625)));
        assert_eq!(row.len(), HEADER.len());
        assert_eq!(row, "   12    0.9625    0.0375        8      1.2     6.37 MB     6.40 MB");
    }

    #[test]
    fn each_round_is_printed_once_and_not_before_its_evaluation() {
        let mut table = Table::new(Some(2));
        assert!(table.update(Running, &[entry(1, None)]).is_empty());
        let first = [entry(1, Some(0.5)), entry(2, None)];
        assert_eq!(table.update(Running, &first).len(), 1);
        assert!(table.update(Running, &first).is_empty());
        assert!(table.all_trained());
        assert_eq!(table.finished(), None);
        let both = [entry(1, Some(0.5)), entry(2, Some(0.75))];
        assert_eq!(table.update(Running, &both).len(), 1);
        assert_eq!(table.finished(), Some(Some(0.75)));
    }

    #[test]
    fn a_task_that_has_ended_early_is_waited_for_no_longer_than_its_last_evaluation() {
        let mut table = Table::new(Some(5));
        assert!(table.update(Finished, &[entry(1, None)]).is_empty());
        assert!(table.all_trained());
        assert_eq!(table.finished(), None);
        assert_eq!(table.update(Finished, &[entry(1, Some(0.5))]).len(), 1);
        assert_eq!(table.finished(), Some(Some(0.5)));
    }

    #[test]
    fn a_round_whose_evaluation_was_skipped_is_printed_with_its_successor() {
        let mut table = Table::new(None);
        let rows = table.update(Running, &[entry(1, None), entry(2, Some(0.75))]);
        assert_eq!(rows.len(), 2);
        assert!(rows[0].contains(" - "), "{}", rows[0]);
        assert_eq!(table.finished(), None);
    }
}
