//! The operator's config: one TOML file, with `FEDRA_` environment variables
//! over it (`FEDRA_SERVER__LISTEN` is `server.listen`).
//!
//! Loading reports every mistake at once, each with the path of its key and
//! what to do. A [`Config`] that exists has passed all checks.

mod access;
mod admin;
mod aggregation;
mod codec;
mod environment;
mod gate;
mod optimizer;
mod origin;
mod privacy;
mod scaffold;
mod schedule;
mod section;
mod task;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedra_coordinator::settings::{Counting, EvaluationRounds, PrivacySettings, TaskSettings};
use fedra_protocol::{BandedNoise, CentralNoise, Mechanism};
use figment::Figment;
use figment::providers::{Format, Toml};
use figment::value::Dict;

pub use access::{
    AccessConfig, ClientAddressHeader, LimitsConfig, TlsConfig, TokenKeyConfig, Tokens,
};
pub use admin::OperatorToken;
use environment::environment;
pub use environment::stray_variables;
pub use origin::Origin;
pub(crate) use origin::Origins;
pub use section::Mistake;
use section::{Findings, Section};
pub use task::{EvaluationConfig, InitialConfig, TaskConfig};

/// A checked config.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server as a whole.
    pub server: ServerConfig,
    /// Its tasks, at least one, each with its own id.
    pub tasks: Vec<TaskConfig>,
}

/// `[server]`.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address and port to listen on. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Folder of the store. Default `fedra-data`.
    pub store: PathBuf,
    /// Folder with the page for `/`. Without it a small built-in page.
    pub page: Option<PathBuf>,
    /// Most connections at a time. Default 10,000.
    pub max_connections: usize,
    /// Most bytes of updates in flight, all clients together. Default 256 MiB.
    pub upload_budget: u64,
    /// Most bytes of memory that the sum of one task's round may take. Default 2 GiB.
    pub round_memory: u64,
    /// Longest time from the TCP connection to the check-in. Default 10 s.
    pub handshake_timeout: Duration,
    /// A client silent for this long is dropped. Default 60 s.
    pub idle_timeout: Duration,
    /// A server that is told to stop waits this long for the rounds under way.
    /// Default 20 s.
    pub drain_timeout: Duration,
    /// `[server.admin]`: lets an operator in. Without it there is no admin API.
    pub admin: Option<OperatorToken>,
    /// Sites whose pages may connect. Without a list, any.
    pub allowed_origins: Option<Vec<Origin>>,
    /// Certificate and key, if the server speaks TLS itself.
    pub tls: Option<TlsConfig>,
    /// Limits of one address, and of all together.
    pub limits: LimitsConfig,
    /// Keys that join tokens are checked with.
    pub token_keys: Vec<TokenKeyConfig>,
}

/// Everything that is wrong with a config, at least one mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} mistake{} in the config", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

const HOUR: Duration = Duration::from_secs(3600);

