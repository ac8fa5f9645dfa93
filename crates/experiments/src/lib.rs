//! Experiments of federated learning on one machine: a whole task on virtual time.
//!
//! The production code runs: the task's core, its writer, the accumulators and codecs, the
//! sessions of server and clients, local training, and both ends of secure aggregation. Only
//! sockets, clocks and the devices' speed are made up. One file and its seed are one result, to
//! the bit, whatever the number of threads.
//!
//! Memory grows with the clients at work: an idle client is two idle sessions and the numbers
//! of its examples.
//!
//! # Example
//!
//! ```no_run
//! use std::path::Path;
//! use std::ops::ControlFlow;
//! use fedra_experiments::Experiment;
//!
//! # fn main() -> Result<(), fedra_experiments::RunError> {
//! let experiment = Experiment::load(Path::new("sim.toml"))?;
//! let outcome = experiment.run(&fedra_coordinator::storage::Storage::in_memory(), |round| {
//!     println!("{} {:?}", round.record.round, round.quality);
//!     ControlFlow::Continue(())
//! })?;
//! println!("{}", outcome.model);
//! # Ok(())
//! # }
//! ```

mod attack;
mod config;
mod devices;
mod examples;
mod memory;
mod partition;
mod recorded;
pub mod report;
mod seeds;
mod server;
pub mod study;
mod style;
mod work;
mod world;

use std::ops::ControlFlow;
use std::time::Duration;

use fedra_aggregator::evaluation::EvaluationError;
use fedra_coordinator::storage::Storage;
use fedra_data::ReadError;
use fedra_protocol::{Quality, Sha256Hash};

pub use self::attack::{Attack, Kind};
pub use self::config::{Data, Experiment, ExperimentError, Simulation, Source};
pub use self::devices::{Assignment, Devices, Speed, TraceError};
pub use self::memory::{Division, InMemory};
pub use self::partition::{Examples, Partition, PartitionError, Share};
pub use self::recorded::{Keep, RecordError, Recorded};
pub use self::server::ServerError;
pub use self::style::Style;
use self::world::World;
pub use self::world::{Round, WorldError};

/// Reason why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The experiment's file is not one.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
    /// Training data that cannot be read.
    #[error(transparent)]
    Data(#[from] ReadError),
    /// Training data that do not fit the task.
    #[error("the training data do not fit the task: {0}")]
    Unfit(#[from] fedra_data::DatasetError),
    /// Training data that have no style.
    #[error("{0}")]
    Style(String),
    /// Held-out data that cannot be used.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// A column by which examples cannot be shared out.
    #[error("data.partition.column: {0}")]
    Column(#[source] ReadError),
    /// Examples that cannot be shared out.
    #[error("data.partition: {0}")]
    Partition(#[from] PartitionError),
    /// A task that cannot go on.
    #[error(transparent)]
    World(#[from] WorldError),
}

/// Result of an experiment.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Rounds of this run, oldest first; none if the store has reached the end already.
    pub rounds: Vec<Round>,
    /// Clients in all.
    pub clients: usize,
    /// Hash of the newest model.
    pub model: Sha256Hash,
    /// True if the target was reached.
    pub reached: bool,
}

impl Experiment {
    /// Runs the experiment from what the store has of its task, and tells of each round.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub fn run(
        &self,
        storage: &Storage,
        mut tell: impl FnMut(&Round) -> ControlFlow<()>,
    ) -> Result<Outcome, RunError> {
        let examples = self.examples()?;
        let shares = self.shares(&examples)?;
        let held_out = self.held_out()?;
        let clients = shares.len();
        let mut world = World::new(self, storage, examples.all, shares, held_out)?;
        for record in world.evaluate_pending(storage)? {
            if record.quality.is_some_and(|quality| self.reaches(&quality)) {
                let model = record.sha256;
                return Ok(Outcome { rounds: Vec::new(), clients, model, reached: true });
            }
        }
        let mut rounds = Vec::new();
        let mut reached = false;
        while let Some(round) = world.next_round()? {
            let quality = round.quality;
            let stops = tell(&round).is_break();
            rounds.push(round);
            reached = quality.is_some_and(|quality| self.reaches(&quality));
            if reached || stops {
                break;
            }
        }
        let model = rounds.last().map_or_else(|| world.model(), |last| last.record.sha256);
        Ok(Outcome { rounds, clients, model, reached })
    }

    fn reaches(&self, quality: &Quality) -> bool {
        let headline = self.task.settings.model.headline();
        headline.of(quality).is_some_and(|value| self.is_target(value))
    }

    /// True if a value of the first metric is the target, or better.
    fn is_target(&self, value: f64) -> bool {
        let headline = self.task.settings.model.headline();
        self.simulation.target.is_some_and(|target| !headline.is_better(target, value))
    }
}

/// Seconds of a duration, to the millisecond.
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1e3
}
