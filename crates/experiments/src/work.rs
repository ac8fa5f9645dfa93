//! The work of a simulated device in a round: training or evaluation, an attack if it is an
//! attacker's, and the protection of what leaves.

use std::sync::Arc;

use bytes::Bytes;
use fedra_aggregation::codec::CodecMisfit;
use fedra_aggregation::{Codec, UpdateShape};
use fedra_data::Dataset;
use fedra_edge_client::HOLD_OUT_SEED;
use fedra_edge_client::encoding::{PrivateRound, acceptable};
use fedra_edge_client::secure_round::SecureRound;
use fedra_edge_client::session::{SecureReply, SecureRequest};
use fedra_learning::{ExamplePrivacy, LocalTrainer, ScoreSums, WeightsView, check_update, score};
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::{Mechanism, RoundAssignment, RoundId, Scores, TaskDescription, UpdateRange};
use rand::{Rng, RngExt};

use crate::attack::Kind;
use crate::seeds::{Purpose, Seeds};

/// Examples that are scored at a time.
const SCORED_AT_ONCE: usize = 256;

/// Work of a device for a round, with everything that it needs.
pub(crate) struct Job {
    pub client: usize,
    pub task: Arc<TaskDescription>,
    pub assignment: RoundAssignment,
    pub policy: Option<Arc<DerivedPolicy>>,
    pub trained: Arc<Vec<f32>>,
    pub frozen: Arc<Vec<f32>>,
    /// All examples, and which of them are the client's.
    pub examples: Arc<Dataset>,
    pub own: Arc<Vec<u32>>,
    /// Examples a second, which decides what a time limit allows.
    pub speed: f64,
    pub attack: Option<Kind>,
    pub example_privacy: Option<ExamplePrivacy>,
    pub seeds: Seeds,
}

/// Product of a device's work.
pub(crate) enum Product {
    /// An update that may leave, and its weight.
    Update(Bytes, u64),
    /// Values to be sent in a sparse codec, which the client's error feedback encodes, and
    /// their weight.
    Values(Vec<f32>, Codec, u64),
    /// A step of secure aggregation, and the state after it.
    Secured(Option<Box<SecureRound>>, SecureReply),
    /// The work failed.
    Failed(String),
}

impl Job {
    /// Does the work. Takes as long as it takes; the virtual time is somebody else's.
    pub(crate) fn run(self) -> Product {
        let learned = self.learn();
        let mut rng = self.seeds.rng(Purpose::Work(self.client, self.assignment.round));
        let learned = learned.map(|(values, examples)| match self.attack {
            Some(attack) => {
                let mut shared = self.seeds.rng(Purpose::Collusion(self.assignment.round));
                (attack.update(values, &mut rng, &mut shared), examples)
            }
            None => (values, examples),
        });
        let failed = |error: &dyn std::fmt::Display| Product::Failed(error.to_string());
        let (len, range) = self.values();
        let codec = match self.codec() {
            Ok(codec) => codec,
            Err(error) => return failed(&error),
        };
        let (Some(policy), Some(terms)) = (&self.policy, &self.assignment.privacy) else {
            let (values, examples) = match learned {
                Ok(learned) => learned,
                Err(error) => return Product::Failed(error),
            };
            if let Err(error) = check_update(&values, range) {
                return failed(&error);
            }
            return encoded(values, codec, examples, &mut rng);
        };
        // Under a policy a failure looks like any other update.
        let values = learned.map_or_else(|_| vec![0.0; len], |(values, _)| values);
        let round = PrivateRound {
            task: &self.task.id,
            round: self.assignment.round,
            privacy: policy,
            terms,
        };
        match policy.policy().mechanism {
            Mechanism::Central { .. } => encoded(acceptable(values, range), codec, 1, &mut rng),
            Mechanism::Local => match round.noised(&values, &mut rng) {
                Ok(update) => Product::Update(update, 1),
                Err(error) => failed(&error),
            },
            Mechanism::Distributed => match SecureRound::begin(&round, &values, &mut rng) {
                Ok((state, reply)) => Product::Secured(Some(Box::new(state)), reply),
                Err(error) => failed(&error),
            },
        }
    }

    /// Examples that the device goes through, and bytes that it sends.
    pub(crate) fn effort(&self) -> (u64, u64) {
        let bytes = self.codec().map_or(0, |codec| codec.bounds().bytes.most());
        let (steps, batch) = (self.steps(), u64::from(self.assignment.training.batch_size()));
        let examples = match self.assignment.evaluates {
            true => self.own.len() as u64,
            // The last batch of an epoch may be smaller.
            false => match self.assignment.training.steps() {
                0 => (steps * batch)
                    .min(self.trained_on() * u64::from(self.assignment.training.epochs())),
                _ => steps * batch,
            },
        };
        (examples, bytes)
    }

