//! A row a round: what of a task's history is new, as text. Reads the JSON of
//! `GET /v1/tasks/{id}` and does no I/O.

use anyhow::{Context, Result};
use serde_json::Value;

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

    /// The rows that `task` adds. A round waits for its evaluation, unless a
    /// later one has been evaluated already.
    pub fn update(&mut self, task: &Value) -> Result<Vec<String>> {
        let history = task["history"].as_array().context("a task without history")?;
        self.ended = task["state"] == "finished";
        let mut rounds = Vec::new();
        for entry in history {
            let round = entry["round"].as_u64().context("a round without a number")?;
            self.trained = self.trained.max(round);
            rounds.push((round, entry));
        }
        let evaluated = rounds
            .iter()
            .filter(|(_, entry)| entry["loss"].is_number())
            .map(|&(round, _)| round)
            .max()
            .unwrap_or(0);
        let mut rows = Vec::new();
        for (round, entry) in rounds {
            // Round 0 is the initial model, which no client trained.
            if round > self.printed && round <= evaluated {
                self.printed = round;
                self.accuracy = entry["accuracy"].as_f64();
                rows.push(row(round, entry));
            }
        }
        Ok(rows)
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

fn row(round: u64, entry: &Value) -> String {
    let number = |key: &str, digits: usize| match entry[key].as_f64() {
        Some(value) => format!("{value:.digits$}"),
        None => "-".to_owned(),
    };
    let size = |key: &str| match entry[key].as_u64() {
        Some(count) => status::bytes(count),
        None => "-".to_owned(),
    };
    format!(
        "{round:>5}  {:>8}  {:>8}  {:>7}  {:>7}  {:>10}  {:>10}",
        number("accuracy", 4),
        number("loss", 4),
        number("reports", 0),
        number("seconds", 1),
        size("bytes_up"),
        size("bytes_down"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(round: u64, accuracy: Option<f64>) -> Value {
        json!({
            "round": round, "accuracy": accuracy, "loss": accuracy.map(|a| 1.0 - a),
            "reports": 8, "seconds": 1.25, "bytes_up": 6_374_720, "bytes_down": 6_400_000,
        })
    }

    #[test]
    fn a_row_fits_under_the_header() {
        let row = row(12, &entry(12, Some(0.9625)));
        assert_eq!(row.len(), HEADER.len());
        assert_eq!(row, "   12    0.9625    0.0375        8      1.2     6.37 MB     6.40 MB");
    }

    #[test]
    fn each_round_is_printed_once_and_not_before_its_evaluation() {
        let mut table = Table::new(Some(2));
        let first = json!({"history": [entry(1, None)]});
        assert!(table.update(&first).unwrap().is_empty());
        let first = json!({"history": [entry(1, Some(0.5)), entry(2, None)]});
        assert_eq!(table.update(&first).unwrap().len(), 1);
        assert!(table.update(&first).unwrap().is_empty());
        assert!(table.all_trained());
        assert_eq!(table.finished(), None);
        let both = json!({"history": [entry(1, Some(0.5)), entry(2, Some(0.75))]});
        assert_eq!(table.update(&both).unwrap().len(), 1);
        assert_eq!(table.finished(), Some(Some(0.75)));
    }

    #[test]
    fn a_task_that_has_ended_early_is_waited_for_no_longer_than_its_last_evaluation() {
        let mut table = Table::new(Some(5));
        let task = |accuracy| json!({"state": "finished", "history": [entry(1, accuracy)]});
        assert!(table.update(&task(None)).unwrap().is_empty());
        assert!(table.all_trained());
        assert_eq!(table.finished(), None);
        assert_eq!(table.update(&task(Some(0.5))).unwrap().len(), 1);
        assert_eq!(table.finished(), Some(Some(0.5)));
    }

    #[test]
    fn a_round_whose_evaluation_was_skipped_is_printed_with_its_successor() {
        let mut table = Table::new(None);
        let task = json!({"history": [entry(1, None), entry(2, Some(0.75))]});
        let rows = table.update(&task).unwrap();
        assert_eq!(rows.len(), 2);
        assert!(rows[0].contains(" - "), "{}", rows[0]);
        assert_eq!(table.finished(), None);
    }
}
