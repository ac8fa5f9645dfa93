//! Scenario of a seed: how many clients, which rounds, which faults and how many of
//! them.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use fedra_aggregation::accumulator::Estimator;
use fedra_aggregation::{Codec, ServerOptimizer, UpdateShape};
use fedra_coordinator::participation::Pace;
use fedra_coordinator::round::{Mode, Protection, RoundPlan};
use fedra_coordinator::settings::{Counting, PrivacySettings, Schedule, TaskSettings};
use fedra_coordinator::storage::Retention;
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::layers::Linear;
use fedra_protocol::limits::MAX_PARTICIPATIONS;
use fedra_protocol::{
    CentralNoise, LocalTraining, Loss, Mechanism, ModelSpec, PrivacyPolicy, TaskId, UpdateRange,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Manner in which a device answers invitations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It trains and reports.
    Sound,
    /// Its program does nothing from its first invitation on, and its connection stays.
    Frozen,
    /// It declines each invitation.
    Declines,
    /// Its updates are not valid.
    Invalid,
}

/// A bug put in on purpose, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
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

/// Kind of rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Synchronous,
    Buffered,
    /// Under central differential privacy: with a ledger.
    Private,
    /// Buffered under central differential privacy, with a ledger of subjects.
    BufferedPrivate,
    /// Under secure aggregation, with a share of the noise from every client.
    Masked,
    /// Buffered under secure aggregation in groups, with a ledger of subjects.
    BufferedMasked,
}

impl Kind {
    /// True if a round is the next updates, whatever model they started from.
    pub(crate) fn is_buffered(self) -> bool {
        matches!(self, Self::Buffered | Self::BufferedPrivate | Self::BufferedMasked)
    }

    /// True if there is a ledger.
    pub(crate) fn is_private(self) -> bool {
        !matches!(self, Self::Synchronous | Self::Buffered)
    }

    /// True if updates are masked.
    pub(crate) fn is_masked(self) -> bool {
        matches!(self, Self::Masked | Self::BufferedMasked)
    }

    /// True if it is participations of subjects that are counted.
    pub(crate) fn counts_subjects(self) -> bool {
        matches!(self, Self::BufferedPrivate | Self::BufferedMasked)
    }
}

/// Participations of a subject where subjects are counted.
const PARTICIPATIONS: u32 = 12;

