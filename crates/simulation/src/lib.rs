//! Whole tasks on virtual time, with everything that may go wrong: messages that are
//! lost, late, doubled or out of order, connections that break, clients that die,
//! freeze and come back, operators who change their minds, and a server that crashes
//! at any of its writes.
//!
//! The production code runs: the task's core, the round machine, the writer, the
//! sessions of server and clients, and both ends of secure aggregation. Only the
//! network, the clock, the disk and the training are made up. One seed is one history:
//! it can be replayed.
//!
//! `cargo xtask simulate-faults --seed S` replays one. Fuzzing has the simulated server
//! alone, with [`strangers`] for clients.

mod checks;
mod client;
mod figures;
#[cfg(test)]
mod histories;
mod network;
mod scenario;
mod server;
mod store;
pub mod strangers;
mod world;

use std::fmt;
use std::time::Duration;

pub use self::figures::Figures;
use self::scenario::Scenario;
pub use self::scenario::{Bug, Manner};
use self::world::World;

/// Virtual time is cheap, but not without end.
const LONGEST: Duration = Duration::from_secs(600);

/// History that broke a promise.
#[derive(Debug)]
pub struct Broken {
    /// Its seed.
    pub seed: u64,
    /// The promise.
    pub problem: String,
    /// The last steps, one a line.
    pub trace: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, problem, trace } = self;
        writeln!(f, "seed {seed}: {problem}")?;
        writeln!(f, "replay it: cargo xtask simulate-faults --seed {seed}")?;
        f.write_str(trace)
    }
}

/// History of a seed, told step by step.
pub struct History {
    /// Trace of the history, one step a line.
    pub trace: String,
    /// Its figures, or the promise that it broke.
    pub outcome: Result<Figures, Broken>,
}

/// Runs the history of a seed, with a bug put in on purpose or without.
#[must_use]
pub fn run(seed: u64, bug: Option<Bug>) -> History {
    let mut world = World::new(Scenario::of(seed, bug));
    let outcome = world.run();
    let trace = world.trace();
    let outcome = outcome.map_err(|problem| Broken { seed, problem, trace: trace.clone() });
    History { trace, outcome }
}

/// Rounds in the second minute and the third of a history without faults, with clients
/// of these manners beside sound ones.
///
/// # Errors
///
/// The promise that was broken.
pub fn rounds_beside(seed: u64, manners: Vec<Manner>) -> Result<u64, Broken> {
    let mut world = World::new(Scenario::patient(seed, manners));
    let rounds = world.rounds_within(Duration::from_secs(60), Duration::from_secs(180));
    rounds.map_err(|problem| Broken { seed, problem, trace: world.trace() })
}