impl Config {
    /// Reads a TOML file and the `FEDRA_` environment.
    ///
    /// # Errors
    ///
    /// All [`Mistakes`] there are.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        if !path.is_file() {
            let problem = format!("there is no config file {}", path.display());
            return Err(Mistakes(vec![Mistake { path: String::new(), problem }]));
        }
        let toml = Toml::file_exact(path);
        Self::from_figment(&Figment::from(toml).merge(environment()))
    }

    /// Reads TOML text alone.
    ///
    /// # Errors
    ///
    /// All [`Mistakes`] there are.
    pub fn from_toml(text: &str) -> Result<Self, Mistakes> {
        Self::from_figment(&Figment::from(Toml::string(text)))
    }

    /// Reads the TOML of one `[[task]]` section, as it would stand in the file.
    ///
    /// # Errors
    ///
    /// All [`Mistakes`] there are.
    pub fn task_from_toml(text: &str, server: &ServerConfig) -> Result<TaskConfig, Mistakes> {
        let findings = Findings::default();
        let task = match Figment::from(Toml::string(text)).extract::<Dict>() {
            Ok(dict) => read_task(dict, server, &findings),
            Err(errors) => {
                errors.into_iter().for_each(|e| findings.mistake("", e.to_string()));
                None
            }
        };
        let mistakes = findings.mistakes.into_inner();
        task.filter(|_| mistakes.is_empty()).ok_or(Mistakes(mistakes))
    }

    /// Every key there is, as `server.listen` or `task.round.deadline`, from
    /// what the loader asks for.
    #[must_use]
    pub fn keys() -> BTreeSet<String> {
        let findings = Findings::default();
        let toml = Toml::string(
            "[server.tls]\n[[server.token_key]]\n[[task]]\n[task.evaluation]\n\
             [task.client_evaluation]\n[task.gate]\n[task.privacy]",
        );
        if let Ok(dict) = Figment::from(toml).extract::<Dict>() {
            read(dict, &findings);
        }
        let keys = findings.keys.into_inner();
        let is_table = |key: &str| keys.iter().any(|k| k.starts_with(&format!("{key}.")));
        keys.iter().filter(|key| !is_table(key)).cloned().collect()
    }

    fn from_figment(figment: &Figment) -> Result<Self, Mistakes> {
        let findings = Findings::default();
        let config = match figment.extract::<Dict>() {
            Ok(dict) => Some(read(dict, &findings)),
            Err(errors) => {
                errors.into_iter().for_each(|e| findings.mistake("", e.to_string()));
                None
            }
        };
        let mistakes = findings.mistakes.into_inner();
        config.filter(|_| mistakes.is_empty()).ok_or(Mistakes(mistakes))
    }
}

fn read(dict: Dict, findings: &Findings) -> Config {
    let root = Section::new(findings, "", "", dict);
    let server = ServerConfig::read(root.table("server", "server"));
    let sections = root.tables("task", "task");
    if sections.is_empty() {
        root.mistake("task", "there is no task; add one with [[task]]");
    }
    let mut tasks: Vec<TaskConfig> = Vec::new();
    for (index, section) in sections.into_iter().enumerate() {
        let Some(task) = TaskConfig::read(section, &server) else { continue };
        if tasks.iter().any(|other| other.settings.id == task.settings.id) {
            let problem =
                format!("the id {:?} is taken by an earlier task", task.settings.id.as_str());
            findings.mistake(format!("task[{index}].id"), problem);
        }
        tasks.push(task);
    }
    root.finish();
    Config { server, tasks }
}

/// The one task of a text that has nothing else.
fn read_task(dict: Dict, server: &ServerConfig, findings: &Findings) -> Option<TaskConfig> {
    let root = Section::new(findings, "", "", dict);
    let mut sections = root.tables("task", "task");
    if sections.len() != 1 {
        root.mistake("task", "there must be one [[task]] section, and no other");
    }
    let task = sections.pop().and_then(|section| TaskConfig::read(section, server));
    root.finish();
    task
}

impl ServerConfig {
    fn read(section: Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        let tenth = Duration::from_millis(100);
        let page = section.optional("page", value::path);
        if let Some(page) = &page
            && !page.join("index.html").is_file()
        {
            let problem = format!(
                "there is no index.html in {}; build the page, or leave the key out",
                page.display()
            );
            section.mistake("page", problem);
        }
        let handshake_timeout =
            section.or("handshake_timeout", 10 * second, value::duration(tenth, HOUR));
        let config = Self {
            listen: section.or("listen", SocketAddr::from(([127, 0, 0, 1], 8080)), value::address),
            store: section.or("store", "fedra-data".into(), value::path),
            page,
            max_connections: section.or("max_connections", 10_000, value::whole(1)),
            upload_budget: section.or("upload_budget", 256 << 20, value::size),
            round_memory: section.or("round_memory", 2 << 30, value::size),
            handshake_timeout,
            idle_timeout: section.or("idle_timeout", 60 * second, value::duration(tenth, HOUR)),
            drain_timeout: section.or(
                "drain_timeout",
                20 * second,
                value::duration(Duration::ZERO, HOUR),
            ),
            admin: admin::read(section.table("admin", "server.admin")),
            allowed_origins: section.optional("allowed_origins", value::list(access::origin)),
            tls: section.optional_table("tls", "server.tls").map(TlsConfig::read),
            limits: LimitsConfig::read(section.table("limits", "server.limits"), handshake_timeout),
            token_keys: TokenKeyConfig::read_all(section.tables("token_key", "server.token_key")),
        };
        if config.store.exists() && !config.store.is_dir() {
            let problem = format!("{} is not a folder", config.store.display());
            section.mistake("store", problem);
        }
        section.finish();
        config
    }
}

