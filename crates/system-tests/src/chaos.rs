//! `cargo xtask chaos`: does the aggregator keep its promises while clients are
//! killed and frozen, and while it is killed itself? Real processes on this
//! machine: a run in which nothing goes wrong, the same with faults, and a smaller
//! one under secure aggregation.
//!
//! Promises: what was announced is there afterwards; an update counts once; no
//! attempt outlives its deadline; training gets as far as without faults.

mod book;
mod fleet;
mod plan;
mod run;

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use clap::Args;
use fedra_harness::config::{Policy, Privacy, Round, Task, Training};
use fedra_harness::{npm, process, project, status};
use fedra_http_api::LedgerEntry;

use self::fleet::Swarm;
use self::plan::Faults;
use self::run::{Outcome, Setting};

const TASK: &str = "chaos";
/// Clients in one process: they are killed and frozen together.
const EACH: u32 = 5;
const EXAMPLES: u32 = 300;
/// Shares of the processes, in each attempt at a round.
const KILLED: f64 = 0.2;
const FROZEN: f64 = 0.1;
const DEADLINE: &str = "8s";
const STEP_DEADLINE: &str = "4s";
/// An attempt with its selection, and now and then one that comes to nothing.
const PATIENCE: Duration = Duration::from_secs(40);

const MOST_OVERRUN: Duration = Duration::from_secs(1);
/// Percentage points of accuracy.
const MOST_GAP: f64 = 0.5;

#[derive(Args)]
pub struct Options {
    /// Native clients, five in a process.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=1000))]
    clients: u32,
    /// Rounds of the run, and of the one without faults.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Times that the aggregator is killed.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Clients under secure aggregation, each its own process; 0 leaves that run out.
    #[arg(long, default_value_t = 24, value_parser = private_clients)]
    private_clients: u32,
    /// Rounds under secure aggregation.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    private_rounds: u64,
    /// Times that the aggregator is killed under secure aggregation.
    #[arg(long, default_value_t = 3)]
    private_kills: u32,
    /// Decides what goes wrong and when; by default another every time.
    #[arg(long)]
    seed: Option<u64>,
}

fn private_clients(text: &str) -> Result<u32, String> {
    let clients = text.parse().ok().filter(|clients| matches!(clients, 0 | 8..=200));
    clients.ok_or_else(|| "must be 0, or from 8 to 200".to_owned())
}

pub fn run(options: &Options) -> Result<()> {
    if !cfg!(unix) {
        bail!("chaos freezes and kills processes as only Unix can");
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(now.as_secs());
    npm::packages(&project::web())?;
    status::step("Building the aggregator and the native edge client");
    process::run(&mut project::build_programs())?;
    println!("seed {seed}: --seed {seed} draws the same faults again");

    let calm = run::run(&plain("without-faults", options, seed, Faults::NONE))?;
    let pace = calm.pace;
    let faults = Faults { killed: KILLED, frozen: FROZEN, server_kills: options.kills, pace };
    let rough = run::run(&plain("with-faults", options, seed, faults))?;
    let private = match options.private_clients {
        0 => None,
        _ => Some(run::run(&private(options, seed, pace))?),
    };

    println!();
    for (name, outcome) in [
        ("without faults", Some(&calm)),
        ("with faults", Some(&rough)),
        ("distributed", private.as_ref()),
    ] {
        if let Some(outcome) = outcome {
            println!("{}", summary(name, outcome));
        }
    }
    let covered = private.as_ref().map(Covered::of);
    if let Some(covered) = &covered {
        println!("{}", covered.line());
    }
    let verdict = Verdict::of(&calm, &rough, private.as_ref());
    let kept = verdict.is_kept() && covered.is_none_or(|covered| covered.is_kept());
    println!("{}", verdict.line());
    if !kept {
        bail!("a promise was broken");
    }
    Ok(())
}

/// The task of the first two runs. Those that are frozen keep a round open until
/// its deadline; with half of the cohort it counts.
fn plain(name: &'static str, options: &Options, seed: u64, faults: Faults) -> Setting {
    let processes = options.clients.div_ceil(EACH);
    let swarm =
        Swarm { task: TASK, processes: processes as usize, each: EACH, examples: EXAMPLES, seed };
    let clients = swarm.clients();
    let round = Round {
        cohort_size: clients,
        minimum_cohort: clients * 3 / 5,
        minimum_reports: clients / 2,
        selection_window: "1s",
        deadline: DEADLINE,
    };
    let task = task(options.rounds, round, None);
    Setting { name, task, rounds: options.rounds, patience: PATIENCE, swarm, faults, seed }
}

/// The noise does not matter here, only that each release of it is paid for.
fn private(options: &Options, seed: u64, pace: Duration) -> Setting {
    let clients = options.private_clients;
    let swarm =
        Swarm { task: TASK, processes: clients as usize, each: 1, examples: EXAMPLES, seed };
    let round = Round {
        cohort_size: clients,
        minimum_cohort: clients * 2 / 3,
        minimum_reports: clients / 2,
        selection_window: "1s",
        deadline: DEADLINE,
    };
    let privacy = Privacy {
        policy: Policy::Distributed,
        noise_multiplier: 0.5,
        clipping_norm: 1.0,
        epsilon: 100_000.0,
        delta: 1e-5,
        max_participations: None,
        step_deadline: STEP_DEADLINE,
    };
    Setting {
        name: "distributed",
        task: task(options.private_rounds, round, Some(privacy)),
        rounds: options.private_rounds,
        patience: 2 * PATIENCE,
        swarm,
        faults: Faults {
            killed: KILLED,
            frozen: FROZEN,
            server_kills: options.private_kills,
            pace,
        },
        seed,
    }
}

fn task(rounds: u64, round: Round, privacy: Option<Privacy>) -> Task<'static> {
    Task {
        id: TASK,
        title: "Chaos",
        model: "softmax-regression",
        rounds: Some(rounds),
        server_learning_rate: 1.0,
        training: Training { epochs: 5, batch_size: 10, learning_rate: 0.1 },
        round,
        privacy,
    }
}

