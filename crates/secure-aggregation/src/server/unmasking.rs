//! Collects shares of the survivors' self-mask seeds and of the dropped
//! clients' masking secrets, and takes the masks off the sum.
//!
//! At most one of the two for each client: whether its input is in the sum decides
//! which is given.

use std::fmt;
use std::num::NonZeroUsize;

use curve25519_dalek::Scalar;
use zeroize::Zeroizing;

use super::{Abandoned, Fault, Setup, marked};
use crate::keys::KeyPair;
use crate::mask::{self, Mask, Sign};
use crate::message::{Index, Share, UnmaskingShares};
use crate::shamir::{self, Recovered};
use crate::transcript::Round;

/// The last step: survivors send shares.
pub struct Unmasking {
    setup: Setup,
    /// Clients that shared their secrets, by index.
    sharers: Vec<bool>,
    /// Clients whose masked input is in the sum, by index.
    survivors: Vec<bool>,
    answered: Vec<bool>,
    sum: Vec<u32>,
    /// Clients whose secret must be reconstructed: all survivors, and the dropped
    /// clients that a survivor shares a mask with.
    owners: Vec<Index>,
    /// Shares and their senders, by owner.
    shares: Vec<Vec<(Index, Share)>>,
}

/// Result of a round: all that the server learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SumOfSurvivors {
    /// The sum of the survivors' inputs, modulo 2^bits.
    pub sum: Vec<u32>,
    /// Number of survivors.
    pub survivors: u32,
    /// Shares that were found to be wrong and did no harm.
    pub wrong_shares: Vec<WrongShare>,
}

/// A share that does not belong to its secret: the sender changed it, or the
/// owner gave the sender a wrong one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongShare {
    /// Owner of the shared secret.
    pub owner: Index,
    /// Client that sent the share.
    pub sender: Index,
}

impl Unmasking {
    pub(super) fn new(
        setup: Setup,
        sharers: Vec<bool>,
        survivors: Vec<bool>,
        sum: Vec<u32>,
    ) -> Result<Self, Abandoned> {
        let needed = setup.graph.threshold();
        let mut owners = Vec::new();
        for owner in marked(&sharers) {
            let holders = setup.neighbours_in(owner, &survivors).len() as u32;
            if holders == 0 && !survivors[owner as usize] {
                continue;
            }
            if holders < needed {
                return Err(Abandoned::TooFewShares { owner, shares: holders, needed });
            }
            owners.push(owner);
        }
        let cohort = sharers.len();
        let (answered, shares) = (vec![false; cohort], vec![Vec::new(); cohort]);
        Ok(Self { setup, sharers, survivors, answered, sum, owners, shares })
    }

    /// Takes the answer of the survivor `from`.
    ///
    /// # Errors
    ///
    /// [`Fault`] if the client is not a survivor or has answered before, or if
    /// it does not give exactly one share for each neighbour that shared its
    /// secrets, of the kind that the neighbour's fate calls for.
    pub fn add(&mut self, from: Index, answer: UnmaskingShares) -> Result<(), Fault> {
        self.setup.check_index(from)?;
        if !self.survivors[from as usize] {
            return Err(Fault::DroppedOut { client: from });
        }
        if self.answered[from as usize] {
            return Err(Fault::Repeated { client: from });
        }
        let (alive, dropped): (Vec<Index>, Vec<Index>) = self
            .setup
            .neighbours_in(from, &self.sharers)
            .into_iter()
            .partition(|&peer| self.survivors[peer as usize]);
        let owners_of = |shares: &[(Index, Share)]| -> Vec<Index> {
            shares.iter().map(|(owner, _)| *owner).collect()
        };
        if owners_of(&answer.self_masks) != alive || owners_of(&answer.pairwise) != dropped {
            return Err(Fault::WrongShares { client: from });
        }
        for (owner, share) in answer.self_masks.into_iter().chain(answer.pairwise) {
            self.shares[owner as usize].push((from, share));
        }
        self.answered[from as usize] = true;
        Ok(())
    }

