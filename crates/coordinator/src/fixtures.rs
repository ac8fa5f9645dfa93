//! Small tasks for the tests of this crate: plans, settings, policies, updates, views,
//! and a store whose writes can be made to fail.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fedra_aggregation::accumulator::Estimator;
use fedra_aggregation::{CheckedUpdate, Codec, ServerOptimizer, UpdateShape};
use fedra_learning::safetensors;
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::layers::Linear;
use fedra_protocol::limits::MAX_PARTICIPATIONS;
use fedra_protocol::{
    CentralNoise, LocalTraining, Loss, Mechanism, ModelSpec, PrivacyPolicy, RoundId, RoundPhase,
    SubjectId, TaskId, UpdateBegin, UpdateRange,
};

use crate::round::{Mode, Progress, Protection, RoundPlan, Standing};
use crate::settings::{Counting, PrivacySettings, Schedule, TaskSettings};
use crate::status::{Health, TaskView, model_ref};
use crate::storage::{
    self, CheckpointFiles, Intercept, Lease, Retention, RoundRecord, Storage, StoreError,
};
use crate::writer::{Contribution, Received, Room};

/// Parameters of the model of [`settings`].
pub(crate) const PARAMETERS: usize = 4;

/// Time for a step of secure aggregation.
pub(crate) const STEP: Duration = Duration::from_secs(5);

/// Rounds of two to four clients that close at three reports.
pub(crate) const PLAN: RoundPlan = RoundPlan {
    mode: Mode::Synchronous,
    invited: 4,
    minimum_cohort: 2,
    selection_window: Duration::from_millis(500),
    report_goal: 3,
    minimum_reports: 2,
    deadline: Duration::from_secs(60),
    minimum_duration: Duration::ZERO,
    reconnect_grace: Duration::from_secs(3),
    waiting_room: None,
    retry_after: Duration::from_secs(30),
    max_weight: 100,
    rounds: None,
    protection: Protection::None,
};

/// The same with buffered rounds.
pub(crate) const BUFFERED: RoundPlan =
    RoundPlan { mode: Mode::Buffered { max_staleness: 3, staleness_exponent: 1.0 }, ..PLAN };

/// First attempts at the first rounds of a task.
pub(crate) const R1: RoundId = round(1, 0);
pub(crate) const R2: RoundId = round(2, 0);

pub(crate) const fn round(round: u64, attempt: u32) -> RoundId {
    RoundId { round, attempt }
}

pub(crate) fn subject(number: u8) -> SubjectId {
    SubjectId::from_bytes([number; 16])
}

/// Settings of a task without a privacy policy. The new model is the old one plus the
/// mean update.
pub(crate) fn settings(plan: RoundPlan) -> TaskSettings {
    let layers = vec![Linear { outputs: 1 }.into()];
    let inputs = PARAMETERS as u32 - 1;
    let model = ModelSpec::new(&[inputs], layers, Loss::MeanSquaredError).expect("a sound model");
    let update_range = UpdateRange::default_for(model.loss());
    TaskSettings {
        id: TaskId::new("small").expect("a valid id"),
        title: "A small task".to_owned(),
        update_range,
        data: None,
        frozen: None,
        codec: Codec::standard(UpdateShape::new(model.parameters(), update_range, None)),
        model_codec: None,
        estimator: Estimator::Mean,
        round_memory: 1 << 20,
        model,
        seed: 1,
        optimizer: ServerOptimizer::Averaging { learning_rate: 1.0 },
        server_schedule: Schedule::default(),
        training: LocalTraining::default(),
        training_schedule: Schedule::default(),
        population: None,
        plan,
        checkpoints: Retention::default(),
        gate: None,
        privacy: None,
        client_evaluation: None,
    }
}

/// Settings of a task under a policy, with the protection that it asks for.
///
/// # Panics
///
/// If the policy is not sound.
pub(crate) fn private_settings(
    mut plan: RoundPlan,
    policy: PrivacyPolicy,
    counting: Counting,
) -> TaskSettings {
    plan.max_weight = 1;
    plan.protection = match policy.mechanism {
        Mechanism::Distributed => Protection::Secure { step_deadline: STEP },
        Mechanism::Local => Protection::DebitFirst,
        Mechanism::Central { .. } => Protection::DebitLast,
    };
    let derived = match counting {
        Counting::Rounds => DerivedPolicy::within_budget(policy, PARAMETERS),
        Counting::Subjects => DerivedPolicy::new(policy, PARAMETERS),
    };
    let derived = Arc::new(derived.expect("a sound policy"));
    let privacy = Some(PrivacySettings { derived, counting });
    let settings = TaskSettings { privacy, ..settings(plan) };
    TaskSettings { codec: Codec::standard(settings.update_shape()), ..settings }
}

