//! Cost of protecting one update for a client on this machine, for
//! `cargo xtask bench privacy`: the real encoding and the real secure aggregation, with
//! the client's neighbours but without a server.
//!
//! A measurement: seeds are fixed, and nothing of it may be sent.

use std::hint::black_box;
use std::time::Duration;

use differential_privacy::distributed::EncodeError;
use differential_privacy::{ClippingNorm, QuantityError};
use fedra_keystream::KeystreamRng;
use fedra_privacy_policy::{DerivedPolicy, PrivacyError};
use fedra_protocol::{IdError, Mechanism, PrivacyPolicy, RoundId, RoundPrivacy, TaskId};
use fedra_secure_aggregation::client::{AdvertisedKeys, ClientError, SharedKeys};
use fedra_secure_aggregation::{
    Assumptions, EncryptedShare, Graph, GraphError, Index, KeyDirectory, PublicKeys, Terms,
    bare_keystream, pack,
};
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use crate::platform;

/// Runs after the first. The fastest counts, because the machine may have other things
/// to do, and a browser compiles what is slow.
const REPEATS: usize = 4;

/// Reason why a cohort cannot be measured: no policy or no graph has these numbers.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The made-up task's id is not valid.
    #[error(transparent)]
    Task(#[from] IdError),
    /// No policy has these numbers.
    #[error(transparent)]
    Policy(#[from] PrivacyError),
    /// The policy leaves updates as they are.
    #[error("the policy has no encoding")]
    NoEncoding,
    /// No graph has so many clients.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The clipping norm is not valid.
    #[error(transparent)]
    ClippingNorm(#[from] QuantityError),
    /// The update does not fit the encoding.
    #[error(transparent)]
    Update(#[from] EncodeError),
    /// A client refuses a step.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Seconds of a client's steps in a round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Steps {
    /// Clip, rotate, round, add the share of the noise.
    pub encode_seconds: f64,
    /// Draw keys, agree on others with every neighbour, share the secrets.
    pub share_seconds: f64,
    /// Open the neighbours' shares, add all masks.
    pub mask_seconds: f64,
    /// Pack for the wire.
    pub pack_seconds: f64,
}

/// Result of the measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Values of an encoded update.
    pub values: usize,
    /// Bits of a value.
    pub bits: u32,
    /// Clients that it masks with.
    pub neighbours: u32,
    /// Steps of a client that has never done it before.
    pub first: Steps,
    /// The least of each.
    pub best: Steps,
    /// A bare ChaCha20 keystream, 10^9 bytes a second.
    pub chacha20_gb_per_second: f64,
    /// Adding one vector of 32-bit words to another, 10^9 bytes a second of one
    /// of them.
    pub plain_add_gb_per_second: f64,
}

/// Protects an update of `parameters` values in a cohort of `clients` a few
/// times.
///
/// # Errors
///
/// [`BenchError`] if no policy or no graph has these numbers.
pub fn measure(parameters: usize, clients: u32) -> Result<Measured, BenchError> {
    let round = Round::new(parameters, clients)?;
    let update: Vec<f32> = (0..parameters).map(|i| (i % 1009) as f32 - 504.0).collect();
    let mut rng = KeystreamRng::from_seed([1; 32]);
    let first = round.steps(&update, &mut rng)?;
    let mut best = first;
    for _ in 0..REPEATS {
        let next = round.steps(&update, &mut rng)?;
        best = Steps {
            encode_seconds: best.encode_seconds.min(next.encode_seconds),
            share_seconds: best.share_seconds.min(next.share_seconds),
            mask_seconds: best.mask_seconds.min(next.mask_seconds),
            pack_seconds: best.pack_seconds.min(next.pack_seconds),
        };
    }
    let values = round.terms.words();
    let gigabytes = 4e-9 * values as f64;
    Ok(Measured {
        values,
        bits: round.terms.bits(),
        neighbours: round.graph.degree(),
        first,
        best,
        chacha20_gb_per_second: gigabytes / fastest(|| bare_keystream(4 * values)),
        plain_add_gb_per_second: gigabytes / addition(values),
    })
}

/// One round of a made-up task.
struct Round {
    privacy: DerivedPolicy,
    terms: Terms,
    graph: Graph,
    numbers: RoundPrivacy,
}

impl Round {
    fn new(parameters: usize, clients: u32) -> Result<Self, BenchError> {
        let policy = PrivacyPolicy {
            mechanism: Mechanism::Distributed,
            noise_multiplier: 1.0,
            clipping_norm: 1.0,
            target_quantile: Some(0.5),
            epsilon: 100.0,
            delta: 1e-5,
            cohort: clients,
            minimum_survivors: clients,
            colluders: 0,
            max_participations: 1,
        };
        let privacy = DerivedPolicy::new(policy, parameters)?;
        let numbers = RoundPrivacy { clipping_norm: 1.0, rotation: [7; 32] };
        let (task, id) = (TaskId::new("bench")?, RoundId { round: 1, attempt: 0 });
        let terms = privacy.secure_terms(&task, id, &numbers)?;
        let graph = Graph::for_cohort(clients, Assumptions::default())?;
        Ok(Self { privacy, terms, graph, numbers })
    }

    /// Client 0 does its part once; the others' parts are not timed.
    fn steps(&self, update: &[f32], rng: &mut KeystreamRng) -> Result<Steps, BenchError> {
        let encoding = self.privacy.encoding().ok_or(BenchError::NoEncoding)?;
        let clip = ClippingNorm::new(self.numbers.clipping_norm)?;
        let (encode, encoded) =
            timed(|| encoding.encode(update, clip, &self.numbers.rotation, rng));
        let encoded = encoded?;

        let (keys, own) = timed(|| AdvertisedKeys::generate(rng));
        let cohort = Cohort::new(self, own.1, rng);
        let directory = cohort.directory(0);
        let (share, shared) = timed(|| own.0.share(&self.terms, &directory, rng));
        let (client, _): (SharedKeys, _) = shared?;

        let mail = cohort.shares_for_the_first(rng)?;
        let (mask, masked) = timed(|| client.mask(&mail, encoded));
        let (_, masked) = masked?;
        let (packing, packed) = timed(|| pack(&masked, self.terms.bits()));
        black_box(packed);
        Ok(Steps {
            encode_seconds: encode,
            share_seconds: keys + share,
            mask_seconds: mask,
            pack_seconds: packing,
        })
    }
}

/// Keys of all clients; client 0 is the one that is measured.
struct Cohort<'a> {
    terms: Terms,
    graph: &'a Graph,
    keys: Vec<PublicKeys>,
    /// The neighbours of client 0.
    neighbours: Vec<(Index, AdvertisedKeys)>,
}

impl<'a> Cohort<'a> {
    fn new(round: &'a Round, own: PublicKeys, rng: &mut KeystreamRng) -> Self {
        let (mut keys, mut neighbours) = (vec![own], Vec::new());
        let near = round.graph.neighbours(0);
        for index in 1..round.graph.cohort() {
            let (client, public) = AdvertisedKeys::generate(rng);
            keys.push(public);
            if near.binary_search(&index).is_ok() {
                neighbours.push((index, client));
            }
        }
        Self { terms: round.terms, graph: &round.graph, keys, neighbours }
    }

    fn directory(&self, own: Index) -> KeyDirectory {
        let neighbours = self.graph.neighbours(own).into_iter();
        KeyDirectory {
            own,
            cohort: self.graph.cohort(),
            threshold: self.graph.threshold(),
            neighbours: neighbours.map(|peer| (peer, self.keys[peer as usize])).collect(),
        }
    }

    fn shares_for_the_first(
        self,
        rng: &mut KeystreamRng,
    ) -> Result<Vec<EncryptedShare>, BenchError> {
        let directories: Vec<_> =
            self.neighbours.iter().map(|(index, _)| self.directory(*index)).collect();
        let mut mail = Vec::new();
        for ((index, client), directory) in self.neighbours.into_iter().zip(directories) {
            let (_, shares) = client.share(&self.terms, &directory, rng)?;
            let for_the_first = shares.into_iter().filter(|share| share.peer == 0);
            mail.extend(for_the_first.map(|share| EncryptedShare { peer: index, ..share }));
        }
        Ok(mail)
    }
}

fn addition(values: usize) -> f64 {
    let (mut sum, vector) = (vec![0_u32; values], vec![1_u32; values]);
    fastest(|| {
        for (sum, value) in black_box(&mut sum).iter_mut().zip(black_box(&vector)) {
            *sum = sum.wrapping_add(*value);
        }
    })
}

fn fastest(mut work: impl FnMut()) -> f64 {
    (0..=REPEATS).map(|_| timed(&mut work).0).fold(f64::MAX, f64::min)
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = platform::now();
    let result = work();
    (platform::now().saturating_sub(started).max(TICK).as_secs_f64(), result)
}

/// Browsers round their clock to this: nothing takes less.
const TICK: Duration = Duration::from_micros(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_cohort_goes_through_every_step() {
        let measured = measure(1000, 5).unwrap();
        assert_eq!((measured.values, measured.neighbours), (1025, 4));
        let Steps { encode_seconds, share_seconds, mask_seconds, pack_seconds } = measured.best;
        for seconds in [encode_seconds, share_seconds, mask_seconds, pack_seconds] {
            assert!(seconds > 0.0 && seconds.is_finite());
        }
        assert!(measured.best.encode_seconds <= measured.first.encode_seconds);
    }

    #[test]
    fn a_cohort_that_is_no_cohort_is_an_error() {
        assert!(measure(0, 100).is_err());
        assert!(measure(1000, 2).is_err());
    }
}