/// Frequency of faults: probabilities a message, a step, a write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
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
    pub(crate) const NONE: Self = Self {
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

pub(crate) struct Scenario {
    pub bug: Option<Bug>,
    pub kind: Kind,
    pub clients: usize,
    /// Manners of the first clients; the others are sound.
    pub manners: Vec<Manner>,
    pub faults: Faults,
    pub task: Task,
    /// End of the faults: after that everything has to come to rest.
    pub calm_after: Duration,
    pub rng: StdRng,
}

impl Scenario {
    pub(crate) fn of(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let kind = match rng.random_range(0..11) {
            0..6 => Kind::Synchronous,
            6 => Kind::Buffered,
            7 => Kind::BufferedPrivate,
            8 => Kind::Private,
            9 => Kind::BufferedMasked,
            _ => Kind::Masked,
        };
        let clients = rng.random_range(if kind.is_masked() { 4..=7 } else { 2..=7 });
        let faults = faults(&mut rng);
        let task = task(&mut rng, kind, clients);
        let calm_after = Duration::from_secs(rng.random_range(30..90));
        Self { bug, kind, clients, manners: Vec::new(), faults, task, calm_after, rng }
    }

    /// A task without faults that would take one client more than it has, and waits for
    /// each: `manners` are those of the first, and 3 to 5 sound ones follow.
    pub(crate) fn patient(seed: u64, manners: Vec<Manner>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let kind = [Kind::Synchronous, Kind::Private, Kind::Masked][rng.random_range(0..3)];
        let sound = rng.random_range(3..=5);
        let clients = manners.len() + sound;
        let deadline = rng.random_range(4_000..10_000);
        let cohort = clients + 1;
        let plan = RoundPlan {
            invited: cohort,
            minimum_cohort: 3,
            minimum_reports: 3,
            report_goal: cohort,
            deadline: Duration::from_millis(deadline),
            ..PLAN
        };
        let task = task_with(kind, clients, 4_000, &plan);
        let faults = Faults::NONE;
        Self { bug: None, kind, clients, manners, faults, task, calm_after: Duration::MAX, rng }
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

/// Task of a simulation: its settings, and the pace of uploads.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub settings: Arc<TaskSettings>,
    pub pace: Pace,
}

/// Random rounds for `clients` clients.
fn task(rng: &mut StdRng, kind: Kind, clients: usize) -> Task {
    let least = if kind.is_masked() { 3 } else { 1 };
    let cohort = rng.random_range(least..=clients);
    let minimum = rng.random_range(least..=cohort);
    let reports = rng.random_range(least..=minimum);
    let goal = rng.random_range(reports..=cohort);
    let deadline = rng.random_range(2_000..12_000);
    let shortest = if !kind.is_buffered() && rng.random_bool(0.2) { deadline / 2 } else { 0 };
    let grace = rng.random_range(0..3_000);
    let window = rng.random_range(0..500);
    let pause = rng.random_range(500..4_000);
    let steers = rng.random_bool(0.2);
    let plan = RoundPlan {
        invited: cohort,
        minimum_cohort: minimum,
        minimum_reports: reports,
        report_goal: goal,
        deadline: Duration::from_millis(deadline),
        minimum_duration: Duration::from_millis(shortest),
        reconnect_grace: Duration::from_millis(grace),
        selection_window: Duration::from_millis(window),
        waiting_room: steers.then_some(1),
        retry_after: Duration::from_secs(if steers { 2 } else { 30 }),
        ..PLAN
    };
    task_with(kind, clients, pause, &plan)
}

/// Plan whose numbers a scenario replaces.
pub(crate) const PLAN: RoundPlan = RoundPlan {
    mode: Mode::Synchronous,
    invited: 1,
    minimum_cohort: 1,
    selection_window: Duration::from_millis(100),
    report_goal: 1,
    minimum_reports: 1,
    deadline: Duration::from_secs(5),
    minimum_duration: Duration::ZERO,
    reconnect_grace: Duration::from_secs(10),
    waiting_room: None,
    retry_after: Duration::from_secs(30),
    max_weight: 100_000,
    rounds: None,
    protection: Protection::None,
};

/// Task with this plan. An upload may pause for `pause` milliseconds.
///
/// The model has a parameter a client: client i's update is 1 at place i and 0
/// elsewhere, so that the new model tells who is in the average.
fn task_with(kind: Kind, clients: usize, pause: u64, plan: &RoundPlan) -> Task {
    let mode = match kind {
        kind if kind.is_buffered() => Mode::Buffered { max_staleness: 2, staleness_exponent: 0.0 },
        _ => Mode::Synchronous,
    };
    let cohort = if kind == Kind::BufferedMasked { plan.report_goal } else { plan.invited };
    let policy = |mechanism, noise_multiplier, clipping_norm, epsilon| PrivacyPolicy {
        mechanism,
        noise_multiplier,
        clipping_norm,
        target_quantile: None,
        epsilon,
        delta: 1e-5,
        cohort: cohort as u32,
        minimum_survivors: plan.minimum_reports as u32,
        colluders: 0,
        max_participations: MAX_PARTICIPATIONS,
    };
    let policy = match kind {
        Kind::Private => {
            Some(policy(Mechanism::Central(CentralNoise::Independent), 1.0, 10.0, 2e5))
        }
        // So little noise that the sum tells who is in it.
        Kind::Masked => Some(policy(Mechanism::Distributed, 0.01, 2.0, 1e9)),
        Kind::BufferedMasked => Some(PrivacyPolicy {
            max_participations: PARTICIPATIONS,
            ..policy(Mechanism::Distributed, 0.01, 2.0, 1e9)
        }),
        Kind::BufferedPrivate => Some(PrivacyPolicy {
            max_participations: PARTICIPATIONS,
            ..policy(Mechanism::Central(CentralNoise::Independent), 0.01, 2.0, 1e9)
        }),
        Kind::Synchronous | Kind::Buffered => None,
    };
    let inputs = clients as u32 - 1;
    let pace = Pace::new(Duration::from_millis(pause), 8);
    let counting = if kind.counts_subjects() { Counting::Subjects } else { Counting::Rounds };
    let plan = RoundPlan { mode, ..plan.clone() };
    let settings = settings("sim", inputs, plan, policy, counting);
    Task { settings: Arc::new(settings), pace }
}

/// Settings of a task with a linear model of one output.
///
/// # Panics
///
/// If the policy has no budget for these rounds.
pub(crate) fn settings(
    id: &str,
    inputs: u32,
    mut plan: RoundPlan,
    policy: Option<PrivacyPolicy>,
    counting: Counting,
) -> TaskSettings {
    let layers = vec![Linear { outputs: 1 }.into()];
    let model = ModelSpec::new(&[inputs], layers, Loss::MeanSquaredError).expect("a sound model");
    if let Some(policy) = &policy {
        plan.max_weight = 1;
        plan.protection = match policy.mechanism {
            Mechanism::Distributed => Protection::Secure { step_deadline: STEP_DEADLINE },
            Mechanism::Local => Protection::DebitFirst,
            Mechanism::Central { .. } => Protection::DebitLast,
        };
    }
    let privacy = policy.map(|policy| {
        let derived = match counting {
            Counting::Rounds => DerivedPolicy::within_budget(policy, model.parameters()),
            Counting::Subjects => DerivedPolicy::new(policy, model.parameters()),
        };
        PrivacySettings { derived: Arc::new(derived.expect("a sound policy")), counting }
    });
    let update_range = UpdateRange::default_for(model.loss());
    let encoding = privacy.as_ref().and_then(|privacy| privacy.derived.encoding());
    let shape = UpdateShape::new(model.parameters(), update_range, encoding);
    TaskSettings {
        id: TaskId::new(id).expect("a valid id"),
        title: id.to_owned(),
        update_range,
        data: None,
        frozen: None,
        codec: Codec::standard(shape),
        model_codec: None,
        population: None,
        estimator: Estimator::Mean,
        round_memory: 1 << 20,
        model,
        seed: 1,
        optimizer: ServerOptimizer::Averaging { learning_rate: 1.0 },
        server_schedule: Schedule::default(),
        training: LocalTraining::default(),
        training_schedule: Schedule::default(),
        plan,
        // The checks look at every model.
        checkpoints: Retention { last: 0, ..Retention::default() },
        gate: None,
        privacy,
        client_evaluation: None,
    }
}

const STEP_DEADLINE: Duration = Duration::from_secs(2);
