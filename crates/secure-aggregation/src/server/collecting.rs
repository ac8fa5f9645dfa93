//! Adds up masked inputs as they come: one vector of memory for a cohort of any
//! size.

use super::{Abandoned, Fault, Setup, Step, Unmasking, check_minimum, marked};
use crate::message::Index;
use crate::packing::{self, PackingError};

/// The third step: clients send masked inputs.
#[derive(Debug)]
pub struct Collecting {
    setup: Setup,
    /// Clients that shared their secrets, by index.
    sharers: Vec<bool>,
    /// Clients whose masked input is in the sum, by index.
    received: Vec<bool>,
    /// Modulo 2^32, cut to the terms' bits in the end.
    sum: Vec<u32>,
}

impl Collecting {
    pub(super) fn new(setup: Setup, sharers: Vec<bool>) -> Self {
        let received = vec![false; sharers.len()];
        let sum = vec![0; setup.terms.words()];
        Self { setup, sharers, received, sum }
    }

    /// Adds the masked input of client `from` to the sum.
    ///
    /// # Errors
    ///
    /// [`Fault`] if the client is not (or no longer) in the round or has sent
    /// its input before, or if the words do not fit the terms.
    pub fn add(&mut self, from: Index, masked: &[u32]) -> Result<(), Fault> {
        self.check_sender(from)?;
        let (expected, actual) = (self.sum.len(), masked.len());
        if actual != expected {
            return Err(Fault::WrongLength { expected, actual });
        }
        if let Some(position) = self.setup.terms.first_out_of_range(masked) {
            return Err(Fault::WordOutOfRange { position });
        }
        for (sum, word) in self.sum.iter_mut().zip(masked) {
            *sum = sum.wrapping_add(*word);
        }
        self.received[from as usize] = true;
        Ok(())
    }

    /// The same for a masked input as [`pack`](crate::pack) leaves it, which is
    /// never unpacked into memory of its own.
    ///
    /// # Errors
    ///
    /// Errors of [`Collecting::add`], or [`Fault::Packing`].
    pub fn add_packed(&mut self, from: Index, packed: &[u8]) -> Result<(), Fault> {
        self.check_sender(from)?;
        packing::add_packed(packed, self.setup.terms.bits(), &mut self.sum)
            .map_err(|error: PackingError| Fault::Packing(error))?;
        self.received[from as usize] = true;
        Ok(())
    }

    /// Clients whose masked input is in the sum.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.received.iter().filter(|received| **received).count()
    }

    /// Clients that may still send their masked input, increasing.
    #[must_use]
    pub fn awaited(&self) -> Vec<Index> {
        let mut awaited = marked(&self.sharers);
        awaited.retain(|&client| !self.received[client as usize]);
        awaited
    }

    /// Returns the survivors, increasing: the list to send to each of them.
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if the sum would be over fewer clients than the terms allow, or
    /// if a mask in it can no longer be taken off. No client must be asked for
    /// shares then.
    pub fn close(self) -> Result<(Unmasking, Vec<Index>), Abandoned> {
        let survivors = marked(&self.received);
        let minimum = self.setup.terms.minimum_survivors();
        check_minimum(Step::MaskedInput, survivors.len(), minimum)?;
        let Self { setup, sharers, received, sum } = self;
        Ok((Unmasking::new(setup, sharers, received, sum)?, survivors))
    }

    fn check_sender(&self, client: Index) -> Result<(), Fault> {
        self.setup.check_index(client)?;
        if !self.sharers[client as usize] {
            return Err(Fault::DroppedOut { client });
        }
        if self.received[client as usize] {
            return Err(Fault::Repeated { client });
        }
        Ok(())
    }
}