    /// Examples that are trained on.
    fn trained_on(&self) -> u64 {
        let own = self.own.len() as u64;
        match self.assignment.training.max_examples() {
            0 => own,
            most => own.min(most.into()),
        }
    }

    /// Steps that the device takes: those of the plan, or as many as its time allows.
    fn steps(&self) -> u64 {
        let plan = &self.assignment.training;
        let batch = u64::from(plan.batch_size());
        let all = match plan.steps() {
            0 => self.trained_on().div_ceil(batch) * u64::from(plan.epochs()),
            steps => steps.into(),
        };
        plan.time_limit().map_or(all, |limit| {
            let in_time = limit.as_secs_f64() * self.speed / batch as f64;
            all.min((in_time as u64).max(1))
        })
    }

    /// Form in which the values leave.
    fn codec(&self) -> Result<Codec, CodecMisfit> {
        let encoding = self.policy.as_ref().and_then(|policy| policy.encoding());
        let (len, range) = self.values();
        Codec::new(self.assignment.codec, UpdateShape::new(len, range, encoding))
    }

    /// Values of what is learned, and their range: of an update, or of scores.
    fn values(&self) -> (usize, UpdateRange) {
        match self.assignment.evaluates {
            false => (self.task.model.parameters(), self.task.update_range),
            true => (Scores::len(&self.task.model), Scores::range()),
        }
    }

    /// The update or the scores, and the examples behind them.
    fn learn(&self) -> Result<(Vec<f32>, u64), String> {
        let mut data = self.examples.select(&self.own);
        let mut held_out = None;
        if let Some(evaluation) = &self.task.client_evaluation {
            let (train, other) = data.split(evaluation.held_out(), HOLD_OUT_SEED);
            (data, held_out) = (train, Some((other, evaluation)));
        }
        let spec = &self.task.model;
        let weights = WeightsView { trained: &self.trained, frozen: &self.frozen };
        if self.assignment.evaluates {
            let (held_out, evaluation) =
                held_out.ok_or("this task has no evaluation by clients")?;
            let mut sums = ScoreSums::default();
            for first in (0..held_out.len()).step_by(SCORED_AT_ONCE) {
                let piece = first as u32..held_out.len().min(first + SCORED_AT_ONCE) as u32;
                sums.add(score(spec, weights, &held_out, piece).map_err(|e| e.to_string())?);
            }
            let scores = sums.scores();
            let values = match self.policy {
                None => scores.plain(),
                Some(_) => scores.protected(evaluation.loss_bound()),
            };
            return Ok((values, held_out.len() as u64));
        }
        if let Some(attack) = self.attack {
            data = attack.examples(data, spec.output_width() as u32);
        }
        let plan = &self.assignment.training;
        let data = Arc::new(data);
        let trainer = match self.example_privacy {
            None => LocalTrainer::new(spec, weights, data, plan),
            Some(privacy) => {
                let round = self.assignment.round;
                let secret = self.seeds.bytes(Purpose::Examples(self.client, round));
                LocalTrainer::with_example_privacy(spec, weights, data, plan, privacy, secret)
            }
        };
        let mut trainer = trainer.map_err(|error| error.to_string())?;
        let steps = self.steps();
        while trainer.step_count() < steps && trainer.step().is_some() {}
        let trained = trainer.parameters().map_err(|error| error.to_string())?;
        let update = trained.iter().zip(&*self.trained).map(|(new, old)| new - old).collect();
        Ok((update, trainer.examples() as u64))
    }
}

/// Values in the form in which they leave, if that is a matter of the codec alone.
fn encoded(values: Vec<f32>, codec: Codec, examples: u64, rng: &mut impl Rng) -> Product {
    if codec.name().is_sparse() {
        return Product::Values(values, codec, examples);
    }
    match codec.values() {
        Ok(form) => Product::Update(form.encode(&values, &rng.random()).into(), examples),
        Err(error) => Product::Failed(error.to_string()),
    }
}

/// Takes a step of secure aggregation.
pub(crate) fn secure(
    state: Option<Box<SecureRound>>,
    request: SecureRequest,
    client: usize,
    round: RoundId,
    seeds: Seeds,
) -> Product {
    let Some(state) = state else { return Product::Failed("no secrets of this round".to_owned()) };
    // Another stream than that of the first step.
    let mut rng = seeds.rng(Purpose::Work(client, round));
    rng.set_stream(1 + u64::from(matches!(request, SecureRequest::Mask(_))));
    match state.step(request, &mut rng) {
        Ok((state, reply)) => Product::Secured(state.map(Box::new), reply),
        Err(error) => Product::Failed(error.to_string()),
    }
}
