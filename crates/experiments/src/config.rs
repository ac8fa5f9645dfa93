//! The file of an experiment: clients, their data and devices, attackers, and the task as an
//! operator's config has it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedra_aggregator::config::{Config, TaskConfig};
use fedra_coordinator::round::Mode;
use fedra_protocol::ModelSpec;
use serde::{Deserialize, Deserializer};

use crate::attack::Attack;
use crate::devices::Devices;
use crate::memory::InMemory;
use crate::partition::Partition;

/// A checked experiment.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Numbers of the experiment itself.
    pub simulation: Simulation,
    /// Origin of its examples.
    pub source: Source,
    /// Speed and availability of the devices.
    pub devices: Devices,
    /// Clients that do not do what they should.
    pub attacks: Vec<Attack>,
    /// The task, as the aggregator reads it.
    pub task: TaskConfig,
}

/// Origin of an experiment's examples.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files, as `[data]` and `[task.evaluation]` name them.
    Files(Data),
    /// Another program.
    Memory(InMemory),
}

/// `[simulation]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulation {
    /// Clients in all, 1 to 100,000.
    pub clients: u32,
    /// Seed of the partition, the devices, the selection and the noise. The model and local
    /// training have the task's own.
    #[serde(default = "one")]
    pub seed: u64,
    /// Rounds between two evaluations; the last model is always evaluated.
    #[serde(default = "one")]
    pub evaluate_every: u64,
    /// Value of the task's first metric at which the experiment ends: accuracy from below, an
    /// error from above.
    pub target: Option<f64>,
    /// Threads that train; as many as there are cores without it.
    pub threads: Option<usize>,
    /// Longest virtual time.
    #[serde(default, deserialize_with = "duration")]
    pub time: Option<Duration>,
}

fn one() -> u64 {
    1
}

/// A duration as text, such as `"90s"`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    let parsed = text.map(|text| humantime::parse_duration(&text)).transpose();
    parsed.map_err(serde::de::Error::custom)
}

/// `[data]`: files as the task describes its data, and who gets which examples.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// File or folder; relative to the experiment's file.
    pub path: PathBuf,
    /// File of the labels, of an array that has one of its own.
    pub labels: Option<PathBuf>,
    /// Rule by which examples are shared out.
    pub partition: Partition,
}

/// The whole file, unchecked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    simulation: Simulation,
    data: Option<Data>,
    #[serde(default)]
    devices: Devices,
    #[serde(default)]
    attack: Vec<Attack>,
    task: toml::Table,
}

/// Reason why there is no experiment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExperimentError {
    /// The file cannot be read.
    #[error("cannot read {path}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        problem: String,
    },
    /// It is not the TOML of an experiment.
    #[error("{0}")]
    Toml(String),
    /// The task is not one.
    #[error("{0}")]
    Task(String),
    /// Numbers that are out of range, or do not fit each other.
    #[error("{0}")]
    Range(String),
}