fn summary(name: &str, outcome: &Outcome) -> String {
    let Outcome { book, accuracy, clients_killed, clients_frozen, .. } = outcome;
    format!(
        "{name}: {} rounds announced in {} attempts, {} abandoned; killed {} clients and the \
         aggregator {} times, froze {} clients; accuracy {accuracy:.4}",
        book.rounds(),
        book.attempts,
        book.abandoned,
        clients_killed,
        book.crashes,
        clients_frozen,
    )
}

/// Figures of the last line.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Verdict {
    lost: usize,
    counted_twice: u64,
    worst_overrun: Duration,
    /// Points.
    gap: f64,
}

impl Verdict {
    fn of(calm: &Outcome, rough: &Outcome, private: Option<&Outcome>) -> Self {
        let all = [Some(calm), Some(rough), private].into_iter().flatten();
        let verdict = Self {
            lost: 0,
            counted_twice: 0,
            worst_overrun: Duration::ZERO,
            gap: 100.0 * (calm.accuracy - rough.accuracy).abs(),
        };
        all.fold(verdict, |verdict, outcome| Self {
            lost: verdict.lost + outcome.lost.len(),
            counted_twice: verdict.counted_twice + outcome.book.counted_twice,
            worst_overrun: verdict.worst_overrun.max(outcome.book.worst_overrun),
            gap: verdict.gap,
        })
    }

    fn is_kept(&self) -> bool {
        self.lost == 0
            && self.counted_twice == 0
            && self.worst_overrun <= MOST_OVERRUN
            && self.gap <= MOST_GAP
    }

    fn line(&self) -> String {
        format!(
            "chaos: lost {}, counted twice {}, worst overrun {:.2} s, accuracy gap {:.2} points",
            self.lost,
            self.counted_twice,
            self.worst_overrun.as_secs_f64(),
            self.gap
        )
    }
}

/// Counts that show whether every release was large enough and paid for.
#[derive(Debug, PartialEq)]
struct Covered {
    releases: usize,
    /// Updates in the smallest sum that was released.
    fewest: u64,
    /// Updates that there must be.
    planned: u64,
    debits: usize,
    unpaid: usize,
}

