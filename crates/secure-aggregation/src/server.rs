//! The server: [`Advertising`] -> [`Sharing`] -> [`Collecting`] -> [`Unmasking`]
//! -> [`SumOfSurvivors`].
//!
//! `add` takes one client's message and either counts it or refuses it with a
//! [`Fault`] that leaves the state as it was; `close` ends the step with the clients
//! that made it, or abandons the round. When to close is the caller's business:
//! nothing here knows the time.

mod advertising;
mod collecting;
mod error;
mod sharing;
mod unmasking;

pub use advertising::Advertising;
pub use collecting::Collecting;
pub use error::{Abandoned, Fault, Step};
pub use sharing::{Deliveries, Sharing};
pub use unmasking::{SumOfSurvivors, Unmasking, WrongShare};

use crate::graph::Graph;
use crate::message::{Index, PublicKeys};
use crate::terms::Terms;
use crate::transcript::Party;

/// Setup that stays the same once the cohort is known.
#[derive(Debug)]
struct Setup {
    terms: Terms,
    graph: Graph,
    /// By index.
    keys: Vec<PublicKeys>,
}

impl Setup {
    fn party(&self, index: Index) -> Party<'_> {
        Party { index, keys: &self.keys[index as usize] }
    }

    /// An error for a client that is not in the cohort.
    fn check_index(&self, client: Index) -> Result<(), Fault> {
        let cohort = self.graph.cohort();
        if client < cohort { Ok(()) } else { Err(Fault::NotInCohort { client, cohort }) }
    }

    /// Neighbours of `client` that are marked.
    fn neighbours_in(&self, client: Index, marked: &[bool]) -> Vec<Index> {
        let mut neighbours = self.graph.neighbours(client);
        neighbours.retain(|&peer| marked[peer as usize]);
        neighbours
    }
}

/// The marked clients, increasing.
fn marked(flags: &[bool]) -> Vec<Index> {
    (0..).zip(flags).filter(|(_, flag)| **flag).map(|(index, _)| index).collect()
}

/// Abandons the step if fewer made it than a sum must be over.
fn check_minimum(step: Step, clients: usize, minimum: u32) -> Result<(), Abandoned> {
    if clients >= minimum as usize {
        Ok(())
    } else {
        Err(Abandoned::TooFewClients { step, clients: clients as u32, minimum })
    }
}
