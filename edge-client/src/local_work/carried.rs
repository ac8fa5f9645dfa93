//! Values that a client carries from one update to the next: error feedback, the part of its
//! updates that a sparse codec has not sent, which is added to its next one (Stich et al. 2018);
//! or its control variate of SCAFFOLD. No I/O of its own; what is kept never leaves the device.
//!
//! An update counts as sent once all of it has left and the server has gone on to a later
//! round. Where that round is abandoned, or the update is turned down, its part is as if it
//! had never been made: what was kept before it stays. A server whose verdict was never heard
//! may have counted the update. So it counts, because a part that was sent twice would lead
//! the model astray, while one that is lost costs a round's work. A control variate has to
//! change with the server's, which changes by each update that was counted. So a client also
//! heeds that the server goes on to another attempt at the round.
//!
//! What an update leaves behind is stored before its last bytes leave. A client that ends
//! earlier has sent nothing; one that ends later finds it in the store.

use std::mem;

use bytes::Bytes;
use fedra_aggregation::codec::{Codec, ValueCodec};
use fedra_aggregation::control;
use fedra_protocol::{
    ModelSpec, RoundAssignment, RoundId, ServerMessage, Sha256Hash, UpdateFault, UpdateOutcome,
    UpdateRange, UpdateVerdict,
};
use futures_util::future::LocalBoxFuture;

use super::{LocalWork, WorkError, random_seed};
use crate::outgoing::RoundJob;
use crate::residual::{Latest, Residual, ResidualStore};

/// State that a client carries from one update to the next.
#[derive(Debug, Default)]
pub struct Carried {
    store: ResidualStore,
}

/// Correction of a round's gradients by SCAFFOLD.
#[derive(Clone, Debug, PartialEq)]
pub struct Correction {
    /// c - c_i, in the order of the model; empty if it is zero.
    pub terms: Vec<f32>,
    /// Number of steps times the rate.
    pub reach: f64,
}

impl LocalWork {
    /// Keeps what goes from one update to the next in this store.
    pub fn with_residual(mut self, store: ResidualStore) -> Self {
        self.carried.get_mut().store = store;
        self
    }

    /// Correction of a round's gradients, if the plan has one. `server` is the server's variate.
    pub(super) async fn correction(&self, job: &RoundJob, server: &[f32]) -> Option<Correction> {
        job.trains_with_variates().then_some(())?;
        self.load().await;
        let mut carried = self.carried.borrow_mut();
        Some(carried.correction(&job.task.model, &job.assignment, server))
    }

    async fn load(&self) {
        let loading = self.carried.borrow().store.load();
        if let Some(loading) = loading {
            let stored = loading.await;
            self.carried.borrow_mut().store.loaded(stored.as_deref());
        }
    }

    /// The update as it leaves, with what a sparse codec has not sent of earlier ones. The
    /// variate after it is made with the `correction` that it was trained with.
    pub(super) async fn encode(
        &self,
        spec: &ModelSpec,
        round: RoundId,
        codec: &Codec,
        values: Vec<f32>,
        range: UpdateRange,
        correction: Option<Correction>,
    ) -> Result<Bytes, WorkError> {
        let (form, seed) = (codec.values()?, random_seed()?);
        if let Some(correction) = correction {
            let mut carried = self.carried.borrow_mut();
            return Ok(carried.encode_corrected(round, &values, &correction, form, &seed).into());
        }
        if !codec.name().is_sparse() {
            return Ok(form.encode(&values, &seed).into());
        }
        self.load().await;
        let mut carried = self.carried.borrow_mut();
        carried.begin_with(&shape_of(spec));
        Ok(carried.encode(round, values, range, form, &seed).into())
    }

    /// Notes that the last of an update is about to leave. The future is ready once what the
    /// update leaves behind is stored; there is none where nothing is to be stored.
    pub fn leaves(&self, round: RoundId) -> Option<LocalBoxFuture<'static, ()>> {
        self.carried.borrow_mut().leaves(round)
    }

    /// Takes note of what the server says of an update.
    pub fn heard(&self, message: &ServerMessage) {
        self.carried.borrow_mut().heard(message);
    }
}

