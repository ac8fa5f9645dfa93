//! The bookkeeping of a run: what the aggregator said and what became of it.
//! Pure; the promises are judged here and nowhere else.
//!
//! An attempt belongs to one life of the aggregator: what was counted in it is
//! gone with a crash, and the same participant may be counted again afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::journal::{AttemptId, Entry, Event};

/// An attempt that is open.
struct Open {
    /// Time at which it should be over, or its step.
    due: SystemTime,
    accepted: BTreeSet<String>,
}

/// A round that the aggregator has announced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announced {
    pub attempt: AttemptId,
    /// The model's SHA-256.
    pub model: String,
    pub reports: u64,
}

/// Everything that was seen.
#[derive(Default)]
pub struct Book {
    open: BTreeMap<AttemptId, Open>,
    /// Models of announced rounds, as the log and as HTTP tell.
    models: BTreeMap<u64, BTreeSet<String>>,
    announced: BTreeMap<u64, Announced>,
    /// Updates that count more than once.
    pub counted_twice: u64,
    /// The longest time by which an attempt outlived its deadline.
    pub worst_overrun: Duration,
    pub attempts: u64,
    pub abandoned: u64,
    pub crashes: u64,
}

impl Book {
    /// Takes a line of the log.
    pub fn enter(&mut self, entry: Entry) {
        let at = entry.at;
        match entry.event {
            Event::Opened { attempt, deadline } => {
                self.attempts += 1;
                self.open.insert(attempt, Open { due: at + deadline, accepted: BTreeSet::new() });
            }
            Event::Advanced { attempt, deadline } => {
                self.overrun(attempt, at);
                if let Some(open) = self.open.get_mut(&attempt) {
                    open.due = at + deadline;
                }
            }
            Event::Accepted { attempt, participant } => {
                let open = self.open.get_mut(&attempt);
                // Neither twice, nor into an attempt that is not open.
                if !open.is_some_and(|open| open.accepted.insert(participant)) {
                    self.counted_twice += 1;
                }
            }
            Event::Completed { attempt, model, reports } => {
                self.overrun(attempt, at);
                let accepted = self.open.remove(&attempt).map_or(0, |open| open.accepted.len());
                self.counted_twice += reports.saturating_sub(accepted as u64);
                self.models.entry(attempt.round).or_default().insert(model.clone());
                self.announced.insert(attempt.round, Announced { attempt, model, reports });
            }
            Event::Abandoned { attempt, .. } => {
                self.overrun(attempt, at);
                self.open.remove(&attempt);
                self.abandoned += 1;
            }
        }
    }

    /// The aggregator was killed: its open attempts are over.
    pub fn crashed(&mut self, at: SystemTime) {
        self.crashes += 1;
        self.close(at);
    }

    /// Ends the run, and with it all that is open.
    pub fn close(&mut self, at: SystemTime) {
        for attempt in self.open.keys().copied().collect::<Vec<_>>() {
            self.overrun(attempt, at);
        }
        self.open.clear();
    }

    /// Notes that `round` has this model according to HTTP.
    pub fn seen(&mut self, round: u64, model: &str) {
        self.models.entry(round).or_default().insert(model.to_owned());
    }

    /// Rounds that the log announces, in order.
    pub fn announced(&self) -> impl Iterator<Item = &Announced> {
        self.announced.values()
    }

    /// Rounds that the log does not tell of, if `rounds` were made. Each crash may
    /// hide one: a round that is durable and not yet in the log.
    pub fn untold(&self, rounds: u64) -> u64 {
        rounds.saturating_sub(self.announced.len() as u64 + self.crashes)
    }

    /// Every round that was announced or seen.
    pub fn rounds(&self) -> usize {
        self.models.len()
    }

    /// Rounds that were announced or seen, and are not what they were then.
    /// `kept` tells the models that the store has of a round.
    pub fn lost(&self, kept: impl Fn(u64) -> BTreeSet<String>) -> Vec<u64> {
        let is_kept = |round: u64, models: &BTreeSet<String>| {
            models.len() == 1 && models.is_subset(&kept(round))
        };
        let lost = self.models.iter().filter(|(round, models)| !is_kept(**round, models));
        lost.map(|(round, _)| *round).collect()
    }

    fn overrun(&mut self, attempt: AttemptId, at: SystemTime) {
        let due = self.open.get(&attempt).map(|open| open.due);
        let overrun = due.and_then(|due| at.duration_since(due).ok()).unwrap_or_default();
        self.worst_overrun = self.worst_overrun.max(overrun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: AttemptId = AttemptId { round: 1, attempt: 0 };
    const DEADLINE: Duration = Duration::from_secs(8);

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1000.0 + seconds)
    }

