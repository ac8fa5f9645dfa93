//! `fedra-aggregator privacy`: what a private task would cost, and what one has
//! cost. The command line only; the mathematics is in fedra-privacy-policy.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use fedra_aggregation::codec::{Packed, UpdateCodec};
use fedra_aggregator::config::{Config, ServerConfig};
use fedra_aggregator::storage::{self, Debit, Storage, StoreError};
use fedra_coordinator::settings::{Counting, PrivacySettings};
use fedra_http_api::{Task, address};
use fedra_privacy_policy::{DerivedPolicy, banded_noise, noise_of_all_rounds};
use fedra_protocol::{CentralNoise, Mechanism, ModelSpec, PrivacyPolicy, TaskId};

use super::Failure;
use super::client::{ServerOptions, parse};

/// Subcommands of `privacy`.
#[derive(Subcommand)]
pub enum PrivacyCommand {
    /// Prints the parameters and the epsilon that a task would have.
    Plan(PlanArguments),
    /// Prints what a task's privacy budget has paid for.
    Report(ReportArguments),
}

impl PrivacyCommand {
    /// Returns the text to print.
    pub fn run(self) -> Result<String, Failure> {
        match self {
            Self::Plan(plan) => plan.plan().map_err(|error| Failure::Usage(format!("{error:#}"))),
            Self::Report(report) => report.report(),
        }
    }
}

/// Options of `privacy plan`.
#[derive(Args)]
pub struct PlanArguments {
    /// Clients in a round.
    #[arg(long)]
    clients: u32,
    /// Rounds of the task.
    #[arg(long)]
    rounds: u32,
    /// The budget of one participant.
    #[arg(long)]
    epsilon: f64,
    /// The probability with which epsilon may be passed.
    #[arg(long)]
    delta: f64,
    /// The policy that adds the noise.
    #[arg(long, value_enum, default_value_t = PolicyName::Distributed)]
    policy: PolicyName,
    /// Rounds that one participant may be in. Default: all of them.
    #[arg(long)]
    participations: Option<u32>,
    /// Fewest survivors of a round. Default: four fifths of the clients.
    #[arg(long)]
    survivors: Option<u32>,
    /// Survivors that are assumed to help the server against the others.
    #[arg(long, default_value_t = 0)]
    colluders: u32,
    /// A built-in model.
    #[arg(long, default_value = "mnist-2nn", conflicts_with = "parameters")]
    model: String,
    /// The model's parameters, if it is not built in.
    #[arg(long)]
    parameters: Option<usize>,
    /// Rounds that the noise of one round reaches into, its own included.
    #[arg(long, default_value_t = 16)]
    band: u32,
    /// Fewest rounds from one participation of a participant to the next, for banded noise.
    #[arg(long, default_value_t = 1)]
    separation: u32,
    /// Lets the clipping norm follow the updates.
    #[arg(long)]
    adaptive_clipping: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum PolicyName {
    Distributed,
    Local,
    /// Fresh noise in every round.
    Central,
    /// Tree aggregation.
    CentralTree,
    /// Noise of which each round takes back a part of the rounds before.
    CentralBanded,
}

impl PlanArguments {
    fn plan(self) -> anyhow::Result<String> {
        let parameters = match self.parameters {
            Some(parameters) => parameters,
            None => {
                let model = ModelSpec::builtin(&self.model).with_context(|| {
                    let names = ModelSpec::BUILTIN.join(", ");
                    format!("no built-in model {:?}; there are {names}", self.model)
                })?;
                model.parameters()
            }
        };
        let participations = self.participations.unwrap_or(self.rounds);
        let policy = PrivacyPolicy {
            mechanism: match self.policy {
                PolicyName::Distributed => Mechanism::Distributed,
                PolicyName::Local => Mechanism::Local,
                PolicyName::Central => Mechanism::Central(CentralNoise::Independent),
                PolicyName::CentralTree => {
                    Mechanism::Central(CentralNoise::Tree { rounds: self.rounds })
                }
                PolicyName::CentralBanded => {
                    let Self { rounds, separation, band, .. } = self;
                    let noise = banded_noise(rounds, participations, separation, band);
                    Mechanism::Central(CentralNoise::Banded(noise))
                }
            },
            noise_multiplier: 1.0,
            clipping_norm: 1.0,
            target_quantile: self.adaptive_clipping.then_some(0.5),
            epsilon: self.epsilon,
            delta: self.delta,
            cohort: self.clients,
            minimum_survivors: self.survivors.unwrap_or(self.clients.div_ceil(5) * 4).max(1),
            colluders: self.colluders,
            max_participations: participations,
        };
        let privacy = DerivedPolicy::with_least_noise(policy, parameters)?;
        Ok(describe(&privacy, parameters, self.rounds))
    }
}

fn describe(privacy: &DerivedPolicy, parameters: usize, rounds: u32) -> String {
    let policy = privacy.policy();
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<34}{value}");
    };
    line("parameters of the model", parameters.to_string());
    line("rounds", rounds.to_string());
    line("clients in a round", policy.cohort.to_string());
    line("minimum_reports", policy.minimum_survivors.to_string());
    line("colluders", policy.colluders.to_string());
    line("noise_multiplier", policy.noise_multiplier.to_string());
    if let Mechanism::Central(CentralNoise::Banded(noise)) = policy.mechanism {
        line("band", noise.band.to_string());
        line("exponent", (f64::from(noise.exponent) / 100.0).to_string());
        line("minimum_separation", noise.separation.to_string());
    }
    let (one, all) = (privacy.epsilon_after(1), policy.max_participations);
    line("epsilon of one round", format!("{one:.4}"));
    let total = privacy.epsilon_after(all);
    let count = if all == 1 { "1 round".to_owned() } else { format!("{all} rounds") };
    line(&format!("epsilon of {count}"), format!("{total:.4} (budget {})", policy.epsilon));
    line("delta", policy.delta.to_string());
    if let Some(encoding) = privacy.encoding() {
        line("values that travel", encoding.len().to_string());
        line("bits of a value", encoding.bits().to_string());
        let codec = Packed::new(encoding.len(), encoding.bits());
        line("bytes of an update", codec.bounds().bytes.to_string());
        line("grid, clipping norms", format!("{:.3e}", encoding.gamma()));
        line("noise of a client, grid steps", format!("{:.1}", encoding.scale().to_f64()));
    }
    let norm = noise_norm(privacy, parameters);
    line("noise of the mean, clipping norms", format!("{norm:.4} (L2, all values together)"));
    text
}

