//! Settings of a task: its model, how its rounds are made, how its clients train and
//! how they are protected. Checked where they are read; constant while the server runs.

mod schedule;

use std::sync::Arc;

use fedra_aggregation::accumulator::Estimator;
use fedra_aggregation::{Codec, ServerOptimizer, UpdateShape};
use fedra_privacy_policy::{DerivedPolicy, PrivacyError};
use fedra_protocol::{
    Capabilities, ClientEvaluation, DataSpec, LocalTraining, ModelRef, ModelSpec, PrivacyPolicy,
    RawLocalTraining, RoundId, Scores, TaskDescription, TaskId, UpdateRange,
};

pub use self::schedule::{Decay, Schedule};
use crate::round::RoundPlan;
use crate::storage::{Definition, Gate, Retention};

/// Settings of one task.
#[derive(Debug, Clone)]
pub struct TaskSettings {
    /// Name in URLs and messages.
    pub id: TaskId,
    /// Name for people.
    pub title: String,
    /// The model.
    pub model: ModelSpec,
    /// Largest magnitude of a value of an update.
    pub update_range: UpdateRange,
    /// Preparation of the clients' files; `None` if they give arrays that fit the model.
    pub data: Option<DataSpec>,
    /// File of the frozen tensors, if there are some: known once the task has started.
    pub frozen: Option<ModelRef>,
    /// Codec of updates, of the shape that [`TaskSettings::update_shape`] says.
    pub codec: Codec,
    /// Codec of the models' steps, one of values within the update range; `None` if models
    /// travel as a whole alone.
    pub model_codec: Option<Codec>,
    /// Estimator of the mean of a round's updates. Under a privacy policy, and of scores, it
    /// is the mean.
    pub estimator: Estimator,
    /// Most bytes of memory that the sum of a round may take.
    pub round_memory: u64,
    /// Seed of the initial model and of local training.
    pub seed: u64,
    /// Server optimizer: the step along the mean update, at the full learning rate.
    pub optimizer: ServerOptimizer,
    /// Course of the server's learning rate.
    pub server_schedule: Schedule,
    /// Local training at the full learning rate. Its seed is replaced in every round.
    pub training: LocalTraining,
    /// Course of the clients' learning rate. At every round the rate is above 0.
    pub training_schedule: Schedule,
    /// All clients of the task, N of SCAFFOLD, at least as many as a round takes; `None` with
    /// another algorithm.
    pub population: Option<u32>,
    /// Parameters of the task's rounds.
    pub plan: RoundPlan,
    /// Global models that are kept.
    pub checkpoints: Retention,
    /// Rule by which a model is refused for its held-out loss, if there is one.
    pub gate: Option<Gate>,
    /// Protection of the participants, if there is a privacy policy.
    pub privacy: Option<PrivacySettings>,
    /// Evaluation of models by the clients, if they do so.
    pub client_evaluation: Option<EvaluationRounds>,
}

/// Rounds in which the clients evaluate the newest model instead of training it.
#[derive(Debug, Clone)]
pub struct EvaluationRounds {
    /// Part that clients are told.
    pub evaluation: ClientEvaluation,
    /// Rounds of training before each of them, at least 1.
    pub every: u32,
    payload: Payload,
}

impl EvaluationRounds {
    /// Rounds of evaluation after `every` rounds of training each, for a task with this
    /// model and policy.
    ///
    /// # Errors
    ///
    /// [`PrivacyError`] if the policy leaves no room for them.
    pub fn new(
        evaluation: ClientEvaluation,
        every: u32,
        model: &ModelSpec,
        privacy: Option<&PrivacySettings>,
    ) -> Result<Self, PrivacyError> {
        let derived = privacy.map(|privacy| privacy.derived.for_evaluation(model)).transpose()?;
        let encoding = derived.as_ref().and_then(DerivedPolicy::encoding);
        let shape = UpdateShape::new(Scores::len(model), Scores::range(), encoding);
        let payload = Payload { codec: Codec::standard(shape), derived: derived.map(Arc::new) };
        Ok(Self { evaluation, every, payload })
    }

    /// The policy of these rounds, if the task has one.
    #[must_use]
    pub fn derived(&self) -> Option<&DerivedPolicy> {
        self.payload.derived.as_deref()
    }
}

/// Form and protection of what clients send in a round.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Its codec.
    pub codec: Codec,
    /// The policy that it is under, if there is one.
    pub derived: Option<Arc<DerivedPolicy>>,
}

/// Privacy policy of a task with what is derived from it.
#[derive(Debug, Clone)]
pub struct PrivacySettings {
    /// The policy and everything derived from it. Its budget pays for all the
    /// participations that it grants.
    pub derived: Arc<DerivedPolicy>,
    /// Unit that is counted against the budget.
    pub counting: Counting,
}

/// Unit that is counted against a task's privacy budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// Rounds: any client may have been in all of them. The task ends when the
    /// budget has no room for another.
    Rounds,
    /// Participations of each subject, at most `max_participations`.
    Subjects,
}

