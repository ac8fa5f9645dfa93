//! The file of an experiment: clients, their data and devices, attackers, and the task as an
//! operator's config has it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use differential_privacy::{ClippingNorm, Delta, NoiseMultiplier};
use fedra_aggregator::config::{Config, TaskConfig};
use fedra_coordinator::round::Mode;
use fedra_learning::ExamplePrivacy;
use fedra_protocol::ModelSpec;
use serde::{Deserialize, Deserializer};

use crate::attack::{Attack, AttackTable};
use crate::devices::{Devices, TraceError};
use crate::memory::{Division, InMemory};
use crate::partition::{MOST_CLIENTS, Partition, PartitionError};
use crate::style::Style;

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
    /// Promise of every client to its examples, if they train with DP-SGD.
    pub example_privacy: Option<ExamplePrivacy>,
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
    /// Clients in all, 1 to 100,000; of natural clients so many by chance, and all without it.
    pub clients: Option<u32>,
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
    let parse = |text: String| {
        humantime::parse_duration(&text).map_err(|_| {
            let problem =
                format!("{text:?} is not a duration; write one such as \"90s\" or \"2h\"");
            serde::de::Error::custom(problem)
        })
    };
    text.map(parse).transpose()
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
    /// Changes of each client's images.
    pub style: Option<Style>,
}

/// `[example_privacy]`: numbers of DP-SGD, the same for every client.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExamplePrivacy {
    noise_multiplier: f64,
    clipping_norm: f64,
    delta: f64,
}

impl RawExamplePrivacy {
    fn checked(&self) -> Result<ExamplePrivacy, ExperimentError> {
        let range = |key: &str, error: &dyn std::fmt::Display| {
            ExperimentError::Range(format!("example_privacy.{key}: {error}"))
        };
        Ok(ExamplePrivacy {
            noise_multiplier: NoiseMultiplier::new(self.noise_multiplier)
                .map_err(|error| range("noise_multiplier", &error))?,
            clipping_norm: ClippingNorm::new(self.clipping_norm)
                .map_err(|error| range("clipping_norm", &error))?,
            delta: Delta::new(self.delta).map_err(|error| range("delta", &error))?,
        })
    }
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
    attack: Vec<AttackTable>,
    example_privacy: Option<RawExamplePrivacy>,
    task: toml::Table,
}