/// Names and shapes of the trained tensors.
fn shape_of(spec: &ModelSpec) -> String {
    let tensors = spec.layout().iter().map(|tensor| (&tensor.name, &tensor.shape));
    format!("{:?}", tensors.collect::<Vec<_>>())
}

impl Carried {
    /// Forgets what was kept of other values than these: of another model, or of another kind.
    fn begin_with(&mut self, values: &str) {
        let model = *Sha256Hash::of(values.as_bytes()).as_bytes();
        let residual = &mut self.store.residual;
        if residual.model != model {
            *residual = Residual { model, ..Residual::default() };
        }
    }

    /// Correction of a round's gradients, of the server's variate and the client's own.
    pub fn correction(
        &mut self,
        spec: &ModelSpec,
        assignment: &RoundAssignment,
        server: &[f32],
    ) -> Correction {
        let RoundAssignment { round, training, control, .. } = assignment;
        // Where the server's begin anew, so do those of the clients.
        let since = control.as_ref().map_or(round.round, |control| control.round);
        self.begin_with(&format!("control variate since {since} of {}", shape_of(spec)));
        self.settle(*round);
        let terms = control::correction(server, &self.store.residual.kept);
        Correction { terms, reach: training.reach() }
    }

    /// The round's update as it is sent. The client's variate follows from what the server
    /// decodes.
    pub fn encode_corrected(
        &mut self,
        round: RoundId,
        update: &[f32],
        correction: &Correction,
        codec: &dyn ValueCodec,
        seed: &[u8; 32],
    ) -> Vec<u8> {
        let bytes = codec.encode(update, seed);
        let mut sent = Vec::with_capacity(update.len());
        codec.decode(&bytes, &mut |values| sent.extend_from_slice(values));
        let rest = control::of_client(&correction.terms, &sent, correction.reach);
        self.store.residual.latest = Some(Latest { round, counts: false, attempted: true, rest });
        bytes
    }

    /// The round's update with the kept part, as it is sent. `update` is within the range,
    /// and so is what is sent.
    pub fn encode(
        &mut self,
        round: RoundId,
        mut update: Vec<f32>,
        range: UpdateRange,
        codec: &dyn ValueCodec,
        seed: &[u8; 32],
    ) -> Vec<u8> {
        self.settle(round);
        let Residual { kept, latest, .. } = &mut self.store.residual;
        if kept.len() == update.len() {
            update.iter_mut().zip(kept).for_each(|(value, kept)| *value += *kept);
        } else {
            // Of another model.
            kept.clear();
        }
        let most = range.magnitude();
        let within: Vec<f32> = update.iter().map(|value| value.clamp(-most, most)).collect();
        let bytes = codec.encode(&within, seed);
        let mut rest = update.as_mut_slice();
        codec.decode(&bytes, &mut |sent| {
            let (these, others) = mem::take(&mut rest).split_at_mut(sent.len());
            these.iter_mut().zip(sent).for_each(|(value, sent)| *value -= sent);
            rest = others;
        });
        *latest = Some(Latest { round, counts: false, attempted: false, rest: update });
        bytes
    }

