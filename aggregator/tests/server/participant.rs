//! Participant of a private task with real keys and real noise, which plays its part in
//! secure aggregation step by step.

use differential_privacy::ClippingNorm;
use fedra_privacy_policy::DerivedPolicy;
use fedra_protocol::{
    AdvertisedKeys, ClientMessage, EncryptedShare, KeyDirectory, MaskedInputRequest, MaskingGroup,
    RevealedShare, RoundAssignment, RoundId, RoundPrivacy, ServerMessage, SubjectId,
    TaskDescription, UnmaskingRequest, UpdateVerdict,
};
use fedra_secure_aggregation::client::{self, Masked, SharedKeys};
use fedra_secure_aggregation::{self as secagg, PublicKeys, pack};

use super::support::{PARAMETERS, TestClient, TestServer};

pub(super) fn subject(number: u8) -> SubjectId {
    SubjectId::from_bytes([number; 16])
}

/// A client that plays its part in secure aggregation step by step.
pub(super) struct Participant {
    pub(super) client: TestClient,
    pub(super) task: TaskDescription,
    pub(super) privacy: DerivedPolicy,
    pub(super) round: Option<RoundAssignment>,
    /// Its masking group, in buffered rounds.
    pub(super) group: Option<MaskingGroup>,
}

impl Participant {
    pub(super) async fn join(server: &TestServer, number: u8) -> Self {
        let mut client = server.client().await;
        let checked_in = client.check_in_as("tiny", Some(subject(number))).await;
        let task = checked_in.task;
        let policy = task.privacy.clone().expect("a private task");
        let privacy = DerivedPolicy::new(policy, PARAMETERS).expect("a sound policy");
        Self { client, task, privacy, round: None, group: None }
    }

    pub(super) async fn join_all(server: &TestServer, count: u8) -> Vec<Self> {
        let mut all = Vec::new();
        for number in 0..count {
            all.push(Self::join(server, number).await);
        }
        all
    }

    pub(super) fn round(&self) -> RoundId {
        self.round.as_ref().expect("invited").round
    }

    pub(super) async fn invited(&mut self) -> RoundId {
        self.round = Some(self.client.assignment().await);
        self.round()
    }

    pub(super) async fn advertise(&mut self) -> client::AdvertisedKeys {
        let round = self.invited().await;
        let (state, keys) = client::AdvertisedKeys::generate(&mut rand::rng());
        let PublicKeys { encryption, masking } = keys;
        let keys = AdvertisedKeys { encryption, masking };
        self.client.send(ClientMessage::AdvertiseKeys { round, keys }).await;
        state
    }

    pub(super) async fn share(&mut self, state: client::AdvertisedKeys) -> SharedKeys {
        let directory = self.directory().await;
        self.group = directory.group;
        let (round, numbers, _) = self.numbers();
        let terms = self.privacy.secure_terms(&self.task.id, round, &numbers).expect("sound");
        let round = directory.round;
        let shared = state.share(&terms, &domain(&directory), &mut rand::rng());
        let (state, shares) = shared.expect("an honest directory");
        let shares = shares
            .into_iter()
            .map(|s| EncryptedShare { peer: s.peer, ciphertext: s.ciphertext })
            .collect();
        self.client.send(ClientMessage::ShareKeys { round, shares }).await;
        state
    }

    pub(super) async fn directory(&mut self) -> KeyDirectory {
        self.client
            .find(|message| match message {
                ServerMessage::KeyDirectory(directory) => Some(directory),
                _ => None,
            })
            .await
    }

    pub(super) fn encode(&self, values: &[f32]) -> Vec<u32> {
        let (_, numbers, weight) = self.numbers();
        let clip = ClippingNorm::new(numbers.clipping_norm).expect("positive");
        let encoding = self.privacy.encoding().expect("an encoding");
        let rng = &mut rand::rng();
        encoding.encode_weighted(values, weight, clip, &numbers.rotation, rng).expect("encodes")
    }

    /// Round of the sum, its numbers, and the factor on the update.
    fn numbers(&self) -> (RoundId, RoundPrivacy, f64) {
        match self.group {
            Some(MaskingGroup { round, privacy, weight }) => (round, privacy, weight),
            None => {
                let privacy = self.round.as_ref().and_then(|r| r.privacy);
                (self.round(), privacy.expect("a private round"), 1.0)
            }
        }
    }

    pub(super) async fn mask(&mut self, state: SharedKeys, values: &[f32]) -> Masked {
        let request = self.mask_request().await;
        let shares: Vec<_> = request
            .shares
            .into_iter()
            .map(|s| secagg::EncryptedShare { peer: s.peer, ciphertext: s.ciphertext })
            .collect();
        let (state, masked) = state.mask(&shares, self.encode(values)).expect("masks");
        self.upload(&masked, UpdateVerdict::Accepted).await;
        state
    }

    pub(super) async fn mask_request(&mut self) -> MaskedInputRequest {
        self.client
            .find(|message| match message {
                ServerMessage::MaskedInputRequest(request) => Some(request),
                _ => None,
            })
            .await
    }

    pub(super) async fn upload(&mut self, words: &[u32], verdict: UpdateVerdict) {
        let bits = self.privacy.encoding().expect("an encoding").bits();
        let packed = bytes::Bytes::from(pack(words, bits));
        let round = self.round();
        self.client.announce(round, &packed, 1).await;
        self.client.chunk(round, 0, packed).await;
        assert_eq!(self.client.outcome().await.verdict, verdict);
    }

    pub(super) async fn unmask(&mut self, state: Masked) {
        let request = self.unmask_request().await;
        let answer = state.unmask(&request.survivors).expect("unmasks");
        let shares = |shares: Vec<(u32, secagg::Share)>| {
            let share = |(peer, share): (u32, secagg::Share)| RevealedShare {
                peer,
                share: share.to_bytes(),
            };
            shares.into_iter().map(share).collect()
        };
        let (self_masks, pairwise) = (shares(answer.self_masks), shares(answer.pairwise));
        let round = request.round;
        self.client.send(ClientMessage::UnmaskingShares { round, self_masks, pairwise }).await;
    }

    pub(super) async fn unmask_request(&mut self) -> UnmaskingRequest {
        self.client
            .find(|message| match message {
                ServerMessage::UnmaskingRequest(request) => Some(request),
                _ => None,
            })
            .await
    }
}

pub(super) fn domain(directory: &KeyDirectory) -> secagg::KeyDirectory {
    let neighbours = directory.neighbours.iter().map(|neighbour| {
        let AdvertisedKeys { encryption, masking } = neighbour.keys;
        (neighbour.index, PublicKeys { encryption, masking })
    });
    secagg::KeyDirectory {
        own: directory.own,
        cohort: directory.cohort,
        threshold: directory.threshold,
        neighbours: neighbours.collect(),
    }
}