/// Reason why there is no experiment.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
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
    /// A trace of the devices is not one.
    #[error(transparent)]
    Trace(#[from] TraceError),
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
        let file = toml::from_str(text).map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|&byte| byte == b'\n').count() + 1;
            ExperimentError::Toml(format!("line {line}: {}", error.message()))
        })?;
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
        let File { simulation, data, mut devices, attack, example_privacy, task } = file;
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
        if let Some(clients) =
            simulation.clients.filter(|&of| !(1..=MOST_CLIENTS).contains(&(of as usize)))
        {
            return range(format!(
                "simulation.clients must be 1 to {MOST_CLIENTS}; it is {clients}"
            ));
        }
        let knows_clients = match &source {
            Source::Files(data) => data.partition.is_natural(),
            Source::Memory(memory) => matches!(memory.division, Division::Given(_)),
        };
        if simulation.clients.is_none() && !knows_clients {
            return range(PartitionError::NoClients.to_string());
        }
        if let Source::Memory(memory) = &source
            && let Some(problem) = memory.problem(simulation.clients)
        {
            return range(problem);
        }
        if simulation.evaluate_every == 0 || simulation.threads == Some(0) {
            return range("simulation.evaluate_every and threads must be at least 1".to_owned());
        }
        let style = match &source {
            Source::Files(data) => data.style.as_ref(),
            Source::Memory(_) => None,
        };
        let numbers = devices.problem().or_else(|| style.and_then(Style::problem));
        if let Some(problem) = numbers {
            return range(problem);
        }
        let example_privacy =
            example_privacy.as_ref().map(RawExamplePrivacy::checked).transpose()?;
        devices.read(folder)?;
        let task = task_of(task, folder)?;
        let attacks = attack.iter().map(|table| Attack::new(table, &task.settings));
        let attacks = attacks.collect::<Result<_, _>>().map_err(ExperimentError::Range)?;
        let plan = &task.settings.plan;
        if plan.rounds.is_none() && simulation.time.is_none() && simulation.target.is_none() {
            return range(
                "nothing ends this experiment: set task.rounds, simulation.time or \
                 simulation.target"
                    .to_owned(),
            );
        }
        if example_privacy.is_some() && task.settings.client_evaluation.is_some() {
            return range(
                "example_privacy does not protect the scores of clients: leave \
                 task.client_evaluation out"
                    .to_owned(),
            );
        }
        if example_privacy.is_some() && task.settings.training.algorithm().has_variates() {
            return range(
                "example_privacy would have its noise carried from round to round by the algorithm \
                 scaffold: leave it out, or take another task.training.algorithm"
                    .to_owned(),
            );
        }
        let is_held_out = matches!(&source, Source::Memory(memory) if memory.held_out.is_some());
        if is_held_out && task.evaluation.is_some() {
            return range("held-out examples are in memory: leave out task.evaluation".to_owned());
        }
        if simulation.target.is_some() && task.evaluation.is_none() && !is_held_out {
            return range(
                "simulation.target needs [task.evaluation] with its key data: the examples that \
                 models are evaluated on"
                    .to_owned(),
            );
        }
        let experiment = Self { simulation, source, devices, attacks, example_privacy, task };
        if let Some(clients) = experiment.simulation.clients {
            experiment.check_clients(clients as usize)?;
        }
        Ok(experiment)
    }

    /// Checks what depends on the number of clients.
    pub(crate) fn check_clients(&self, clients: usize) -> Result<(), ExperimentError> {
        let attackers: u64 = self.attacks.iter().map(|attack| u64::from(attack.clients)).sum();
        let plan = &self.task.settings.plan;
        let population = self.task.settings.population;
        let problem = if let Some(population) = population.filter(|&of| of as usize != clients) {
            format!(
                "task.training.population is {population}, and there are {clients} clients; set it \
                 to as many"
            )
        } else if attackers > clients as u64 {
            format!("there are {attackers} attackers among {clients} clients; lower attack.clients")
        } else if plan.mode == Mode::Synchronous && plan.minimum_cohort > clients {
            format!(
                "task.round.minimum_cohort is {}, and there are {clients} clients: no round would \
                 begin; lower it, or have more clients",
                plan.minimum_cohort
            )
        } else {
            return Ok(());
        };
        Err(ExperimentError::Range(problem))
    }
}

fn file_of(table: toml::Table) -> Result<File, ExperimentError> {
    // The library has the key on a line below the problem.
    let line = |e: toml::de::Error| e.to_string().trim_end().replace('\n', " ");
    table.try_into().map_err(|e| ExperimentError::Toml(line(e)))
}

/// The task's table as the aggregator reads it. Paths in it are relative to the same folder.
fn task_of(mut task: toml::Table, folder: &Path) -> Result<TaskConfig, ExperimentError> {
    let id = task.entry("id").or_insert_with(|| "experiment".into());
    let id = id.as_str().unwrap_or_default().to_owned();
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
    let config = Config::from_toml(&text).map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.0.iter().map(ToString::to_string).collect();
        // The only task needs no name in a message.
        ExperimentError::Task(mistakes.join("; ").replace(&format!("task[{id}]"), "task"))
    })?;
    let ids: BTreeSet<_> = config.tasks.iter().map(|task| task.settings.id.clone()).collect();
    match (config.tasks.into_iter().next(), ids.len()) {
        (Some(task), 1) => Ok(task),
        _ => Err(ExperimentError::Task("an experiment has one task".to_owned())),
    }
}