    /// Notes that the last of a round's update is about to leave, and stores what it leaves
    /// behind.
    fn leaves(&mut self, round: RoundId) -> Option<LocalBoxFuture<'static, ()>> {
        self.count(round, true)
    }

    /// Takes note of what the server says of an update: its verdict, or that the attempt at its
    /// round was abandoned.
    pub fn heard(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::UpdateOutcome(outcome) => self.judged(outcome),
            ServerMessage::TaskStatus(status) => self.is_at(status.round),
            ServerMessage::CheckedIn(checked_in) => self.is_at(checked_in.status.round),
            _ => {}
        }
    }

    /// The server is at this attempt: one before it at the same round was abandoned.
    fn is_at(&mut self, now: RoundId) {
        let latest = self.store.residual.latest.as_ref().filter(|latest| latest.attempted);
        let round = latest.map(|latest| latest.round);
        if let Some(of) = round.filter(|of| of.round == now.round && of.attempt < now.attempt) {
            drop(self.count(of, false));
        }
    }

    fn judged(&mut self, outcome: &UpdateOutcome) {
        use UpdateVerdict::{Accepted, Discarded, Rejected};
        let counts = match outcome.verdict {
            Accepted => true,
            // It has come before, on a connection that broke.
            Rejected(UpdateFault::Duplicate) | Discarded(UpdateFault::Duplicate) => true,
            Rejected(_) | Discarded(_) => false,
        };
        // Calls of a store take effect in their order: the next one to wait for waits for both.
        drop(self.count(outcome.round, counts));
    }

    /// Stores whether the newest update counts, if that is news.
    fn count(&mut self, round: RoundId, counts: bool) -> Option<LocalBoxFuture<'static, ()>> {
        let latest = self.store.residual.latest.as_mut();
        let latest = latest.filter(|latest| latest.round == round && latest.counts != counts)?;
        latest.counts = counts;
        self.store.keep()
    }

    /// Finds out what became of the newest update, now that the server is at `next`: a
    /// later attempt at the same round has not had it.
    fn settle(&mut self, next: RoundId) {
        if let Some(latest) = self.store.residual.latest.take()
            && latest.counts
        {
            if next.round > latest.round.round {
                // The store has it in this form or in the other.
                self.store.residual.kept = latest.rest;
            } else {
                drop(self.store.keep());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use fedra_aggregation::{CheckedUpdate, UpdateShape};
    use fedra_protocol::layers::Linear;
    use fedra_protocol::{
        ClientAlgorithm, CodecName, Layer, LocalTraining, Loss, ModelRef, RawLocalTraining,
        SentShare,
    };

    use super::*;

    const LEN: usize = 64;

    fn range() -> UpdateRange {
        UpdateRange::new(1).unwrap()
    }

    fn codec(name: &str) -> Codec {
        let share = SentShare::new(100_000).unwrap();
        let name = CodecName::named(name).and_then(|name| name.with_share(share));
        Codec::new(name, UpdateShape::Values { len: LEN, range: range() }).unwrap()
    }

    fn id(round: u64, attempt: u64) -> RoundId {
        RoundId { round, attempt: attempt.try_into().unwrap() }
    }

    /// Values of one client's update.
    fn update(number: u64) -> Vec<f32> {
        (0..LEN as u64).map(|i| ((i * 37 + number * 11) % 50) as f32 / 64.0 - 0.375).collect()
    }

    /// The values that a server has of an update.
    fn sent(feedback: &mut Carried, codec: &Codec, round: RoundId, update: Vec<f32>) -> Vec<f32> {
        let form = codec.values().unwrap();
        let bytes = feedback.encode(round, update, range(), form, &[0; 32]);
        CheckedUpdate::parse(bytes.into(), codec).unwrap().to_vec().unwrap()
    }

    fn model(units: u32) -> ModelSpec {
        let layers = [units, 2].map(|units| Layer::from(Linear { outputs: units }));
        ModelSpec::new(&[3], layers.to_vec(), Loss::MeanSquaredError).unwrap()
    }

    fn judged(feedback: &mut Carried, round: RoundId, verdict: UpdateVerdict) {
        feedback.judged(&UpdateOutcome { round, verdict, message: String::new() });
    }

    fn kept(feedback: &mut Carried) -> Vec<f32> {
        feedback.settle(id(u64::MAX, 0));
        feedback.store.residual.kept.clone()
    }

    #[test]
    fn sent_and_kept_are_the_sum_of_the_updates() {
        for name in ["topk", "stc"] {
            let (codec, mut feedback) = (codec(name), Carried::default());
            let (mut server, mut client) = ([0.0; LEN], [0.0; LEN]);
            for round in 1..=50 {
                let update = update(round);
                client.iter_mut().zip(&update).for_each(|(sum, value)| *sum += value);
                let values = sent(&mut feedback, &codec, id(round, 0), update);
                assert!(values.iter().filter(|value| **value != 0.0).count() <= 7, "a tenth");
                server.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                judged(&mut feedback, id(round, 0), UpdateVerdict::Accepted);
            }
            let kept = kept(&mut feedback);
            for ((server, kept), client) in server.iter().zip(kept).zip(client) {
                assert!((server + kept - client).abs() < 1e-4, "{name}: {server} {kept} {client}");
            }
        }
    }

    #[test]
    fn a_round_that_came_to_nothing_changes_nothing() {
        let (codec, mut feedback) = (codec("topk"), Carried::default());
        sent(&mut feedback, &codec, id(1, 0), update(1));
        judged(&mut feedback, id(1, 0), UpdateVerdict::Accepted);
        let first = sent(&mut feedback, &codec, id(2, 0), update(2));
        let before = feedback.store.residual.kept.clone();
        assert!(before.iter().any(|value| *value != 0.0));
        // Abandoned after it was accepted; turned down; never judged; judged for another.
        for (attempt, judge) in [
            (0, Some((id(2, 0), UpdateVerdict::Accepted))),
            (1, Some((id(2, 1), UpdateVerdict::Rejected(UpdateFault::OutOfRange)))),
            (2, None),
            (3, Some((id(2, 2), UpdateVerdict::Accepted))),
        ] {
            if let Some((round, verdict)) = judge {
                judged(&mut feedback, round, verdict);
            }
            let again = sent(&mut feedback, &codec, id(2, attempt + 1), update(2));
            assert_eq!(
                (again, &feedback.store.residual.kept),
                (first.clone(), &before),
                "{attempt}"
            );
        }
        assert_eq!(kept(&mut feedback), before);
    }

    #[test]
    fn what_is_beyond_the_range_is_sent_later() {
        let (codec, mut feedback) = (codec("topk"), Carried::default());
        let large = || (0..LEN).map(|i| if i < 8 { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
        for round in 1..=3 {
            let values = sent(&mut feedback, &codec, id(round, 0), large());
            assert!(values.iter().all(|value| value.abs() <= 1.0));
            judged(&mut feedback, id(round, 0), UpdateVerdict::Accepted);
        }
        // 24 in three updates of which seven values were sent each time.
        assert_eq!(kept(&mut feedback).iter().sum::<f32>(), 3.0);
    }

    #[test]
    fn another_model_begins_with_nothing() {
        let (codec, mut feedback) = (codec("topk"), Carried::default());
        feedback.store.residual.kept = vec![1.0; LEN + 1];
        let values = sent(&mut feedback, &codec, id(1, 0), vec![0.0; LEN]);
        assert_eq!(values, vec![0.0; LEN]);

        // As many parameters, in tensors of other shapes.
        feedback.begin_with(&shape_of(&model(4)));
        feedback.store.residual.kept = vec![1.0; LEN];
        feedback.begin_with(&shape_of(&model(4)));
        assert_eq!(feedback.store.residual.kept, vec![1.0; LEN]);
        feedback.begin_with(&shape_of(&model(5)));
        assert_eq!(feedback.store.residual.kept, Vec::<f32>::new());
    }

    /// A plan of 4 steps at a rate of 0.125.
    fn with_variates() -> LocalTraining {
        LocalTraining::new(RawLocalTraining {
            algorithm: ClientAlgorithm::Scaffold,
            epochs: 0,
            steps: 4,
            learning_rate: 0.125,
            ..RawLocalTraining::default()
        })
        .unwrap()
    }

    /// Assignment of a round with variates since this one.
    fn assignment(since: u64) -> RoundAssignment {
        let (sha256, url) = (Sha256Hash::of(b"file"), "models/x".to_owned());
        let model = ModelRef { round: since, sha256, url, bytes: 1 };
        RoundAssignment {
            round: id(since, 0),
            model: model.clone(),
            training: with_variates(),
            deadline: Duration::from_secs(60),
            max_staleness: 0,
            privacy: None,
            codec: None,
            evaluates: false,
            steps: Box::default(),
            drawn: None,
            control: Some(Box::new(model)),
        }
    }

    /// A round with an update of this value in each place: the terms that it is trained with.
    fn corrected(carried: &mut Carried, round: RoundId, server: f32, update: f32) -> f32 {
        let model = model(4);
        let len = model.parameters();
        let assignment = RoundAssignment { round, ..assignment(1) };
        let correction = carried.correction(&model, &assignment, &vec![server; len]);
        let shape = UpdateShape::Values { len, range: range() };
        let codec = Codec::new(Some(CodecName::F16), shape).unwrap();
        let (form, update) = (codec.values().unwrap(), vec![update; len]);
        let bytes = carried.encode_corrected(round, &update, &correction, form, &[0; 32]);
        assert_eq!(bytes.len(), 2 * len);
        assert!(correction.terms.iter().all(|term| *term == correction.terms[0]));
        correction.terms[0]
    }

    #[test]
    fn a_variate_moves_by_what_the_server_has_of_an_update_that_was_counted() {
        let stored = Stored::default();
        let mut carried = process(&stored);
        assert_eq!(corrected(&mut carried, id(1, 0), 0.0, 0.5), 0.0);
        judged(&mut carried, id(1, 0), UpdateVerdict::Accepted);
        // c_1 = -0.5 / 0.5, from the first round.
        assert_eq!(corrected(&mut carried, id(2, 0), 0.25, 0.0), 1.25);
        judged(&mut carried, id(2, 0), UpdateVerdict::Rejected(UpdateFault::OutOfRange));
        assert_eq!(corrected(&mut carried, id(3, 0), 0.5, 0.1), 1.5);
        // Its round was abandoned: the next attempt begins as it did.
        judged(&mut carried, id(3, 0), UpdateVerdict::Accepted);
        assert_eq!(corrected(&mut carried, id(3, 1), 0.5, 0.1), 1.5);
        // No verdict is heard of this one.
        drop(carried.leaves(id(3, 1)));
        // c_1 = -(1.5 + 0.1 / 0.5), with the 0.1 of half precision; so also in another process.
        let half = 1638.0 / 16384.0;
        for mut carried in [carried, process(&stored)] {
            assert_eq!(corrected(&mut carried, id(4, 0), 0.0, 0.0), 1.5 + half / 0.5);
        }
    }

    #[test]
    fn an_update_of_an_attempt_that_was_abandoned_moves_no_variate() {
        let at = |carried: &mut Carried, round| carried.is_at(round);
        let next = |now: RoundId| {
            let mut carried = Carried::default();
            corrected(&mut carried, id(1, 1), 0.0, 0.5);
            judged(&mut carried, id(1, 1), UpdateVerdict::Accepted);
            at(&mut carried, id(1, 1));
            at(&mut carried, now);
            corrected(&mut carried, id(2, 0), 0.0, 0.0)
        };
        // c_1 = -0.5 / 0.5, or zero as before.
        assert_eq!((next(id(2, 0)), next(id(1, 2))), (1.0, 0.0));
    }

    #[test]
    fn variates_begin_anew_with_the_servers_and_are_no_part_of_error_feedback() {
        let learned = || {
            let mut carried = Carried::default();
            corrected(&mut carried, id(1, 0), 0.0, 0.5);
            judged(&mut carried, id(1, 0), UpdateVerdict::Accepted);
            carried
        };
        let terms = |assignment: &RoundAssignment| {
            learned().correction(&model(4), assignment, &[]).terms.first().copied()
        };
        let later = RoundAssignment { round: id(7, 0), ..assignment(1) };
        assert_eq!(terms(&later), Some(1.0));
        assert_eq!(terms(&assignment(5)), None);
        assert_eq!(terms(&RoundAssignment { control: None, ..later }), None);
        let mut carried = learned();
        carried.begin_with(&shape_of(&model(4)));
        assert_eq!(
            carried.store.residual,
            Residual { model: carried.store.residual.model, ..Residual::default() }
        );
    }

    type Stored = Rc<RefCell<Option<Vec<u8>>>>;

    /// A process that has what the ones before have stored.
    fn process(stored: &Stored) -> Carried {
        let into = stored.clone();
        let keep = move |bytes: &[u8]| *into.borrow_mut() = Some(bytes.to_vec());
        let store = ResidualStore::new(stored.borrow().as_deref(), keep).unwrap();
        Carried { store }
    }

    #[test]
    fn an_update_counts_from_its_last_bytes_on_unless_it_is_turned_down() {
        let topk = codec("topk");
        // What happens in round 2 before the process ends, the next round, and true if the
        // next process has to go on as if round 2 had the update.
        type Act = fn(&mut Carried);
        let turned_down = |f: &mut Carried| {
            drop(f.leaves(id(2, 0)));
            judged(f, id(2, 0), UpdateVerdict::Rejected(UpdateFault::OutOfRange));
        };
        let came_twice = |f: &mut Carried| {
            drop(f.leaves(id(2, 0)));
            judged(f, id(2, 0), UpdateVerdict::Rejected(UpdateFault::Duplicate));
        };
        let was_abandoned = |f: &mut Carried| {
            drop(f.leaves(id(2, 0)));
            sent(f, &codec("topk"), id(2, 1), update(2));
        };
        let cases: [(Act, RoundId, bool); 6] = [
            (|_| (), id(3, 0), false),
            (|f| drop(f.leaves(id(2, 0))), id(3, 0), true),
            (|f| drop(f.leaves(id(2, 0))), id(2, 1), false),
            (turned_down, id(3, 0), false),
            (came_twice, id(3, 0), true),
            (was_abandoned, id(3, 0), false),
        ];
        for (number, (act, next, counts)) in cases.into_iter().enumerate() {
            let began = |stored: &Stored| {
                let mut first = process(stored);
                sent(&mut first, &topk, id(1, 0), update(1));
                judged(&mut first, id(1, 0), UpdateVerdict::Accepted);
                first
            };
            let mut whole = began(&Stored::default());
            if counts {
                sent(&mut whole, &topk, id(2, 0), update(2));
                judged(&mut whole, id(2, 0), UpdateVerdict::Accepted);
            }
            let expected = sent(&mut whole, &topk, next, update(3));
            let stored = Stored::default();
            let mut ended = began(&stored);
            sent(&mut ended, &topk, id(2, 0), update(2));
            act(&mut ended);
            let found = sent(&mut process(&stored), &topk, next, update(3));
            assert_eq!(found, expected, "{number}");
        }
    }

    #[test]
    fn a_new_process_goes_on_where_the_last_one_was() {
        let (codec, stored) = (codec("topk"), Stored::default());
        let mut one = Carried::default();
        // The second attempt at round 2 has had nothing of the first, which was accepted.
        for (round, attempt, verdict) in [
            (1, 0, UpdateVerdict::Accepted),
            (2, 0, UpdateVerdict::Accepted),
            (2, 1, UpdateVerdict::Accepted),
            (3, 0, UpdateVerdict::Rejected(UpdateFault::OutOfRange)),
            (4, 0, UpdateVerdict::Accepted),
        ] {
            let round = id(round, attempt);
            let mut next = process(&stored);
            let expected = sent(&mut one, &codec, round, update(round.round));
            assert_eq!(sent(&mut next, &codec, round, update(round.round)), expected, "{round:?}");
            for feedback in [&mut one, &mut next] {
                judged(feedback, round, verdict);
            }
        }
        assert_eq!(kept(&mut process(&stored)), kept(&mut one));
    }
}
