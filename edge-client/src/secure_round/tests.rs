//! A round of five real clients against the real server machine, wire types in
//! between, and what a client refuses.

use std::num::NonZeroUsize;
use std::sync::Arc;

use differential_privacy::ClippingNorm;
use fedra_aggregation::codec::{Packed, UpdateCodec};
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::limits::MAX_UPDATE_RANGE;
use fedra_protocol::{
    KeyDirectory, MaskingGroup, Mechanism, Neighbour, PrivacyPolicy, RoundId, RoundPrivacy, TaskId,
    UpdateRange,
};
use fedra_secure_aggregation::{Assumptions, server};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::encoding::acceptable;

const PARAMETERS: usize = 20;
const CLIENTS: usize = 5;
const TERMS: RoundPrivacy = RoundPrivacy { clipping_norm: 2.0, rotation: [5; 32] };

fn privacy(mechanism: Mechanism) -> DerivedPolicy {
    let policy = PrivacyPolicy {
        mechanism,
        noise_multiplier: 0.1,
        clipping_norm: 1.0,
        target_quantile: None,
        epsilon: 1e4,
        delta: 1e-5,
        cohort: CLIENTS as u32,
        minimum_survivors: 3,
        colluders: 0,
        max_participations: 1,
    };
    DerivedPolicy::new(policy, PARAMETERS).unwrap()
}

fn task() -> TaskId {
    TaskId::new("digits").unwrap()
}

const ROUND: RoundId = RoundId { round: 3, attempt: 1 };

fn round(privacy: &DerivedPolicy, terms: RoundPrivacy) -> PrivateRound {
    let privacy = Arc::new(privacy.clone());
    PrivateRound { task: task(), round: ROUND, privacy, terms, weight: 1.0 }
}

/// Within the clipping norm, and different for each client.
fn update(client: usize) -> Vec<f32> {
    (0..PARAMETERS).map(|i| if i == client { 1.5 } else { -0.1 }).collect()
}

/// Five clients that have advertised, and the server.
struct Cohort {
    clients: Vec<SecureRound>,
    directories: Vec<KeyDirectory>,
    sharing: server::Sharing,
    rng: ChaCha20Rng,
}

impl Cohort {
    fn new(privacy: &DerivedPolicy) -> Self {
        Self::told(privacy, |_| TERMS)
    }

    /// The clients are told these terms.
    fn told(privacy: &DerivedPolicy, terms: impl Fn(usize) -> RoundPrivacy) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        let secure = privacy.secure_terms(&task(), ROUND, &TERMS).unwrap();
        let mut server = server::Advertising::new(secure, Assumptions::default(), CLIENTS as u32);
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let round = round(privacy, terms(client));
            let (state, reply) = SecureRound::begin(round, update(client), &mut rng);
            let SecureReply::Keys(AdvertisedKeys { encryption, masking }) = reply else {
                panic!("{reply:?}");
            };
            server.add(secagg::PublicKeys { encryption, masking }).unwrap();
            clients.push(state);
        }
        let (sharing, directories) = server.close(&mut rng).unwrap();
        let directories = directories.iter().map(|d| on_the_wire(d, ROUND)).collect();
        Self { clients, directories, sharing, rng }
    }

    /// Shares of all clients, handed on by the server, in the clients' order.
    fn share(mut self) -> (Vec<SecureRound>, Vec<Vec<EncryptedShare>>, server::Collecting) {
        let mut states = Vec::new();
        for (state, directory) in self.clients.into_iter().zip(&self.directories) {
            let request = SecureRequest::Share(directory.clone());
            let (state, reply) = state.step(request, &mut self.rng).unwrap();
            let SecureReply::Shares(shares) = reply else { panic!("{reply:?}") };
            let shares = shares.into_iter().map(from_wire).collect();
            self.sharing.add(directory.own, shares).unwrap();
            states.push(state.expect("there are more steps"));
        }
        let (collecting, deliveries) = self.sharing.close().unwrap();
        let delivered = |own: u32| {
            let (_, shares) = deliveries.iter().find(|(index, _)| *index == own).unwrap();
            shares.iter().cloned().map(to_wire).collect()
        };
        let deliveries = self.directories.iter().map(|d| delivered(d.own)).collect();
        (states, deliveries, collecting)
    }
}

