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
mod memory;
mod partition;
mod recorded;
pub mod report;
mod seeds;
mod server;
pub mod study;
mod work;
mod world;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use fedra_aggregator::evaluation::{self, EvaluationError};
use fedra_coordinator::storage::Storage;
use fedra_data::{Dataset, ReadError, ReadOptions};
use fedra_data_files::Purpose;
use fedra_protocol::{Quality, Sha256Hash};

pub use self::attack::{Attack, Kind};
pub use self::config::{Data, Experiment, ExperimentError, Simulation, Source};
pub use self::devices::{Devices, Speed};
use self::memory::consecutive;
pub use self::memory::{Division, InMemory};
pub use self::partition::{Partition, PartitionError};
pub use self::recorded::{Keep, RecordError, Recorded};
use self::seeds::Seeds;
pub use self::server::ServerError;
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
    /// Held-out data that cannot be used.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
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
    /// Rounds of this run, oldest first.
    pub rounds: Vec<Round>,
    /// Hash of the newest model.
    pub model: Sha256Hash,
    /// True if the target was reached.
    pub reached: bool,
}

impl Experiment {
    /// The training data, all clients together; reads them if they are in files.
    ///
    /// # Errors
    ///
    /// [`RunError`] with the file at fault.
    pub fn examples(&self) -> Result<Arc<Dataset>, RunError> {
        let settings = &self.task.settings;
        let data = match &self.source {
            Source::Memory(memory) => Arc::clone(&memory.training),
            Source::Files(Data { path, labels, .. }) => {
                let source = fedra_data_files::Source {
                    data: path.clone(),
                    labels: labels.clone(),
                    purpose: Purpose::Training,
                };
                let described = settings.data_or_bytes();
                let options = ReadOptions::default();
                fedra_data_files::load(&source, &described, &settings.model, options)?.into()
            }
        };
        data.check_for(&settings.model)?;
        Ok(data)
    }

    /// The held-out examples, if there are some.
    fn held_out(&self) -> Result<Option<Arc<Dataset>>, EvaluationError> {
        match &self.source {
            Source::Memory(InMemory { held_out: Some(held_out), .. }) => {
                held_out.check_for(&self.task.settings.model)?;
                Ok(Some(Arc::clone(held_out)))
            }
            Source::Memory(_) | Source::Files(_) => Ok(evaluation::load(&self.task)?.map(Arc::new)),
        }
    }

    /// The indices of each client's examples.
    ///
    /// # Errors
    ///
    /// [`PartitionError`] if they cannot be shared out so.
    pub fn shares(&self, examples: &Dataset) -> Result<Vec<Vec<u32>>, PartitionError> {
        let Simulation { clients, seed, .. } = self.simulation;
        let partition = match &self.source {
            Source::Files(data) => data.partition,
            Source::Memory(InMemory { division: Division::Drawn(partition), .. }) => *partition,
            Source::Memory(InMemory { division: Division::Given(sizes), .. }) => {
                return Ok(consecutive(sizes));
            }
        };
        let mut rng = Seeds(seed).rng(seeds::Purpose::Partition);
        partition.shares(examples, clients as usize, &mut rng)
    }

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
        let mut world = World::new(self, storage, examples, shares, held_out)?;
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
        Ok(Outcome { rounds, model, reached })
    }

    fn reaches(&self, quality: &Quality) -> bool {
        let headline = self.task.settings.model.headline();
        let reached = self.simulation.target.zip(headline.of(quality));
        reached.is_some_and(|(target, value)| !headline.is_better(target, value))
    }
}

/// Seconds of a duration, to the millisecond.
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1e3
}
