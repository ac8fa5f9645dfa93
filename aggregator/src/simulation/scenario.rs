//! What a seed stands for: how many clients, which rounds, which faults and how
//! many of them.

use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[cfg(test)]
use super::client::Manner;
use crate::config::Config;

/// A bug put in on purpose, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// An update that is announced again after its verdict is folded again.
    DoubleCount,
    /// A commit is acknowledged before it is durable.
    EarlyAnnouncement,
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "double-count" => Ok(Self::DoubleCount),
            "early-announcement" => Ok(Self::EarlyAnnouncement),
            other => Err(format!("{other} is not a bug of the simulation")),
        }
    }
}

/// How rounds are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Synchronous,
    Buffered,
    /// Under central differential privacy: with a ledger.
    Private,
    /// Under secure aggregation, with a share of the noise from every client.
    Masked,
}

/// How often things go wrong: probabilities a message, a step, a write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub lose: f64,
    pub double: f64,
    /// Messages may overtake each other.
    pub reorder: bool,
    pub longest_delay: Duration,
    /// A connection breaks at a message.
    pub sever: f64,
    /// Every so often something happens to some client.
    pub disturb_every: Duration,
    /// At a write: the server crashes before or after it, or the write fails.
    pub crash_at_write: f64,
    pub fail_write: f64,
    pub crash_every: Option<Duration>,
    pub operator_every: Option<Duration>,
}

impl Faults {
    /// Nothing goes wrong.
    pub(super) const NONE: Self = Self {
        lose: 0.0,
        double: 0.0,
        reorder: false,
        longest_delay: Duration::from_millis(5),
        sever: 0.0,
        disturb_every: Duration::MAX,
        crash_at_write: 0.0,
        fail_write: 0.0,
        crash_every: None,
        operator_every: None,
    };
}

pub(super) struct Scenario {
    pub bug: Option<Bug>,
    pub kind: Kind,
    pub clients: usize,
    /// How the first clients answer; the others are sound.
    #[cfg(test)]
    pub manners: Vec<Manner>,
    pub faults: Faults,
    pub config: Config,
    /// When faults end: after that everything has to come to rest.
    pub calm_after: Duration,
    pub rng: StdRng,
}

impl Scenario {
    pub(super) fn of(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let kind = match rng.random_range(0..10) {
            0..6 => Kind::Synchronous,
            6..8 => Kind::Buffered,
            8 => Kind::Private,
            _ => Kind::Masked,
        };
        let clients = rng.random_range(if kind == Kind::Masked { 4..=7 } else { 2..=7 });
        let faults = faults(&mut rng);
        let config = config(&mut rng, kind, clients);
        let calm_after = Duration::from_secs(rng.random_range(30..90));
        Self {
            bug,
            kind,
            clients,
            #[cfg(test)]
            manners: Vec::new(),
            faults,
            config,
            calm_after,
            rng,
        }
    }

    /// A task without faults that would take one client more than it has, and waits for
    /// each: `manners` are those of the first, and 3 to 5 sound ones follow.
    #[cfg(test)]
    pub(super) fn patient(seed: u64, manners: Vec<Manner>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let kind = [Kind::Synchronous, Kind::Private, Kind::Masked][rng.random_range(0..3)];
        let sound = rng.random_range(3..=5);
        let clients = manners.len() + sound;
        let deadline = rng.random_range(4_000..10_000);
        let cohort = clients + 1;
        let rounds = format!(
            "cohort_size = {cohort}\nminimum_cohort = 3\nminimum_reports = 3\n\
             report_goal = {cohort}\ndeadline = \"{deadline}ms\"\nselection_window = \"100ms\""
        );
        let config = config_with(kind, clients, 4_000, &rounds);
        let faults = Faults::NONE;
        Self { bug: None, kind, clients, manners, faults, config, calm_after: Duration::MAX, rng }
    }
}

