//! Collects encrypted shares and hands them on. They stay sealed.

use super::{Abandoned, Collecting, Fault, Setup, Step, check_minimum, marked};
use crate::message::{EncryptedShare, Index};

/// Shares to deliver, by increasing index of the receiver: those that its neighbours
/// sent it, `peer` being the sender.
pub type Deliveries = Vec<(Index, Vec<EncryptedShare>)>;

/// The second step: clients share their secrets among their neighbours.
#[derive(Debug)]
pub struct Sharing {
    setup: Setup,
    /// By sender.
    sent: Vec<Option<Vec<EncryptedShare>>>,
}

impl Sharing {
    pub(super) fn new(setup: Setup) -> Self {
        let sent = vec![None; setup.keys.len()];
        Self { setup, sent }
    }

    /// Takes what client `from` encrypted for its neighbours, by increasing
    /// receiver.
    ///
    /// # Errors
    ///
    /// [`Fault`] for a sender that is not in the cohort or has sent its shares
    /// before, if there is not exactly one for each neighbour, or if one has a
    /// wrong length.
    pub fn add(&mut self, from: Index, shares: Vec<EncryptedShare>) -> Result<(), Fault> {
        self.setup.check_index(from)?;
        if self.sent[from as usize].is_some() {
            return Err(Fault::Repeated { client: from });
        }
        let receivers = shares.iter().map(|share| share.peer);
        if !receivers.eq(self.setup.graph.neighbours(from)) {
            return Err(Fault::WrongRecipients { client: from });
        }
        if let Some(odd) = shares.iter().find(|s| s.ciphertext.len() != EncryptedShare::LEN) {
            return Err(Fault::WrongCiphertext { client: from, peer: odd.peer });
        }
        self.sent[from as usize] = Some(shares);
        Ok(())
    }

    /// Clients that have sent their shares.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.sent.iter().flatten().count()
    }

    /// Returns what to hand to each client that goes on. A client that is
    /// missing there is out.
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if fewer clients go on than a sum must be over.
    pub fn close(self) -> Result<(Collecting, Deliveries), Abandoned> {
        let Self { setup, sent } = self;
        let sharers = viable(&setup, sent.iter().map(Option::is_some).collect());
        let going_on = marked(&sharers);
        let minimum = setup.terms.minimum_survivors();
        check_minimum(Step::ShareKeys, going_on.len(), minimum)?;

        let mut mail: Vec<Vec<EncryptedShare>> = vec![Vec::new(); sharers.len()];
        for (from, shares) in (0..).zip(sent) {
            if !sharers[from as usize] {
                continue;
            }
            for EncryptedShare { peer: to, ciphertext } in shares.into_iter().flatten() {
                mail[to as usize].push(EncryptedShare { peer: from, ciphertext });
            }
        }
        let deliveries = going_on
            .into_iter()
            .map(|client| (client, std::mem::take(&mut mail[client as usize])))
            .collect();
        Ok((Collecting::new(setup, sharers), deliveries))
    }
}

/// Leaves out clients that fewer neighbours shared with than the threshold:
/// they would refuse to go on, and their masks could never be taken off. Who
/// is left out may be missing to others in turn.
fn viable(setup: &Setup, mut sharers: Vec<bool>) -> Vec<bool> {
    let threshold = setup.graph.threshold() as usize;
    loop {
        let lost: Vec<Index> = marked(&sharers)
            .into_iter()
            .filter(|&client| setup.neighbours_in(client, &sharers).len() < threshold)
            .collect();
        if lost.is_empty() {
            return sharers;
        }
        for client in lost {
            sharers[client as usize] = false;
        }
    }
}
