//! Sum of masked updates: the server's side of secure aggregation for one attempt at a
//! round. Seats, requests and faults, between the clients of a round and the positions of
//! the protocol's machine.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use fedra_protocol::{
    AdvertisedKeys, EncryptedShare, KeyDirectory, MaskedInputRequest, Neighbour, RevealedShare,
    RoundId, UnmaskingRequest,
};
use fedra_secure_aggregation::server::{Abandoned, Advertising, Collecting, Sharing, Unmasking};
use fedra_secure_aggregation::{
    self as secagg, Adversary, Assumptions, Graph, Index, PublicKeys, Share, Terms, UnmaskingShares,
};
use rand::CryptoRng;

use super::packed::Decoding;
use super::{
    AccumulatorBounds, Answer, AnswerError, ContributionError, Contributor, FinishError, Mean,
    Request, Requests, RoundAccumulator, SecureError, Weight, WrongShare,
};
use crate::update::CheckedUpdate;

/// Threads that take masks off.
const THREADS: NonZeroUsize = NonZeroUsize::new(4).expect("4 is not 0");

/// Bytes that a share of a secret takes at most: encrypted, on its way from one client to
/// another, then revealed.
const SHARE: u64 = 256;

/// Mean of masked updates, of which the server sees only the sum. Every update weighs the
/// same.
#[derive(Debug)]
pub struct Masked {
    round: RoundId,
    decoding: Decoding,
    assumptions: Assumptions,
    cohort: u32,
    step: Step,
    /// Clients in the order in which they advertised keys, then by position.
    seats: Vec<Contributor>,
    positions: HashMap<Contributor, Index>,
}

#[derive(Debug)]
enum Step {
    Advertising(Advertising),
    Sharing(Sharing),
    Collecting(Box<Collecting>),
    Unmasking(Box<Unmasking>),
    /// It failed, or is being worked on.
    Over,
}

impl Masked {
    /// A cohort of at most `cohort` of which at least the terms' minimum is
    /// expected to stay.
    #[must_use]
    pub fn new(round: RoundId, terms: Terms, cohort: u32, decoding: Decoding) -> Self {
        let stay = 100 * u64::from(terms.minimum_survivors()) / u64::from(cohort.max(1));
        let dropout_percent = (100 - stay.min(100) as u32).clamp(10, 40);
        let assumptions = Assumptions { adversary: Adversary::SemiHonest, dropout_percent };
        let step = Step::Advertising(Advertising::new(terms, assumptions, cohort));
        let (seats, positions) = (Vec::new(), HashMap::new());
        Self { round, decoding, assumptions, cohort, step, seats, positions }
    }

    fn advertise(&mut self, client: Contributor, keys: AdvertisedKeys) -> Result<(), AnswerError> {
        let Step::Advertising(advertising) = &mut self.step else {
            return Err(AnswerError::WrongStep);
        };
        let AdvertisedKeys { encryption, masking } = keys;
        advertising.add(PublicKeys { encryption, masking })?;
        self.seats.push(client);
        Ok(())
    }

    fn share(
        &mut self,
        client: Contributor,
        shares: Vec<EncryptedShare>,
    ) -> Result<(), AnswerError> {
        let position = self.position(client)?;
        let Step::Sharing(sharing) = &mut self.step else { return Err(AnswerError::WrongStep) };
        let domain = |share: EncryptedShare| secagg::EncryptedShare {
            peer: share.peer,
            ciphertext: share.ciphertext,
        };
        Ok(sharing.add(position, shares.into_iter().map(domain).collect())?)
    }

    /// Folds a masked update: memory does not grow with the cohort.
    fn collect(&mut self, client: Contributor, packed: &[u8]) -> Result<(), AnswerError> {
        let position = self.position(client)?;
        let Step::Collecting(collecting) = &mut self.step else {
            return Err(AnswerError::WrongStep);
        };
        Ok(collecting.add_packed(position, packed)?)
    }

    fn unmask(
        &mut self,
        client: Contributor,
        self_masks: &[RevealedShare],
        pairwise: &[RevealedShare],
    ) -> Result<(), AnswerError> {
        let position = self.position(client)?;
        let Step::Unmasking(unmasking) = &mut self.step else {
            return Err(AnswerError::WrongStep);
        };
        let shares = |shares: &[RevealedShare]| {
            let share = |revealed: &RevealedShare| {
                let share = Share::from_bytes(revealed.share).ok_or(AnswerError::NotAShare)?;
                Ok((revealed.peer, share))
            };
            shares.iter().map(share).collect::<Result<_, AnswerError>>()
        };
        let answer =
            UnmaskingShares { self_masks: shares(self_masks)?, pairwise: shares(pairwise)? };
        Ok(unmasking.add(position, answer)?)
    }

    fn position(&self, client: Contributor) -> Result<Index, AnswerError> {
        self.positions.get(&client).copied().ok_or(AnswerError::WrongStep)
    }