/// Expected L2 norm of the noise on the mean update of a full cohort, in
/// clipping norms; of the most noisy sum of rounds, where noise goes on from one to the next.
fn noise_norm(privacy: &DerivedPolicy, parameters: usize) -> f64 {
    let (policy, clients) = (privacy.policy(), f64::from(privacy.policy().cohort));
    let one = match privacy.encoding() {
        Some(encoding) => clients.sqrt() * encoding.scale().to_f64() * encoding.gamma(),
        None => match policy.mechanism {
            Mechanism::Central(CentralNoise::Tree { rounds }) => {
                policy.noise_multiplier * f64::from(rounds.ilog2() + 1).sqrt()
            }
            Mechanism::Central(CentralNoise::Banded(noise)) => {
                policy.noise_multiplier * noise_of_all_rounds(noise)
            }
            _ => policy.noise_multiplier,
        },
    };
    one / clients * (parameters as f64).sqrt()
}

/// Options of `privacy report`.
#[derive(Args)]
pub struct ReportArguments {
    /// The task.
    #[arg(long)]
    task: TaskId,
    /// The config file of the server.
    #[arg(long, env = "FEDRA_CONFIG_FILE", default_value = "fedra.toml")]
    config: PathBuf,
    /// Prints the ledger itself, one JSON object a line. Subjects are in it if
    /// the server is not running.
    #[arg(long)]
    json_lines: bool,
    /// Address of the server, if it runs. Default: the address at which the config
    /// says that it listens.
    #[arg(long, value_name = "URL", env = "FEDRA_SERVER_URL")]
    server: Option<String>,
    /// PEM file with the certificates to trust, instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl ReportArguments {
    fn report(self) -> Result<String, Failure> {
        let config =
            Config::load(&self.config).map_err(|mistakes| Failure::Usage(mistakes.to_string()))?;
        let folder = &config.server.store;
        if !folder.is_dir() {
            return Err(anyhow!("there is no store in {}", folder.display()).into());
        }
        match storage::open(folder) {
            Ok(store) => Ok(self.read(&config, &store)?),
            // A running server has the store: it tells the rest.
            Err(StoreError::InUse(_)) => self.ask(config),
            Err(other) => Err(anyhow::Error::from(other).into()),
        }
    }

