//! Tests of the writer on a store in memory.

mod buffered;
mod evaluation;
mod operators;
mod optimizer;
mod plain;
mod private;
mod robust;
mod scaffold;
mod secure;
mod steps;

use fedra_aggregation::accumulator::{Answer, FinishError};
use fedra_aggregation::{CheckedUpdate, Codec, OptimizerState, ServerOptimizer, UpdateShape};
use fedra_learning::safetensors;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::fixtures::{
    BUFFERED, FlakyStore, PARAMETERS, PLAN, R1, R2, Write, contribution, policy, private_settings,
    round, settings, subject,
};
use crate::settings::Counting;

const NOON: u64 = 43_200;
const ZERO: [f32; PARAMETERS] = [0.0; PARAMETERS];

/// A writer, its store, and what a restart needs.
struct Bench {
    settings: Arc<TaskSettings>,
    store: FlakyStore,
    writer: Writer,
    rng: StdRng,
}

impl Bench {
    /// A new task whose model is all zeros.
    fn new(settings: TaskSettings) -> Self {
        Self::from(settings, &ZERO, [1; 32])
    }

    fn from(settings: TaskSettings, parameters: &[f32], secret: [u8; 32]) -> Self {
        let store = FlakyStore::with(&settings, parameters);
        let settings = Arc::new(settings);
        let writer = writer(&settings, &store, parameters, secret).expect("a sound store");
        Self { settings, store, writer, rng: StdRng::seed_from_u64(5) }
    }

    /// The server starts again from its store, where it draws another secret.
    fn restarted(self) -> Self {
        let Self { settings, store, rng, .. } = self;
        let lease = store.lease(&settings);
        let stored = lease.load(&settings.definition(), 1).expect("the same task");
        let files = stored.expect("a task").files;
        let position = Position::of(&settings, &files).expect("sound files");
        let writer = Writer::new(Arc::clone(&settings), lease, position, [99; 32]);
        let writer = writer.expect("a sound store");
        Self { settings, store, writer, rng }
    }

    fn work(&mut self, job: WriterJob) -> Vec<WriterEvent> {
        self.writer.work(job, NOON, &mut self.rng)
    }

    fn open(&mut self, round: RoundId) {
        assert!(self.work(WriterJob::Open(round, self.numbers())).is_empty());
    }

    /// Numbers of a round under the task's policy.
    fn numbers(&self) -> Option<RoundPrivacy> {
        let policy = self.settings.policy()?;
        Some(RoundPrivacy { clipping_norm: policy.clipping_norm, rotation: [3; 32] })
    }

    /// Folds what client number `client` has sent. The fault with which it is left out.
    fn fold(&mut self, client: u8, contribution: Contribution) -> Option<UpdateFault> {
        self.fold_stale(client, contribution, 0)
    }

    fn fold_stale(
        &mut self,
        client: u8,
        contribution: Contribution,
        staleness: u32,
    ) -> Option<UpdateFault> {
        let subject = Some(subject(client));
        let id = ClientId(client.into());
        let round = R1;
        let fold = WriterJob::Fold { client: id, subject, round, contribution, staleness };
        let events = self.work(fold);
        match events.as_slice() {
            [] => None,
            [WriterEvent::LeftOut(left_out, _, fault)] if *left_out == id => Some(*fault),
            other => panic!("{other:?}"),
        }
    }

    /// Folds a plain update, which is accepted.
    fn add(&mut self, client: u8, values: &[f32], weight: u64) {
        let contribution = contribution(&self.settings, values, weight);
        assert_eq!(self.fold(client, contribution), None);
    }

    fn advance(
        &mut self,
        round: RoundId,
        stage: Stage,
        subjects: &[u8],
    ) -> (Vec<ClientId>, Result<Prepared, WriterError>) {
        let subjects = subjects.iter().copied().map(subject).collect();
        let mut events = self.work(WriterJob::Advance(round, stage, subjects));
        let Some(WriterEvent::Prepared(of, at, result)) = events.pop() else {
            panic!("{events:?}");
        };
        assert_eq!((of, at), (round, stage));
        let left_out = |event| match event {
            WriterEvent::Excluded(client, of) if of == round => client,
            other => panic!("{other:?}"),
        };
        (events.into_iter().map(left_out).collect(), result)
    }

    fn finalize(&mut self, round: RoundId) -> (Option<Debit>, Result<GlobalModel, WriterError>) {
        let clipping_norm = self.settings.policy().map(|policy| policy.clipping_norm);
        let figures = RoundFigures { clipping_norm, ..figures(round) };
        let mut events = self.work(WriterJob::Finalize(figures));
        match (events.pop(), events.as_slice()) {
            (Some(WriterEvent::Finalized(of, debit, result)), []) if of == round => (debit, result),
            other => panic!("{other:?}"),
        }
    }

    /// The parameters that the round makes.
    fn model(&mut self, round: RoundId) -> Vec<f32> {
        let (_, result) = self.finalize(round);
        result.expect("a model").parameters.to_vec()
    }

    /// A round with one plain update of weight 1.
    fn round_of(&mut self, round: RoundId, values: &[f32]) -> Vec<f32> {
        self.open(round);
        self.add(1, values, 1);
        self.model(round)
    }

    fn debits(&self) -> Vec<Debit> {
        self.store.storage.tasks.debits(&self.settings.id).expect("a store in memory")
    }

    fn rounds(&self) -> Vec<u64> {
        self.store.storage.checkpoints(&self.settings.id).expect("a store in memory")
    }
}

fn writer(
    settings: &Arc<TaskSettings>,
    store: &FlakyStore,
    parameters: &[f32],
    secret: [u8; 32],
) -> Result<Writer, StoreError> {
    let parameters = Arc::new(parameters.to_vec());
    let (state, residual) = (OptimizerState::Empty, Residual::default());
    let position = Position { parameters, state, residual, control: None };
    Writer::new(Arc::clone(settings), store.lease(settings), position, secret)
}

fn figures(round: RoundId) -> RoundFigures {
    RoundFigures {
        round: round.round,
        attempt: round.attempt,
        cohort: 4,
        reports: 3,
        weight: 30,
        elapsed: Duration::from_millis(2_500),
        clipping_norm: None,
        traffic: (100, 200),
    }
}

/// Words as bytes, of whatever number of bits they are.
fn encoded(bytes: impl Into<Bytes>) -> Contribution {
    let bytes = bytes.into();
    let shape = UpdateShape::Words { len: bytes.len(), bits: 8 };
    let codec = Codec::standard(shape);
    let update = CheckedUpdate::parse(bytes, &codec).expect("every byte is a word");
    Contribution::Update(Received { update, room: Room::unlimited() }, 1)
}

/// Asserts that each value is within `error` of what is expected.
fn assert_near(values: &[f32], expected: &[f32], error: f32) {
    assert_eq!(values.len(), expected.len());
    for (value, expected) in values.iter().zip(expected) {
        assert!((value - expected).abs() <= error, "{values:?} for {expected}");
    }
}
