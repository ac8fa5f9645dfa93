//! The work of a simulated device in a round: training or evaluation, an attack if it is an
//! attacker's, and the protection of what leaves.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fedra_aggregation::Codec;
use fedra_data::Dataset;
use fedra_edge_client::outgoing::{Learned, Outgoing, RoundJob};
use fedra_edge_client::secure_round::SecureRound;
use fedra_edge_client::session::{SecureReply, SecureRequest};
use fedra_edge_client::{Correction, HOLD_OUT_SEED};
use fedra_learning::{ExamplePrivacy, LocalTrainer, ScoreSums, WeightsView, score};
use fedra_protocol::{RoundAssignment, RoundId};
use rand::RngExt;

use crate::attack::Kind;
use crate::seeds::{Purpose, Seeds};
use crate::style::ClientStyle;

/// Examples that are scored at a time.
const SCORED_AT_ONCE: usize = 256;

/// Work of a device for a round, with everything that it needs.
pub(crate) struct Job {
    pub client: usize,
    pub round: RoundJob,
    pub trained: Arc<Vec<f32>>,
    /// Correction of the gradients, if training has one.
    pub correction: Option<Correction>,
    pub frozen: Arc<Vec<f32>>,
    /// All examples, and which of them are the client's.
    pub examples: Arc<Dataset>,
    pub own: Arc<Vec<u32>>,
    /// Style of the client's images.
    pub style: Option<ClientStyle>,
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
    /// Values that leave something behind for the client's next update.
    Values(Values),
    /// A step of secure aggregation, and the state after it.
    Secured(Option<Box<SecureRound>>, SecureReply),
    /// The work failed.
    Failed(String),
}

/// Values of an update that are not encoded yet, because of what the client carries.
pub(crate) struct Values {
    pub values: Vec<f32>,
    pub codec: Codec,
    /// Weight of the update.
    pub examples: u64,
    /// Correction that they were trained with; `None` in a sparse codec.
    pub correction: Option<Correction>,
}

impl Job {
    /// Does the work. Takes as long as it takes; the virtual time is its caller's.
    pub(crate) fn run(self) -> Product {
        self.outcome().unwrap_or_else(Product::Failed)
    }

    fn outcome(&self) -> Result<Product, String> {
        let text = |error: &dyn fmt::Display| error.to_string();
        let (round, id) = (&self.round, self.round.assignment.round);
        let codec = round.codec().map_err(|error| text(&error))?;
        let mut rng = self.seeds.rng(Purpose::Work(self.client, id));
        let learned = self.learn().map(|Learned { values, examples }| {
            let mut shared = self.seeds.rng(Purpose::Collusion(id));
            let values = match self.attack {
                Some(attack) => attack.update(values, &mut rng, &mut shared),
                None => values,
            };
            Learned { values, examples }
        });
        // Under a policy a failure looks like any other update.
        let learned = round.admitted(learned, |_| ())?;
        let outgoing = round.protect(learned, &mut rng).map_err(|error| text(&error))?;
        Ok(match outgoing {
            Outgoing::Values(Learned { values, examples })
                if codec.name().is_sparse() || self.correction.is_some() =>
            {
                let correction = self.correction.clone();
                Product::Values(Values { values, codec, examples, correction })
            }
            Outgoing::Values(Learned { values, examples }) => {
                let form = codec.values().map_err(|error| text(&error))?;
                Product::Update(form.encode(&values, &rng.random()).into(), examples)
            }
            Outgoing::Update(update) => Product::Update(update, 1),
            Outgoing::Secured(state, reply) => Product::Secured(Some(state), reply),
        })
    }

    /// Examples that the device goes through, and bytes that it sends.
    pub(crate) fn effort(&self) -> (u64, u64) {
        let bytes = self.round.codec().map_or(0, |codec| codec.bounds().bytes.most());
        let RoundAssignment { evaluates, training, .. } = &self.round.assignment;
        let (steps, batch) = (self.steps(), u64::from(training.batch_size()));
        let examples = match evaluates {
            true => self.own.len() as u64,
            // The last batch of an epoch may be smaller.
            false => match training.steps() {
                0 => (steps * batch).min(self.trained_on() * u64::from(training.epochs())),
                _ => steps * batch,
            },
        };
        (examples, bytes)
    }

    /// Examples that are trained on.
    fn trained_on(&self) -> u64 {
        let own = self.own.len() as u64;
        match self.round.assignment.training.max_examples() {
            0 => own,
            most => own.min(most.into()),
        }
    }

    /// Steps that the device takes: those of the plan, or as many as its time allows.
    fn steps(&self) -> u64 {
        let plan = &self.round.assignment.training;
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

    /// The update or the scores, and the examples behind them.
    fn learn(&self) -> Result<Learned, String> {
        let task = &self.round.task;
        let mut data = self.examples.select(&self.own);
        if let Some(style) = &self.style {
            data = style.apply(data);
        }
        let mut held_out = None;
        if let Some(evaluation) = &task.client_evaluation {
            let (train, other) = data.split(evaluation.held_out(), HOLD_OUT_SEED);
            (data, held_out) = (train, Some((other, evaluation)));
        }
        let spec = &task.model;
        let weights = WeightsView { trained: &self.trained, frozen: &self.frozen };
        if self.round.assignment.evaluates {
            let (held_out, evaluation) =
                held_out.ok_or("this task has no evaluation by clients")?;
            let mut sums = ScoreSums::default();
            for first in (0..held_out.len()).step_by(SCORED_AT_ONCE) {
                let piece = first as u32..held_out.len().min(first + SCORED_AT_ONCE) as u32;
                sums.add(score(spec, weights, &held_out, piece).map_err(|e| e.to_string())?);
            }
            let scores = sums.scores();
            let values = match self.round.privacy {
                None => scores.plain(),
                Some(_) => scores.protected(evaluation.loss_bound()),
            };
            return Ok(Learned { values, examples: held_out.len() as u64 });
        }
        if let Some(attack) = self.attack {
            data = attack.examples(data, spec.output_width() as u32);
        }
        let plan = &self.round.assignment.training;
        let data = Arc::new(data);
        let trainer = match self.example_privacy {
            None => LocalTrainer::new(spec, weights, data, plan),
            Some(privacy) => {
                let round = self.round.assignment.round;
                let secret = self.seeds.bytes(Purpose::Examples(self.client, round));
                LocalTrainer::with_example_privacy(spec, weights, data, plan, privacy, secret)
            }
        };
        let terms = self.correction.as_ref().map_or(&[][..], |correction| &correction.terms);
        let trainer = trainer.and_then(|trainer| trainer.with_correction(terms));
        let mut trainer = trainer.map_err(|error| error.to_string())?;
        let steps = self.steps();
        while trainer.step_count() < steps && trainer.step().is_some() {}
        let trained = trainer.parameters().map_err(|error| error.to_string())?;
        let values = trained.iter().zip(&*self.trained).map(|(new, old)| new - old).collect();
        Ok(Learned { values, examples: trainer.examples() as u64 })
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