    /// Survivors that have answered.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.answered.iter().filter(|answered| **answered).count()
    }

    /// True if the sum can be opened. More answers make it possible to tell wrong
    /// shares.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.missing().is_none()
    }

    /// Reconstructs the secrets and takes the masks off, on up to `threads`
    /// threads.
    ///
    /// A masking secret is checked against its public key. A self-mask seed
    /// cannot be checked like that: wrong shares of it are noticed if there are
    /// more than the threshold, and told if there are two more for each wrong
    /// one.
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if shares are missing or contradict each other.
    pub fn close(mut self, threads: NonZeroUsize) -> Result<SumOfSurvivors, Abandoned> {
        if let Some(missing) = self.missing() {
            return Err(missing);
        }
        let round = Round::new(&self.setup.terms, &self.setup.graph);
        let (mut masks, mut wrong_shares) = (Vec::new(), Vec::new());
        for &owner in &self.owners {
            let wrong = if self.survivors[owner as usize] {
                self.unmask_survivor(&round, owner, &mut masks)?
            } else {
                self.unmask_dropped(&round, owner, &mut masks)?
            };
            wrong_shares.extend(wrong.into_iter().map(|sender| WrongShare { owner, sender }));
        }
        mask::apply(&masks, &mut self.sum, self.setup.terms.bits(), threads);
        let survivors = self.survivors.iter().filter(|survived| **survived).count() as u32;
        Ok(SumOfSurvivors { sum: self.sum, survivors, wrong_shares })
    }

    /// The first secret that cannot be reconstructed yet.
    fn missing(&self) -> Option<Abandoned> {
        let needed = self.setup.graph.threshold();
        self.owners.iter().find_map(|&owner| {
            let shares = self.shares[owner as usize].len() as u32;
            (shares < needed).then_some(Abandoned::TooFewShares { owner, shares, needed })
        })
    }

    /// Collects what takes a survivor's self mask off; returns the senders of
    /// wrong shares.
    fn unmask_survivor(
        &self,
        round: &Round,
        owner: Index,
        masks: &mut Vec<Mask>,
    ) -> Result<Vec<Index>, Abandoned> {
        let shares = &self.shares[owner as usize];
        let Recovered { secret, wrong } = shamir::recover(shares, self.setup.graph.threshold())
            .ok_or(Abandoned::WrongShares { owner })?;
        let seed = Zeroizing::new(secret.to_bytes());
        let key = round.self_mask_key(&seed, self.setup.party(owner));
        masks.push(Mask { key, sign: Sign::Subtract });
        Ok(wrong)
    }

    /// Collects what takes off the masks that survivors share with a dropped
    /// client; returns the senders of wrong shares.
    fn unmask_dropped(
        &self,
        round: &Round,
        owner: Index,
        masks: &mut Vec<Mask>,
    ) -> Result<Vec<Index>, Abandoned> {
        let dropped = self.setup.party(owner);
        let recognise = |m: &Scalar| KeyPair::from_scalar(m, &dropped.keys.masking);
        let shares = &self.shares[owner as usize];
        let Recovered { secret: pair, wrong } =
            shamir::recover_known(shares, self.setup.graph.threshold(), recognise)
                .ok_or(Abandoned::WrongShares { owner })?;
        for index in self.setup.neighbours_in(owner, &self.survivors) {
            let survivor = self.setup.party(index);
            let shared =
                pair.agree(&survivor.keys.masking).expect("advertised keys are not of low order");
            masks.push(Mask {
                key: round.pairwise_key(&shared, dropped, survivor),
                sign: Sign::of_pair(index, owner).opposite(),
            });
        }
        Ok(wrong)
    }
}

impl fmt::Debug for Unmasking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unmasking")
            .field("terms", &self.setup.terms)
            .field("graph", &self.setup.graph)
            .field("answers", &self.clients())
            .finish_non_exhaustive()
    }
}
