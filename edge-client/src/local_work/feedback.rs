//! Error feedback: the part of a client's updates that a sparse codec has not sent, which is
//! added to its next update (Stich et al. 2018). No I/O of its own; what is kept never leaves the device.
//!
//! An update is sent once the server has accepted it and gone on to a later round. Where
//! that round is abandoned, or the update is turned down, its part is as if it had never
//! been made: what was kept before it stays.

use std::mem;

use bytes::Bytes;
use fedra_aggregation::codec::{Codec, ValueCodec};
use fedra_protocol::{RoundId, UpdateOutcome, UpdateRange, UpdateVerdict};

use super::{LocalWork, WorkError, random_seed};
use crate::residual::{Latest, Residual, ResidualStore};

/// Adds what was not sent to later updates.
#[derive(Debug, Default)]
pub struct ErrorFeedback {
    store: ResidualStore,
}

impl LocalWork {
    /// Keeps what sparse codecs have not sent in this store.
    pub fn with_residual(mut self, store: ResidualStore) -> Self {
        self.feedback.get_mut().store = store;
        self
    }

    /// The update as it leaves, with what a sparse codec has not sent of earlier ones.
    pub(super) fn encode(
        &self,
        round: RoundId,
        codec: &Codec,
        values: Vec<f32>,
        range: UpdateRange,
    ) -> Result<Bytes, WorkError> {
        let (form, seed) = (codec.values()?, random_seed()?);
        Ok(Bytes::from(match codec.name().is_sparse() {
            true => self.feedback.borrow_mut().encode(round, values, range, form, &seed),
            false => form.encode(&values, &seed),
        }))
    }

    /// Takes note of the server's verdict on an update.
    pub fn judged(&self, outcome: &UpdateOutcome) {
        self.feedback.borrow_mut().judged(outcome);
    }
}

impl ErrorFeedback {
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
        let Residual { kept, latest } = &mut self.store.residual;
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
        *latest = Some(Latest { round, accepted: false, rest: update });
        bytes
    }

    /// Takes note of the server's verdict on an update.
    pub fn judged(&mut self, outcome: &UpdateOutcome) {
        let accepted = outcome.verdict == UpdateVerdict::Accepted;
        let latest = self.store.residual.latest.as_mut();
        if let Some(latest) = latest.filter(|latest| latest.round == outcome.round)
            && latest.accepted != accepted
        {
            latest.accepted = accepted;
            self.store.keep();
        }
    }

    /// Finds out what became of the newest update, now that the server is at `next`: a
    /// later attempt at the same round has not had it.
    fn settle(&mut self, next: RoundId) {
        if let Some(latest) = self.store.residual.latest.take()
            && latest.accepted
        {
            if next.round > latest.round.round {
                self.store.residual.kept = latest.rest;
            }
            self.store.keep();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use fedra_aggregation::{CheckedUpdate, UpdateShape};
    use fedra_protocol::{CodecName, SentShare, UpdateFault};

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
    fn sent(
        feedback: &mut ErrorFeedback,
        codec: &Codec,
        round: RoundId,
        update: Vec<f32>,
    ) -> Vec<f32> {
        let form = codec.values().unwrap();
        let bytes = feedback.encode(round, update, range(), form, &[0; 32]);
        CheckedUpdate::parse(bytes.into(), codec).unwrap().to_vec().unwrap()
    }

    fn judged(feedback: &mut ErrorFeedback, round: RoundId, verdict: UpdateVerdict) {
        feedback.judged(&UpdateOutcome { round, verdict, message: String::new() });
    }

    fn kept(feedback: &mut ErrorFeedback) -> Vec<f32> {
        feedback.settle(id(u64::MAX, 0));
        feedback.store.residual.kept.clone()
    }

    #[test]
    fn sent_and_kept_are_the_sum_of_the_updates() {
        for name in ["topk", "stc"] {
            let (codec, mut feedback) = (codec(name), ErrorFeedback::default());
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
        let (codec, mut feedback) = (codec("topk"), ErrorFeedback::default());
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
        let (codec, mut feedback) = (codec("topk"), ErrorFeedback::default());
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
        let (codec, mut feedback) = (codec("topk"), ErrorFeedback::default());
        feedback.store.residual.kept = vec![1.0; LEN + 1];
        let values = sent(&mut feedback, &codec, id(1, 0), vec![0.0; LEN]);
        assert_eq!(values, vec![0.0; LEN]);
    }

    #[test]
    fn a_new_process_goes_on_where_the_last_one_was() {
        let codec = codec("topk");
        let stored: Rc<RefCell<Option<Vec<u8>>>> = Rc::default();
        let process = || {
            let into = stored.clone();
            let keep = move |bytes: &[u8]| *into.borrow_mut() = Some(bytes.to_vec());
            let store = ResidualStore::new(stored.borrow().as_deref(), keep).unwrap();
            ErrorFeedback { store }
        };
        let mut one = ErrorFeedback::default();
        // The second attempt at round 2 has had nothing of the first, which was accepted.
        for (round, attempt, verdict) in [
            (1, 0, UpdateVerdict::Accepted),
            (2, 0, UpdateVerdict::Accepted),
            (2, 1, UpdateVerdict::Accepted),
            (3, 0, UpdateVerdict::Rejected(UpdateFault::OutOfRange)),
            (4, 0, UpdateVerdict::Accepted),
        ] {
            let round = id(round, attempt);
            let mut next = process();
            let expected = sent(&mut one, &codec, round, update(round.round));
            assert_eq!(sent(&mut next, &codec, round, update(round.round)), expected, "{round:?}");
            for feedback in [&mut one, &mut next] {
                judged(feedback, round, verdict);
            }
        }
        assert_eq!(kept(&mut process()), kept(&mut one));
    }
}
