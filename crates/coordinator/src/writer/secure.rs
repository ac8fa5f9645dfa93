//! The server's side of secure aggregation for one attempt at a round: seats,
//! requests and faults, between the clients of sessions and the positions of
//! the protocol's machine.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use fedra_protocol::{
    AdvertisedKeys, EncryptedShare, KeyDirectory, MaskedInputRequest, Neighbour, RevealedShare,
    RoundId, UnmaskingRequest,
};
use fedra_secure_aggregation::server::{
    Abandoned, Advertising, Collecting, Fault, Sharing, SumOfSurvivors, Unmasking,
};
use fedra_secure_aggregation::{
    self as secagg, Adversary, Assumptions, Index, PublicKeys, Share, Terms, UnmaskingShares,
};
use rand::CryptoRng;
use thiserror::Error;

use crate::round::ClientId;

/// Threads that take masks off.
const THREADS: NonZeroUsize = NonZeroUsize::new(4).expect("4 is not 0");

/// Request to a client in a step. The deadline is filled in when it is sent.
#[derive(Debug, Clone)]
pub enum Request {
    /// Shares of its secrets, for these neighbours.
    Shares(KeyDirectory),
    /// Its masked update.
    MaskedInput(MaskedInputRequest),
    /// Shares that take the masks off the sum.
    Unmasking(UnmaskingRequest),
}

/// Requests for the clients that go on, and those that cannot.
#[derive(Debug, Default)]
pub struct Requests {
    /// Requests, each with its client.
    pub requests: Vec<(ClientId, Request)>,
    /// Clients that cannot go on.
    pub excluded: Vec<ClientId>,
}

/// Reason why an answer does not count.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// It breaks the rules of the protocol.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It answers another step.
    #[error("not an answer to the step that the round is in")]
    WrongStep,
    /// A share is not an element of the group.
    #[error("a share is not a number below the group's order")]
    NotAShare,
}

/// One attempt's secure aggregation.
#[derive(Debug)]
pub(super) struct SecureSum {
    round: RoundId,
    step: Step,
    /// Clients in the order in which they advertised keys, then by position.
    seats: Vec<ClientId>,
    positions: HashMap<ClientId, Index>,
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

impl SecureSum {
    /// A cohort of at most `cohort` of which at least the terms' minimum is
    /// expected to stay.
    pub(super) fn new(round: RoundId, terms: Terms, cohort: u32) -> Self {
        let stay = 100 * u64::from(terms.minimum_survivors()) / u64::from(cohort.max(1));
        let dropout_percent = (100 - stay.min(100) as u32).clamp(10, 40);
        let assumptions = Assumptions { adversary: Adversary::SemiHonest, dropout_percent };
        let step = Step::Advertising(Advertising::new(terms, assumptions, cohort));
        Self { round, step, seats: Vec::new(), positions: HashMap::new() }
    }

    pub(super) fn advertise(
        &mut self,
        client: ClientId,
        keys: AdvertisedKeys,
    ) -> Result<(), AnswerError> {
        let Step::Advertising(advertising) = &mut self.step else {
            return Err(AnswerError::WrongStep);
        };
        let AdvertisedKeys { encryption, masking } = keys;
        advertising.add(PublicKeys { encryption, masking })?;
        self.seats.push(client);
        Ok(())
    }

    pub(super) fn share(
        &mut self,
        client: ClientId,
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
    pub(super) fn collect(&mut self, client: ClientId, packed: &[u8]) -> Result<(), AnswerError> {
        let position = self.position(client)?;
        let Step::Collecting(collecting) = &mut self.step else {
            return Err(AnswerError::WrongStep);
        };
        Ok(collecting.add_packed(position, packed)?)
    }

    pub(super) fn unmask(
        &mut self,
        client: ClientId,
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

    fn position(&self, client: ClientId) -> Result<Index, AnswerError> {
        self.positions.get(&client).copied().ok_or(AnswerError::WrongStep)
    }

    /// Closes the step it is in and prepares the requests of the next. A failure
    /// is final.
    pub(super) fn advance(&mut self, rng: &mut dyn CryptoRng) -> Result<Requests, Abandoned> {
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
        let invited = |client: &ClientId| requests.iter().any(|(asked, _)| asked == client);
        let excluded = self.seats.iter().filter(|client| !invited(client)).copied().collect();
        Ok(Requests { requests, excluded })
    }

    /// Takes the masks off. Blocking, on several threads.
    pub(super) fn open(&mut self) -> Result<SumOfSurvivors, SecureError> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Unmasking(unmasking) => {
                let sum = unmasking.close(THREADS)?;
                for wrong in &sum.wrong_shares {
                    let owner = self.seats[wrong.owner as usize].0;
                    let sender = self.seats[wrong.sender as usize].0;
                    tracing::warn!(round = %self.round, owner, sender, "a wrong share was left out");
                }
                Ok(sum)
            }
            _ => Err(SecureError::NotThere),
        }
    }
}

/// Reason why there is no sum.
#[derive(Debug, Error)]
pub enum SecureError {
    /// Too few clients are left, or they disagree.
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
    /// The masks cannot be taken off yet.
    #[error("the round has not come to unmasking")]
    NotThere,
}