impl Experiment {
    /// Reads an experiment from its file. Paths in it are relative to the file's folder.
    ///
    /// # Errors
    ///
    /// [`ExperimentError`] with what to change.
    pub fn load(path: &Path) -> Result<Self, ExperimentError> {
        let text = std::fs::read_to_string(path).map_err(|error| ExperimentError::File {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        Self::from_toml(&text, path.parent().unwrap_or_else(|| Path::new("")))
    }

    /// Reads the text of an experiment, whose paths are relative to `folder`.
    ///
    /// # Errors
    ///
    /// [`ExperimentError`] with what to change.
    pub fn from_toml(text: &str, folder: &Path) -> Result<Self, ExperimentError> {
        let file = toml::from_str(text).map_err(|e| ExperimentError::Toml(e.to_string()))?;
        Self::from_file(file, folder, None)
    }

    /// The model of an experiment's table, whose input says what examples in memory have to be.
    ///
    /// # Errors
    ///
    /// [`ExperimentError`] if the table has no sound task.
    pub fn model_of(table: &toml::Table, folder: &Path) -> Result<ModelSpec, ExperimentError> {
        let task = table.get("task").and_then(toml::Value::as_table);
        let task = task.ok_or_else(|| ExperimentError::Toml("missing table `task`".to_owned()))?;
        Ok(task_of(task.clone(), folder)?.settings.model)
    }

    /// An experiment of a table without `[data]`, and examples in memory. Paths in the table
    /// are relative to `folder`.
    ///
    /// # Errors
    ///
    /// [`ExperimentError`] with what to change.
    pub fn in_memory(
        table: toml::Table,
        folder: &Path,
        examples: InMemory,
    ) -> Result<Self, ExperimentError> {
        Self::from_file(file_of(table)?, folder, Some(examples))
    }

    /// The same of a table that is there already.
    pub(crate) fn from_table(table: toml::Table, folder: &Path) -> Result<Self, ExperimentError> {
        Self::from_file(file_of(table)?, folder, None)
    }

    fn from_file(
        file: File,
        folder: &Path,
        memory: Option<InMemory>,
    ) -> Result<Self, ExperimentError> {
        let range = |problem: String| Err(ExperimentError::Range(problem));
        let File { simulation, data, devices, attack: attacks, task } = file;
        let source = match (data, memory) {
            (Some(mut data), None) => {
                data.path = folder.join(data.path);
                data.labels = data.labels.map(|labels| folder.join(labels));
                Source::Files(data)
            }
            (None, Some(memory)) => Source::Memory(memory),
            (None, None) => return range("an experiment has [data]: add the table".to_owned()),
            (Some(_), Some(_)) => {
                return range("the examples are in memory: leave out [data]".to_owned());
            }
        };
        if !(1..=100_000).contains(&simulation.clients) {
            let clients = simulation.clients;
            return range(format!("simulation.clients must be 1 to 100000; it is {clients}"));
        }
        if let Source::Memory(memory) = &source
            && let Some(problem) = memory.problem(simulation.clients)
        {
            return range(problem);
        }
        if simulation.evaluate_every == 0 || simulation.threads == Some(0) {
            return range("simulation.evaluate_every and threads must be at least 1".to_owned());
        }
        if let Some(problem) = devices.problem() {
            return range(problem);
        }
        let attackers: u64 = attacks.iter().map(|attack| u64::from(attack.clients)).sum();
        if attackers > u64::from(simulation.clients) {
            return range(format!(
                "there are {attackers} attackers among {} clients",
                simulation.clients
            ));
        }
        if let Some(problem) = attacks.iter().find_map(Attack::problem) {
            return range(problem);
        }
        let task = task_of(task, folder)?;
        let plan = &task.settings.plan;
        if plan.rounds.is_none() && simulation.time.is_none() && simulation.target.is_none() {
            return range(
                "nothing ends this experiment: set task.rounds, simulation.time or \
                 simulation.target"
                    .to_owned(),
            );
        }
        let is_held_out = matches!(&source, Source::Memory(memory) if memory.held_out.is_some());
        if is_held_out && task.evaluation.is_some() {
            return range("held-out examples are in memory: leave out task.evaluation".to_owned());
        }
        if simulation.target.is_some() && task.evaluation.is_none() && !is_held_out {
            return range("simulation.target needs [task.evaluation]".to_owned());
        }
        if plan.mode == Mode::Synchronous && plan.minimum_cohort > simulation.clients as usize {
            return range(format!(
                "task.round.minimum_cohort is {}, and there are {} clients: no round would begin",
                plan.minimum_cohort, simulation.clients
            ));
        }
        Ok(Self { simulation, source, devices, attacks, task })
    }
}

fn file_of(table: toml::Table) -> Result<File, ExperimentError> {
    table.try_into().map_err(|e: toml::de::Error| ExperimentError::Toml(e.to_string()))
}

/// The task's table as the aggregator reads it. Paths in it are relative to the same folder.
fn task_of(mut task: toml::Table, folder: &Path) -> Result<TaskConfig, ExperimentError> {
    task.entry("id").or_insert_with(|| "experiment".into());
    for (table, key) in
        [(None, "initial"), (Some("evaluation"), "data"), (Some("evaluation"), "labels")]
    {
        let of = match table {
            None => Some(&mut task),
            Some(name) => task.get_mut(name).and_then(toml::Value::as_table_mut),
        };
        if let Some(toml::Value::String(path)) = of.and_then(|of| of.get_mut(key)) {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
    }
    let mut whole = toml::Table::new();
    whole.insert("task".into(), toml::Value::Array(vec![task.into()]));
    let text = toml::to_string(&whole).map_err(|e| ExperimentError::Toml(e.to_string()))?;
    let config = Config::from_toml(&text).map_err(|e| ExperimentError::Task(e.to_string()))?;
    let ids: BTreeSet<_> = config.tasks.iter().map(|task| task.settings.id.clone()).collect();
    match (config.tasks.into_iter().next(), ids.len()) {
        (Some(task), 1) => Ok(task),
        _ => Err(ExperimentError::Task("an experiment has one task".to_owned())),
    }
}