/// Policy with so little noise that a mean tells who is in it.
pub(crate) fn policy(mechanism: Mechanism) -> PrivacyPolicy {
    PrivacyPolicy {
        mechanism,
        noise_multiplier: 0.01,
        clipping_norm: 2.0,
        target_quantile: None,
        epsilon: 1e9,
        delta: 1e-5,
        cohort: 5,
        minimum_survivors: if mechanism == Mechanism::Distributed { 3 } else { 1 },
        colluders: 0,
        max_participations: match mechanism {
            Mechanism::Central(CentralNoise::Tree { rounds }) => rounds,
            Mechanism::Central(CentralNoise::Banded(noise)) => {
                noise.rounds.div_ceil(noise.separation)
            }
            _ => MAX_PARTICIPATIONS,
        },
    }
}

/// An update as it is sent.
pub(crate) fn update_bytes(values: &[f32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Announcement of an update.
pub(crate) fn announcement(round: RoundId, update: &[u8], examples: u64) -> UpdateBegin {
    UpdateBegin { round, bytes: update.len() as u64, examples, crc32: crc32fast::hash(update) }
}

/// An update that has passed its checks.
pub(crate) fn checked(settings: &TaskSettings, values: &[f32]) -> CheckedUpdate {
    let shape = UpdateShape::new(values.len(), settings.update_range, None);
    CheckedUpdate::parse(update_bytes(values), &Codec::standard(shape)).expect("a sound update")
}

/// Contribution of an update with this weight.
pub(crate) fn contribution(settings: &TaskSettings, values: &[f32], weight: u64) -> Contribution {
    let update = checked(settings, values);
    Contribution::Update(Received { update, room: Room::unlimited() }, weight)
}

/// The model file of these parameters, with the record of a round without clients.
pub(crate) fn model(
    settings: &TaskSettings,
    round: u64,
    parameters: &[f32],
) -> (RoundRecord, Bytes) {
    let file = Bytes::from(safetensors::write(&settings.model, parameters).expect("a model"));
    let files = CheckpointFiles::of_model(file.clone());
    let record = RoundRecord {
        round,
        ..RoundRecord::initial(&files, settings.policy().map(|policy| policy.clipping_norm))
    };
    (record, file)
}

/// View of a task in this phase of a round, with the initial model.
pub(crate) fn view(settings: &TaskSettings, round: RoundId, phase: RoundPhase) -> TaskView {
    let (record, _) = model(settings, 0, &[0.0; PARAMETERS]);
    let progress = Progress {
        round,
        phase,
        clients: 3,
        cohort: 3,
        reported: 1,
        left: 0,
        available: 3,
        left_out: 0,
        weight: 10,
        deadline: None,
    };
    TaskView {
        progress,
        standing: Standing::Running,
        health: Health::default(),
        model: model_ref(&record),
        evaluation: None,
        confusion: None,
        client_evaluation: None,
        privacy: None,
        history: Arc::new(VecDeque::from([record])),
    }
}

/// Write of a task's leader, by the method that makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Commit,
    Debit,
    Decide,
    Prune,
    RollBack,
    Secret,
}

impl Write {
    fn is(self, write: &storage::Write<'_>) -> bool {
        use storage::Write as Of;
        match self {
            Self::Commit => matches!(write, Of::Append(_, _, None)),
            Self::Debit => matches!(write, Of::Debit(..)),
            Self::Decide => matches!(write, Of::Decide(..)),
            Self::Prune => matches!(write, Of::Keep(..)),
            Self::RollBack => matches!(write, Of::Append(_, _, Some(_))),
            Self::Secret => matches!(write, Of::Secret(_)),
        }
    }
}

/// Refusal of one kind of write.
#[derive(Default)]
struct Refusal(Mutex<Option<Write>>);

impl Intercept for Refusal {
    fn write(
        &self,
        write: &storage::Write<'_>,
        run: &mut dyn FnMut() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match *self.0.lock().expect("no panic holds it") {
            Some(refused) if refused.is(write) => Err(StoreError::Database {
                path: "memory".into(),
                problem: format!("{refused:?} is refused"),
            }),
            _ => run(),
        }
    }
}

/// Stores in memory that can refuse one kind of write, with one task. A clone is the same
/// stores.
#[derive(Clone)]
pub(crate) struct FlakyStore {
    pub storage: Storage,
    refusal: Arc<Refusal>,
}

impl FlakyStore {
    /// Stores of a task with these initial parameters.
    pub(crate) fn with(settings: &TaskSettings, parameters: &[f32]) -> Self {
        let refusal = Arc::<Refusal>::default();
        let storage = Storage::in_memory().intercepted(Arc::<Refusal>::clone(&refusal));
        let (store, (record, file)) = (Self { storage, refusal }, model(settings, 0, parameters));
        let files = CheckpointFiles::of_model(file);
        let created = store.lease(settings).create(&settings.definition(), &record, &files);
        created.expect("a new task");
        store
    }

    /// A new leader of the task.
    pub(crate) fn lease(&self, settings: &TaskSettings) -> Lease {
        Lease::take(&self.storage, &settings.id).expect("a store in memory")
    }

    /// Refuses these writes from now on, and only these.
    pub(crate) fn refuse(&self, write: impl Into<Option<Write>>) {
        *self.refusal.0.lock().expect("no panic holds it") = write.into();
    }
}