    fn read(&self, config: &Config, store: &Storage) -> anyhow::Result<String> {
        let id = &self.task;
        let mut tasks = config.tasks.clone();
        for (_, toml) in store.tasks.added_tasks()? {
            tasks.push(Config::task_from_toml(&toml, &config.server)?);
        }
        let task = tasks.iter().find(|task| task.settings.id == *id);
        let settings = &task.with_context(|| format!("there is no task {id}"))?.settings;
        let stored = store.tasks.definition(id)?;
        let granting = stored.and_then(|stored| settings.granting_as(&stored));
        let privacy = granting.as_ref().unwrap_or(settings).privacy.as_ref();
        let privacy = privacy.with_context(|| format!("the task {id} has no privacy policy"))?;
        let debits = store.tasks.debits(id)?;
        if self.json_lines {
            return debits.iter().map(|debit| Ok(serde_json::to_string(debit)? + "\n")).collect();
        }
        Ok(summary(privacy, &debits))
    }

    fn ask(self, config: Config) -> Result<String, Failure> {
        let ServerConfig { listen, tls, .. } = config.server;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = self.server.unwrap_or_else(|| format!("{scheme}://{listen}"));
        let client = ServerOptions::at(server, self.ca).visitor()?;
        let id = self.task.as_str();
        if self.json_lines {
            return client.get(&address::ledger(id));
        }
        let task: Task = parse(&client.get(&address::last_rounds(&address::task(id), 0))?)?;
        let privacy = task.summary.privacy;
        let privacy = privacy.with_context(|| format!("the task {id} has no privacy policy"))?;
        let text = serde_json::to_string_pretty(&privacy).context("the policy is no JSON")?;
        Ok(text + "\n")
    }
}

fn summary(config: &PrivacySettings, debits: &[Debit]) -> String {
    let mut text =
        format!("{:>8}{:>9}{:>10}{:>12}  {}\n", "round", "attempt", "subjects", "rho", "at");
    for debit in debits {
        let at = UNIX_EPOCH + Duration::from_secs(debit.unix_seconds);
        let at = humantime::format_rfc3339_seconds(at);
        let Debit { round, attempt, rho, .. } = debit;
        let subjects = debit.subjects.len();
        // Writing to a String does not fail.
        let _ = writeln!(text, "{round:>8}{attempt:>9}{subjects:>10}{rho:>12.6}  {at}");
    }
    let policy = config.derived.policy();
    let most = most_participations(config.counting, debits);
    let whose = match config.counting {
        Counting::Rounds => "rounds count against everybody",
        Counting::Subjects => "the subject with most participations",
    };
    let _ = writeln!(
        text,
        "{} debits; {most} of {} participations ({whose}): epsilon {:.4} of {} at delta {}",
        debits.len(),
        policy.max_participations,
        config.derived.epsilon_after(most),
        policy.epsilon,
        policy.delta,
    );
    text
}

fn most_participations(counting: Counting, debits: &[Debit]) -> u32 {
    let count = match counting {
        Counting::Rounds => debits.len(),
        Counting::Subjects => {
            let mut subjects: Vec<_> = debits.iter().flat_map(|debit| &debit.subjects).collect();
            subjects.sort_unstable();
            subjects.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(0)
        }
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}