fn faults(rng: &mut StdRng) -> Faults {
    // Half of all networks keep the order, as TCP does: then a message is lost
    // only with its connection.
    let wild = rng.random_bool(0.5);
    let chance = |rng: &mut StdRng, most: f64| {
        if rng.random_bool(0.6) { rng.random_range(0.0..most) } else { 0.0 }
    };
    let every = |rng: &mut StdRng, least: u64, most: u64| {
        rng.random_bool(0.6).then(|| Duration::from_millis(rng.random_range(least..most)))
    };
    Faults {
        lose: if wild { chance(rng, 0.05) } else { 0.0 },
        double: if wild { chance(rng, 0.1) } else { 0.0 },
        reorder: wild,
        longest_delay: Duration::from_millis(rng.random_range(2..400)),
        sever: chance(rng, 0.03),
        disturb_every: every(rng, 500, 8_000).unwrap_or(Duration::MAX),
        crash_at_write: chance(rng, 0.1),
        fail_write: chance(rng, 0.05),
        crash_every: every(rng, 5_000, 40_000),
        operator_every: every(rng, 5_000, 30_000),
    }
}

/// The model has a parameter a client: client i's update is 1 at place i and 0
/// elsewhere, so that the new model tells who is in the average.
fn config(rng: &mut StdRng, kind: Kind, clients: usize) -> Config {
    let least = if kind == Kind::Masked { 3 } else { 1 };
    let cohort = rng.random_range(least..=clients);
    let minimum = rng.random_range(least..=cohort);
    let reports = rng.random_range(least..=minimum);
    let goal = rng.random_range(reports..=cohort);
    let deadline = rng.random_range(2_000..12_000);
    let shortest = if kind != Kind::Buffered && rng.random_bool(0.2) { deadline / 2 } else { 0 };
    let grace = rng.random_range(0..3_000);
    let window = rng.random_range(0..500);
    let pause = rng.random_range(500..4_000);
    let waiting = if rng.random_bool(0.2) { "waiting_room = 1\nretry_after = \"2s\"" } else { "" };
    let rounds = format!(
        r#"
        cohort_size = {cohort}
        minimum_cohort = {minimum}
        minimum_reports = {reports}
        report_goal = {goal}
        deadline = "{deadline}ms"
        minimum_duration = "{shortest}ms"
        reconnect_grace = "{grace}ms"
        selection_window = "{window}ms"
        {waiting}
        "#
    );
    config_with(kind, clients, pause, &rounds)
}

/// A config with these keys of the rounds. An upload may pause for `pause` milliseconds.
fn config_with(kind: Kind, clients: usize, pause: u64, rounds: &str) -> Config {
    let inputs = clients - 1;
    let mode = match kind {
        Kind::Buffered => "mode = \"buffered\"\nmax_staleness = 2\nstaleness_exponent = 0.0",
        Kind::Synchronous | Kind::Private | Kind::Masked => "",
    };
    let privacy = match kind {
        Kind::Private => {
            "[task.privacy]\npolicy = \"central\"\nnoise = \"independent\"\n\
             noise_multiplier = 1.0\nclipping_norm = 10.0\nepsilon = 200000.0\ndelta = 1e-5\n"
        }
        // So little noise that the sum tells who is in it.
        Kind::Masked => {
            "[task.privacy]\npolicy = \"distributed\"\nnoise_multiplier = 0.01\n\
             clipping_norm = 2.0\nepsilon = 1e9\ndelta = 1e-5\nstep_deadline = \"2s\"\n"
        }
        Kind::Synchronous | Kind::Buffered => "",
    };
    let toml = format!(
        r#"
        [server]
        store = "simulated"
        [server.limits]
        upload_grace = "{pause}ms"
        min_upload_rate = "8B"
        [[task]]
        id = "sim"
        model = {{ input = [{inputs}], layers = [{{ type = "linear", outputs = 1 }}], loss = "mean_squared_error" }}
        [task.round]
        {rounds}
        {mode}
        {privacy}
        "#
    );
    Config::from_toml(&toml).unwrap_or_else(|mistakes| panic!("{mistakes}\n{toml}"))
}