    fn book(events: &[(f64, Event)]) -> Book {
        let mut book = Book::default();
        enter(&mut book, events);
        book
    }

    fn enter(book: &mut Book, events: &[(f64, Event)]) {
        for (seconds, event) in events {
            book.enter(Entry { at: at(*seconds), event: event.clone() });
        }
    }

    fn opened() -> Event {
        Event::Opened { attempt: ID, deadline: DEADLINE }
    }

    fn accepted(participant: &str) -> Event {
        Event::Accepted { attempt: ID, participant: participant.into() }
    }

    fn completed(reports: u64) -> Event {
        Event::Completed { attempt: ID, model: "aa".into(), reports }
    }

    fn only(models: &[&str]) -> BTreeSet<String> {
        models.iter().map(|&model| model.to_owned()).collect()
    }

    #[test]
    fn a_round_that_goes_well_breaks_no_promise() {
        let mut book = book(&[
            (0.0, opened()),
            (1.0, accepted("a")),
            (2.0, accepted("b")),
            (8.0, completed(2)),
        ]);
        book.seen(1, "aa");
        assert_eq!((book.counted_twice, book.worst_overrun), (0, Duration::ZERO));
        assert!(book.lost(|_| only(&["aa"])).is_empty());
        assert_eq!(book.announced().count(), 1);
    }

    #[test]
    fn an_update_that_counts_twice_is_found_in_the_log_and_in_the_reports() {
        let twice = book(&[(0.0, opened()), (1.0, accepted("a")), (2.0, accepted("a"))]);
        assert_eq!(twice.counted_twice, 1);
        let hidden = book(&[(0.0, opened()), (1.0, accepted("a")), (2.0, completed(2))]);
        assert_eq!(hidden.counted_twice, 1);
        let after_the_end = book(&[(0.0, opened()), (1.0, completed(0)), (2.0, accepted("a"))]);
        assert_eq!(after_the_end.counted_twice, 1);
    }

    #[test]
    fn after_a_crash_the_same_update_counts_anew() {
        let mut book = book(&[(0.0, opened()), (1.0, accepted("a"))]);
        book.crashed(at(2.0));
        enter(&mut book, &[(3.0, opened()), (4.0, accepted("a")), (5.0, completed(1))]);
        assert_eq!((book.counted_twice, book.crashes, book.attempts), (0, 1, 2));
    }

    #[test]
    fn a_round_that_is_not_in_the_log_is_missed_unless_a_crash_may_hide_it() {
        let mut book = Book::default();
        book.seen(1, "aa");
        book.seen(2, "bb");
        assert_eq!(book.untold(2), 2, "HTTP is not the log");
        book.crashed(at(1.0));
        assert_eq!(book.untold(2), 1);
        enter(&mut book, &[(2.0, opened()), (3.0, completed(0))]);
        assert_eq!(book.untold(2), 0);
        assert_eq!(book.untold(3), 1);
    }

    #[test]
    fn the_worst_overrun_is_that_of_any_step_or_end() {
        assert_eq!(
            book(&[(0.0, opened()), (8.5, completed(0))]).worst_overrun,
            Duration::from_millis(500)
        );
        let advanced = Event::Advanced { attempt: ID, deadline: Duration::from_secs(2) };
        let abandoned = Event::Abandoned { attempt: ID, reason: "too_few_reports".into() };
        let stepwise = book(&[(0.0, opened()), (8.25, advanced), (11.0, abandoned)]);
        assert_eq!(stepwise.worst_overrun, Duration::from_millis(750));
        let mut stalled = book(&[(0.0, opened())]);
        stalled.crashed(at(20.0));
        assert_eq!(stalled.worst_overrun, Duration::from_secs(12));
    }

    #[test]
    fn a_round_is_lost_if_it_is_gone_or_another_model_has_its_place() {
        let mut book = book(&[(0.0, opened()), (1.0, completed(0))]);
        assert_eq!(book.lost(|_| only(&[])), [1]);
        assert_eq!(book.lost(|_| only(&["bb"])), [1]);
        assert!(book.lost(|_| only(&["aa", "bb"])).is_empty());
        // Two were told different things.
        book.seen(1, "bb");
        assert_eq!(book.lost(|_| only(&["aa", "bb"])), [1]);
    }
}