/// The privacy that the task promises, in a line.
fn privacy_summary(task: &TaskConfig) -> String {
    let Some(PrivacySettings { derived, counting }) = &task.settings.privacy else {
        return "  no privacy policy: the server sees each update\n".to_owned();
    };
    let policy = derived.policy();
    let who = match counting {
        Counting::Rounds => "rounds, then the task ends",
        Counting::Subjects => "rounds a subject",
    };
    let noise = match policy.mechanism {
        Mechanism::Central(CentralNoise::Independent) => " with independent noise".to_owned(),
        Mechanism::Central(CentralNoise::Tree { rounds }) => {
            format!(" with tree noise over {rounds} rounds")
        }
        Mechanism::Central(CentralNoise::Banded(noise)) => {
            let BandedNoise { rounds, separation, band, exponent } = noise;
            let exponent = f64::from(exponent) / 100.0;
            format!(
                " with banded noise over {rounds} rounds (band {band}, exponent {exponent}), a \
                 subject's at least {separation} apart"
            )
        }
        Mechanism::Distributed | Mechanism::Local => String::new(),
    };
    format!(
        "  privacy: {}{noise}, noise multiplier {}, epsilon {:.3} a round; epsilon {} and delta {} pay \
         for {} {who}\n",
        policy.mechanism,
        policy.noise_multiplier,
        derived.epsilon_after(1),
        policy.epsilon,
        policy.delta,
        policy.max_participations,
    )
}

/// Kind and shape of the data.
fn data_summary(settings: &TaskSettings) -> String {
    let dims = settings.model.input().dims();
    match &settings.data {
        Some(data) => format!("{} data {dims:?}", data.kind()),
        None => format!("arrays {dims:?}"),
    }
}

impl Config {
    /// A few lines on what the config says, for a person.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!(
            "listens on {}{}, store {}, {} task{}\n",
            self.server.listen,
            if self.server.tls.is_some() { " with TLS" } else { "" },
            self.server.store.display(),
            self.tasks.len(),
            if self.tasks.len() == 1 { "" } else { "s" },
        );
        for task in &self.tasks {
            text += &task.summary();
        }
        text
    }
}

impl TaskConfig {
    /// Place and time of the evaluation of models.
    fn evaluated(&self) -> String {
        let by_clients = self.settings.client_evaluation.as_ref().map(|rounds| {
            let EvaluationRounds { evaluation, every, .. } = rounds;
            let percent = 100.0 * evaluation.held_out();
            format!("evaluated by clients after every {every} rounds, on {percent} % of their data")
        });
        let here = self.evaluation.is_some().then(|| "evaluated".to_owned());
        let places: Vec<_> = here.into_iter().chain(by_clients).collect();
        if places.is_empty() { "no evaluation".to_owned() } else { places.join(" and ") }
    }

    /// The task's gate, in a line.
    fn gated(&self) -> String {
        let Some(gate) = &self.settings.gate else { return String::new() };
        format!("  gate: {gate}; pauses after {} roll-backs in a row\n", gate.rollbacks)
    }

    /// A few lines on what the task's section says, for a person.
    #[must_use]
    pub fn summary(&self) -> String {
        let TaskSettings { id, model, plan, .. } = &self.settings;
        let frozen = match model.frozen_parameters() {
            0 => String::new(),
            frozen => format!(" beside {frozen} frozen ones"),
        };
        let rounds = plan.rounds.map_or("no limit on".to_owned(), |rounds| rounds.to_string());
        format!(
            "task {}: {} parameters{frozen} on {}, {rounds} rounds; invites {}, starts with {}, closes at \
             {} reports or after {}, needs {}; {}\n{}{}{}",
            id,
            model.parameters(),
            data_summary(&self.settings),
            plan.invited,
            plan.minimum_cohort,
            plan.report_goal,
            humantime::format_duration(plan.deadline),
            plan.minimum_reports,
            self.evaluated(),
            self.gated(),
            privacy_summary(self),
            self.access.summary(),
        )
    }
}
