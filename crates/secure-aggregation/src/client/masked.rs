//! Last step: the client has sent its masked input and waits to hear whose
//! inputs arrived. Gives away one kind of share for each neighbour, once.

use std::fmt;

use super::ClientError;
use crate::message::{Index, UnmaskingShares};
use crate::sealing::SharePair;
use crate::terms::Terms;

/// A client that has sent its masked input.
pub struct Masked {
    pub(super) terms: Terms,
    pub(super) cohort: u32,
    pub(super) own: Index,
    /// By increasing index; `None` for a neighbour that never sent its shares.
    pub(super) held: Vec<(Index, Option<SharePair>)>,
}

impl Masked {
    /// For each neighbour whose shares we hold: its self-mask share if it is
    /// among `survivors`, its masking-secret share if not. Never both, and only
    /// once, since the client is used up.
    ///
    /// `survivors` are all clients of the cohort whose masked input arrived, in
    /// increasing order.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the list is not increasing, leaves the cohort, has
    /// fewer clients than the terms allow, leaves us out, or has a neighbour
    /// that never sent us its shares.
    pub fn unmask(self, survivors: &[Index]) -> Result<UnmaskingShares, ClientError> {
        self.check(survivors)?;
        let mut answer = UnmaskingShares::default();
        for (owner, shares) in self.held {
            let survived = survivors.binary_search(&owner).is_ok();
            match shares {
                Some(shares) if survived => answer.self_masks.push((owner, shares.self_mask)),
                Some(shares) => answer.pairwise.push((owner, shares.pairwise)),
                None if survived => return Err(ClientError::ImpossibleSurvivor { peer: owner }),
                None => {}
            }
        }
        Ok(answer)
    }

    fn check(&self, survivors: &[Index]) -> Result<(), ClientError> {
        let increasing = survivors.is_sorted_by(|a, b| a < b);
        if !increasing || survivors.last().is_some_and(|&last| last >= self.cohort) {
            return Err(ClientError::BadSurvivors);
        }
        // Increasing and below the cohort: fits 32 bits.
        let (count, minimum) = (survivors.len() as u32, self.terms.minimum_survivors());
        if count < minimum {
            return Err(ClientError::TooFewSurvivors { survivors: count, minimum });
        }
        if survivors.binary_search(&self.own).is_err() {
            return Err(ClientError::NotASurvivor);
        }
        Ok(())
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masked")
            .field("terms", &self.terms)
            .field("cohort", &self.cohort)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}