    fn next_step(&mut self, rng: &mut dyn CryptoRng) -> Result<Requests, Abandoned> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Advertising(advertising) => self.seat(advertising, rng),
            Step::Sharing(sharing) => self.deliver(sharing),
            Step::Collecting(collecting) => {
                let (unmasking, survivors) = collecting.close()?;
                self.step = Step::Unmasking(Box::new(unmasking));
                let request = UnmaskingRequest {
                    round: self.round,
                    survivors: survivors.clone(),
                    deadline: Duration::ZERO,
                };
                let request = |index: &Index| {
                    (self.seats[*index as usize], Request::Unmasking(request.clone()))
                };
                let requests = survivors.iter().map(request).collect();
                Ok(Requests { requests, excluded: Vec::new() })
            }
            step @ (Step::Unmasking(_) | Step::Over) => {
                self.step = step;
                Ok(Requests::default())
            }
        }
    }

    fn seat(
        &mut self,
        advertising: Advertising,
        rng: &mut dyn CryptoRng,
    ) -> Result<Requests, Abandoned> {
        let (sharing, directories) = advertising.close(rng)?;
        self.step = Step::Sharing(sharing);
        let arrivals = std::mem::take(&mut self.seats);
        self.seats.clone_from(&arrivals);
        let mut requests = Vec::with_capacity(arrivals.len());
        for (client, directory) in arrivals.into_iter().zip(directories) {
            self.seats[directory.own as usize] = client;
            self.positions.insert(client, directory.own);
            let neighbour = |(index, keys): &(Index, PublicKeys)| {
                let PublicKeys { encryption, masking } = *keys;
                Neighbour { index: *index, keys: AdvertisedKeys { encryption, masking } }
            };
            let directory = KeyDirectory {
                round: self.round,
                own: directory.own,
                cohort: directory.cohort,
                threshold: directory.threshold,
                neighbours: directory.neighbours.iter().map(neighbour).collect(),
                deadline: Duration::ZERO,
                group: None,
            };
            requests.push((client, Request::Shares(directory)));
        }
        Ok(Requests { requests, excluded: Vec::new() })
    }

    fn deliver(&mut self, sharing: Sharing) -> Result<Requests, Abandoned> {
        let (collecting, deliveries) = sharing.close()?;
        self.step = Step::Collecting(Box::new(collecting));
        let wire = |share: secagg::EncryptedShare| EncryptedShare {
            peer: share.peer,
            ciphertext: share.ciphertext,
        };
        let requests: Vec<_> = deliveries
            .into_iter()
            .map(|(index, shares)| {
                let request = MaskedInputRequest {
                    round: self.round,
                    shares: shares.into_iter().map(wire).collect(),
                    deadline: Duration::ZERO,
                };
                (self.seats[index as usize], Request::MaskedInput(request))
            })
            .collect();
        let invited = |client: &Contributor| requests.iter().any(|(asked, _)| asked == client);
        let excluded = self.seats.iter().filter(|client| !invited(client)).copied().collect();
        Ok(Requests { requests, excluded })
    }
}

impl RoundAccumulator for Masked {
    /// The sum, and a share for each pair of neighbours.
    fn bounds(&self) -> AccumulatorBounds {
        let degree = Graph::for_cohort(self.cohort, self.assumptions)
            .map_or(self.cohort.saturating_sub(1), |graph| graph.degree());
        let shares = u64::from(self.cohort) * u64::from(degree) * SHARE;
        AccumulatorBounds { memory: self.decoding.memory().saturating_add(shares) }
    }

    fn add(
        &mut self,
        from: Contributor,
        update: CheckedUpdate,
        _weight: Weight,
    ) -> Result<(), ContributionError> {
        update.codec().words()?;
        Ok(self.collect(from, update.bytes())?)
    }

    fn answer(&mut self, from: Contributor, answer: Answer) -> Result<(), ContributionError> {
        Ok(match answer {
            Answer::Keys(keys) => self.advertise(from, keys),
            Answer::Shares(shares) => self.share(from, shares),
            Answer::UnmaskingShares { self_masks, pairwise } => {
                self.unmask(from, &self_masks, &pairwise)
            }
        }?)
    }

    fn advance(&mut self, rng: &mut dyn CryptoRng) -> Result<Requests, SecureError> {
        Ok(self.next_step(rng)?)
    }

    /// Takes the masks off, on several threads.
    fn finish(self: Box<Self>) -> Result<Mean, FinishError> {
        let Step::Unmasking(unmasking) = self.step else {
            return Err(SecureError::NotThere.into());
        };
        let opened = unmasking.close(THREADS).map_err(SecureError::from)?;
        let seat = |index: Index| self.seats[index as usize];
        let wrong_shares = opened
            .wrong_shares
            .iter()
            .map(|wrong| WrongShare { owner: seat(wrong.owner), sender: seat(wrong.sender) });
        let wrong_shares = wrong_shares.collect();
        let mean = self.decoding.mean(&opened.sum, opened.survivors)?;
        Ok(Mean { wrong_shares, ..mean })
    }
}
