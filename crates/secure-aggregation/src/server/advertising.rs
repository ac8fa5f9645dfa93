//! Collects public keys, then seats the clients on the ring at random.

use std::collections::HashSet;

use rand::CryptoRng;
use rand::seq::SliceRandom;

use super::{Abandoned, Fault, Setup, Sharing, Step, check_minimum};
use crate::graph::{Assumptions, Graph};
use crate::message::{Index, KeyDirectory, PublicKeys};
use crate::terms::Terms;

/// The first step: clients show their public keys.
#[derive(Debug)]
pub struct Advertising {
    terms: Terms,
    assumptions: Assumptions,
    max_cohort: u32,
    /// In the order of their arrival.
    arrivals: Vec<PublicKeys>,
    seen: HashSet<[u8; 32]>,
}

impl Advertising {
    /// A round for at most `max_cohort` clients.
    #[must_use]
    pub fn new(terms: Terms, assumptions: Assumptions, max_cohort: u32) -> Self {
        Self { terms, assumptions, max_cohort, arrivals: Vec::new(), seen: HashSet::new() }
    }

    /// Takes one client's keys and returns how many came before it: its place
    /// in what [`Advertising::close`] returns. (This is not its index.)
    ///
    /// # Errors
    ///
    /// [`Fault`] if the cohort is full or a key is unsound or was shown before.
    pub fn add(&mut self, keys: PublicKeys) -> Result<usize, Fault> {
        if self.arrivals.len() >= self.max_cohort as usize {
            return Err(Fault::CohortFull { cohort: self.max_cohort });
        }
        if !keys.are_sound() {
            return Err(Fault::BadKey);
        }
        let both = [keys.encryption, keys.masking];
        if both[0] == both[1] || both.iter().any(|key| self.seen.contains(key)) {
            return Err(Fault::DuplicateKey);
        }
        self.seen.extend(both);
        self.arrivals.push(keys);
        Ok(self.arrivals.len() - 1)
    }

    /// Clients so far.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.arrivals.len()
    }

    /// Gives each client a random index and returns what to tell each of them,
    /// in the order of their arrival.
    ///
    /// # Errors
    ///
    /// [`Abandoned`] if there are fewer clients than the terms allow, or too
    /// few for a graph.
    pub fn close<R: CryptoRng + ?Sized>(
        self,
        rng: &mut R,
    ) -> Result<(Sharing, Vec<KeyDirectory>), Abandoned> {
        let clients = self.arrivals.len();
        check_minimum(Step::AdvertiseKeys, clients, self.terms.minimum_survivors())?;
        let cohort = u32::try_from(clients).unwrap_or(u32::MAX);
        let graph = Graph::for_cohort(cohort, self.assumptions)?;

        // Colluders must not choose whose neighbours they become.
        let mut seats: Vec<Index> = (0..cohort).collect();
        seats.shuffle(rng);
        let mut keys = self.arrivals.clone();
        for (seat, arrival) in seats.iter().zip(&self.arrivals) {
            keys[*seat as usize] = *arrival;
        }
        let directory = |&own: &Index| KeyDirectory {
            own,
            cohort,
            threshold: graph.threshold(),
            neighbours: graph
                .neighbours(own)
                .into_iter()
                .map(|peer| (peer, keys[peer as usize]))
                .collect(),
        };
        let directories = seats.iter().map(directory).collect();
        Ok((Sharing::new(Setup { terms: self.terms, graph, keys }), directories))
    }
}