impl TaskSettings {
    /// Shape of the task's updates: values in the clear, or the words of a privacy policy.
    #[must_use]
    pub fn update_shape(&self) -> UpdateShape {
        let encoding = self.privacy.as_ref().and_then(|privacy| privacy.derived.encoding());
        UpdateShape::new(self.model.parameters(), self.update_range, encoding)
    }

    /// The evaluation that this round is for; `None` of a round of training.
    #[must_use]
    pub fn evaluation(&self, round: u64) -> Option<&EvaluationRounds> {
        let rounds = self.client_evaluation.as_ref()?;
        round.is_multiple_of(u64::from(rounds.every) + 1).then_some(rounds)
    }

    /// Form of what clients send in this round: updates, or scores.
    #[must_use]
    pub fn payload(&self, round: u64) -> Payload {
        match self.evaluation(round) {
            Some(rounds) => rounds.payload.clone(),
            None => Payload {
                codec: self.codec.clone(),
                derived: self.privacy.as_ref().map(|privacy| Arc::clone(&privacy.derived)),
            },
        }
    }

    /// The privacy policy, if there is one.
    #[must_use]
    pub fn policy(&self) -> Option<&PrivacyPolicy> {
        self.privacy.as_ref().map(|privacy| privacy.derived.policy())
    }

    /// The task with the participations that `stored` grants, if it counts rounds and
    /// nothing else of its policy differs. How many rounds a budget pays for depends on the
    /// account of privacy, which a later version may have improved; a task that was made
    /// before keeps the number that its clients were told. `None` if that is not what
    /// differs, or if the budget does not pay for that number.
    #[must_use]
    pub fn granting_as(&self, stored: &Definition) -> Option<Self> {
        let (privacy, promised) = (self.privacy.as_ref()?, stored.privacy.as_ref()?);
        let max_participations = promised.max_participations;
        let own = PrivacyPolicy { max_participations, ..privacy.derived.policy().clone() };
        if privacy.counting != Counting::Rounds || own != *promised {
            return None;
        }
        let derived = Arc::new(DerivedPolicy::new(own, self.model.parameters()).ok()?);
        let privacy = Some(PrivacySettings { derived, counting: Counting::Rounds });
        let client_evaluation = match &self.client_evaluation {
            Some(EvaluationRounds { evaluation, every, .. }) => Some(
                EvaluationRounds::new(*evaluation, *every, &self.model, privacy.as_ref()).ok()?,
            ),
            None => None,
        };
        Some(Self { privacy, client_evaluation, ..self.clone() })
    }

    /// Properties of the task that a store holds it to.
    #[must_use]
    pub fn definition(&self) -> Definition {
        Definition { model: self.model.clone(), privacy: self.policy().cloned() }
    }

    /// Description of the task for its clients.
    #[must_use]
    pub fn description(&self) -> TaskDescription {
        TaskDescription {
            id: self.id.clone(),
            title: self.title.clone(),
            model: self.model.clone(),
            update_range: self.update_range,
            data: self.data.as_ref().map(DataSpec::encoded),
            client_evaluation: self.client_evaluation.as_ref().map(|rounds| rounds.evaluation),
            frozen: self.frozen.clone(),
            privacy: self.policy().cloned(),
        }
    }

    /// Preparation of files: the task's own, or that of bytes in the model's shape.
    #[must_use]
    pub fn data_or_bytes(&self) -> DataSpec {
        self.data.clone().unwrap_or_else(|| DataSpec::of_bytes(self.model.input()))
    }

    /// Layers, algorithms and the codec that a client must know to take part.
    #[must_use]
    pub fn needs(&self) -> Capabilities {
        let evaluation = self.client_evaluation.as_ref().map(|rounds| &rounds.evaluation);
        let needed =
            Capabilities::needed(&self.model, &self.training, self.codec.name(), evaluation);
        if self.plan.forms_groups() { needed.with_masking_groups() } else { needed }
    }

    /// Local training with the seed and the learning rate of a round, the same for the
    /// whole cohort.
    #[must_use]
    pub fn training(&self, round: RoundId) -> LocalTraining {
        let spread = 0x9e37_79b9_7f4a_7c15_u64;
        let seed = self.seed.wrapping_add(round.round.wrapping_mul(spread));
        let full = self.training.with_seed(seed);
        let factor = self.training_schedule.factor(round.round);
        let learning_rate = (f64::from(full.learning_rate()) * factor) as f32;
        let scaled = RawLocalTraining { learning_rate, ..full.clone().into() };
        // Fails for no schedule that was checked for this rate.
        LocalTraining::new(scaled).unwrap_or(full)
    }

    /// Server optimizer with the learning rate of a round.
    #[must_use]
    pub fn optimizer(&self, round: u64) -> ServerOptimizer {
        self.optimizer.scaled(self.server_schedule.factor(round))
    }
}