fn on_the_wire(directory: &secagg::KeyDirectory, round: RoundId) -> KeyDirectory {
    let neighbour = |(index, keys): &(u32, secagg::PublicKeys)| Neighbour {
        index: *index,
        keys: AdvertisedKeys { encryption: keys.encryption, masking: keys.masking },
    };
    KeyDirectory {
        round,
        own: directory.own,
        cohort: directory.cohort,
        threshold: directory.threshold,
        neighbours: directory.neighbours.iter().map(neighbour).collect(),
        deadline: std::time::Duration::from_secs(5),
        group: None,
    }
}

fn shares((peer, share): (u32, [u8; 32])) -> (u32, Share) {
    (peer, Share::from_bytes(share).expect("a share"))
}

/// The mean that the server gets if the first client drops out before its masked update.
fn mean_of_four(privacy: &DerivedPolicy, cohort: Cohort) -> Vec<f32> {
    let places: Vec<u32> = cohort.directories.iter().map(|directory| directory.own).collect();
    let mut rng = cohort.rng.clone();
    let (states, deliveries, mut collecting) = cohort.share();
    let mut masked = Vec::new();
    // The first one drops out before its masked update.
    for ((state, received), place) in states.into_iter().zip(deliveries).zip(places).skip(1) {
        let (state, reply) = state.step(SecureRequest::Mask(received), &mut rng).unwrap();
        let SecureReply::Masked(bytes) = reply else { panic!("{reply:?}") };
        let encoding = privacy.encoding().unwrap();
        let codec = Packed::new(encoding.len(), encoding.bits());
        assert_eq!(codec.check(&bytes), Ok(()));
        collecting.add_packed(place, &bytes).unwrap();
        masked.push((state.expect("one more step"), place));
    }
    let (mut unmasking, survivors) = collecting.close().unwrap();
    for (state, place) in masked {
        let request = SecureRequest::Unmask(survivors.clone());
        let (state, reply) = state.step(request, &mut rng).unwrap();
        assert!(state.is_none(), "that was the last step");
        let SecureReply::Unmasking { self_masks, pairwise } = reply else { panic!("{reply:?}") };
        assert_eq!((self_masks.len(), pairwise.len()), (3, 1), "one kind for each neighbour");
        let own = |share: RevealedShare| shares((share.peer, share.share));
        let self_masks = self_masks.into_iter().map(own).collect();
        let pairwise = pairwise.into_iter().map(own).collect();
        unmasking.add(place, secagg::UnmaskingShares { self_masks, pairwise }).unwrap();
    }
    let sum = unmasking.close(NonZeroUsize::MIN).unwrap();
    assert_eq!(sum.survivors, 4);

    let encoding = privacy.encoding().unwrap();
    let clip = ClippingNorm::new(TERMS.clipping_norm).unwrap();
    encoding.decode(&sum.sum, 4, clip, &TERMS.rotation).unwrap().mean
}

/// Checks a mean of the updates of all clients but the first, with these weights.
fn assert_is_mean(privacy: &DerivedPolicy, decoded: &[f32], weight: impl Fn(usize) -> f64) {
    let clip = ClippingNorm::new(TERMS.clipping_norm).unwrap();
    let noise = privacy.encoding().unwrap().mean_noise(4, clip).value();
    for (i, value) in decoded.iter().enumerate() {
        let weighted = |client: usize| weight(client) * f64::from(update(client)[i]);
        let mean = (1..CLIENTS).map(weighted).sum::<f64>() / 4.0;
        let error = (f64::from(*value) - mean).abs();
        assert!(error < 6.0 * noise, "{i}: {value} for {mean}, noise {noise}");
    }
    assert!(noise < 0.1, "or the comparison would say nothing: {noise}");
}

#[test]
fn the_server_gets_the_mean_of_the_survivors_and_the_noise_of_all_of_them() {
    let privacy = privacy(Mechanism::Distributed);
    let mean = mean_of_four(&privacy, Cohort::new(&privacy));
    assert_is_mean(&privacy, &mean, |_| 1.0);
}