impl Covered {
    fn of(outcome: &Outcome) -> Self {
        let releases: Vec<_> = outcome.book.announced().collect();
        let pays = |debit: &LedgerEntry, release: &book::Announced| {
            debit.round == release.attempt.round
                && u64::from(debit.attempt) == release.attempt.attempt
                && debit.subjects >= release.reports
        };
        let is_paid = |release: &book::Announced| outcome.ledger.iter().any(|d| pays(d, release));
        Self {
            releases: releases.len(),
            fewest: releases.iter().map(|release| release.reports).min().unwrap_or(0),
            planned: outcome.minimum_survivors.map_or(u64::MAX, u64::from),
            debits: outcome.ledger.len(),
            unpaid: releases.iter().filter(|release| !is_paid(release)).count(),
        }
    }

    fn is_kept(&self) -> bool {
        self.unpaid == 0 && self.fewest >= self.planned
    }

    fn line(&self) -> String {
        format!(
            "distributed: released {} sums of at least {} updates ({} planned), debits {}, \
             releases without a debit {}",
            self.releases, self.fewest, self.planned, self.debits, self.unpaid
        )
    }
}

#[cfg(test)]
mod tests {
    use super::book::Book;
    use super::*;
    use crate::journal::{AttemptId, Entry, Event};

    fn outcome(accuracy: f64) -> Outcome {
        Outcome {
            book: Book::default(),
            accuracy,
            pace: Duration::ZERO,
            lost: vec![],
            minimum_survivors: Some(12),
            ledger: vec![],
            clients_killed: 0,
            clients_frozen: 0,
        }
    }

    fn released(outcome: &mut Outcome, round: u64, reports: u64) {
        let attempt = AttemptId { round, attempt: 1 };
        let event = Event::Completed { attempt, model: format!("{round}"), reports };
        outcome.book.enter(Entry { at: SystemTime::UNIX_EPOCH, event });
    }

    #[test]
    fn the_last_line_is_as_documented() {
        let verdict = Verdict::of(&outcome(0.9071), &outcome(0.9052), None);
        assert_eq!(
            verdict.line(),
            "chaos: lost 0, counted twice 0, worst overrun 0.00 s, accuracy gap 0.19 points"
        );
        assert!(verdict.is_kept());
    }

    #[test]
    fn each_broken_promise_is_seen_in_any_run() {
        let calm = outcome(0.9);
        assert!(!Verdict::of(&calm, &outcome(0.894), None).is_kept());
        let lost = Outcome { lost: vec![3], ..outcome(0.9) };
        assert!(!Verdict::of(&calm, &calm, Some(&lost)).is_kept());
        let mut late = outcome(0.9);
        late.book.worst_overrun = Duration::from_millis(1001);
        assert!(!Verdict::of(&calm, &late, None).is_kept());
        let mut twice = outcome(0.9);
        twice.book.counted_twice = 1;
        assert!(!Verdict::of(&twice, &calm, None).is_kept());
    }

    #[test]
    fn a_release_is_covered_by_a_debit_of_its_own_attempt_for_all_in_it() {
        let mut outcome = outcome(0.5);
        released(&mut outcome, 1, 14);
        let debit = |attempt, subjects| LedgerEntry {
            round: 1,
            attempt,
            unix_seconds: 0,
            rho: 0.1,
            subjects,
        };
        for (debits, unpaid) in [
            (vec![debit(0, 20), debit(1, 14)], 0),
            (vec![debit(0, 20)], 1),
            (vec![debit(1, 13)], 1),
        ] {
            outcome.ledger = debits;
            assert_eq!(Covered::of(&outcome).unpaid, unpaid);
        }
        outcome.ledger = vec![debit(1, 20)];
        assert!(Covered::of(&outcome).is_kept());
        released(&mut outcome, 2, 11);
        assert_eq!(Covered::of(&outcome).fewest, 11);
        assert!(!Covered::of(&outcome).is_kept());
    }

    #[test]
    fn a_round_counts_although_its_share_of_faults_has_struck() {
        let options = Options {
            clients: 200,
            rounds: 30,
            kills: 10,
            private_clients: 24,
            private_rounds: 10,
            private_kills: 3,
            seed: None,
        };
        for setting in [plain("a", &options, 1, Faults::NONE), private(&options, 1, Duration::ZERO)]
        {
            let round = setting.task.round;
            let left = f64::from(setting.swarm.clients()) * (1.0 - KILLED - FROZEN);
            assert!(f64::from(round.minimum_reports) < left);
            assert!(round.minimum_reports < round.minimum_cohort);
        }
    }
}