/// The clients were invited with other numbers, to which their sum does not belong.
#[test]
fn a_group_encodes_for_its_own_round_and_a_stale_update_weighs_less() {
    let privacy = privacy(Mechanism::Distributed);
    let told = RoundPrivacy { clipping_norm: 0.5, rotation: [9; 32] };
    let mut cohort = Cohort::told(&privacy, |_| told);
    let weight = |client: usize| 1.0 / client.max(1) as f64;
    for (client, directory) in cohort.directories.iter_mut().enumerate() {
        let weight = weight(client);
        directory.group = Some(MaskingGroup { round: ROUND, privacy: TERMS, weight });
        directory.round = RoundId { round: 1, attempt: 0 };
    }
    let mean = mean_of_four(&privacy, cohort);
    assert_is_mean(&privacy, &mean, weight);
}

#[test]
fn a_step_out_of_turn_is_refused_and_ends_the_round() {
    let privacy = privacy(Mechanism::Distributed);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let unmask = SecureRequest::Unmask(vec![0, 1, 2]);
    let mask = SecureRequest::Mask(Vec::new());
    for request in [unmask.clone(), mask] {
        let state = Cohort::new(&privacy).clients.pop().unwrap();
        assert!(state.step(request, &mut rng).is_err());
    }
    let (mut states, ..) = Cohort::new(&privacy).share();
    assert!(states.pop().unwrap().step(unmask, &mut rng).is_err());
}

#[test]
fn a_share_that_was_tampered_with_is_refused_with_its_senders_place() {
    let privacy = privacy(Mechanism::Distributed);
    let (states, mut deliveries, _) = Cohort::new(&privacy).share();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let share = &mut deliveries[0][2];
    let sender = share.peer;
    share.ciphertext[7] ^= 1;
    let state = states.into_iter().next().unwrap();
    let request = SecureRequest::Mask(deliveries.swap_remove(0));
    let error = state.step(request, &mut rng).err().expect("it is refused");
    assert!(error.to_string().contains(&format!("client {sender} ")), "{error}");
}

#[test]
fn clients_that_were_told_different_things_mask_nothing() {
    let privacy = privacy(Mechanism::Distributed);
    let others =
        [RoundPrivacy { rotation: [6; 32], ..TERMS }, RoundPrivacy { clipping_norm: 2.5, ..TERMS }];
    for other in others {
        let cohort = Cohort::told(&privacy, |client| if client == 0 { other } else { TERMS });
        let (states, deliveries, _) = cohort.share();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for (state, received) in states.into_iter().zip(deliveries) {
            assert!(state.step(SecureRequest::Mask(received), &mut rng).is_err());
        }
    }
}

#[test]
fn a_local_update_has_all_of_its_noise_and_never_the_same() {
    let privacy = privacy(Mechanism::Local);
    let round = round(&privacy, TERMS);
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let (first, second) = [(); 2].map(|()| round.noised(&update(0), &mut rng).unwrap()).into();
    assert_ne!(first, second);
    let encoding = privacy.encoding().unwrap();
    let words = secagg::unpack(&first, encoding.len(), encoding.bits()).unwrap();
    let clip = ClippingNorm::new(TERMS.clipping_norm).unwrap();
    let decoded = encoding.decode(&words, 1, clip, &TERMS.rotation).unwrap();
    let noise = encoding.mean_noise(1, clip).value();
    for (value, own) in decoded.mean.iter().zip(update(0)) {
        assert!(f64::from((value - own).abs()) < 6.0 * noise, "{value} for {own}, {noise}");
    }
    // z = 0.1: a tenth of the clipping norm, or a little more for the rounding.
    assert!((0.2..0.3).contains(&noise), "{noise}");
}

#[test]
fn a_central_update_is_one_that_no_server_turns_down() {
    for range in [1, 1 << 6, 1 << 20, MAX_UPDATE_RANGE] {
        let range = UpdateRange::new(range).unwrap();
        let most = range.magnitude();
        let within = vec![0.25, -most / 2.0, 0.0];
        assert_eq!(acceptable(within.clone(), range), within, "as it is");
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(acceptable(vec![1.0, bad], range), [0.0; 2]);
        }
        // Their squares are too large for an f32.
        let scaled = acceptable(vec![3e38, 0.0, -4e37], range);
        assert!((scaled[0] / scaled[2] + 7.5).abs() < 1e-5, "the direction stays: {scaled:?}");
        assert!((scaled[0].hypot(scaled[2]) / most - 1.0).abs() < 2e-6, "{scaled:?}");
        for largest in [f32::MAX, f32::MIN, most.next_up()] {
            assert_eq!(acceptable(vec![largest], range), [most.copysign(largest)]);
        }
    }
}
