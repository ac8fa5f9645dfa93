//! Examples that another program has in memory, in place of an experiment's files.

use std::sync::Arc;

use fedra_data::Dataset;

use crate::partition::{Partition, Share};

/// Examples in place of `[data]` and `[task.evaluation]`.
#[derive(Clone, Debug)]
pub struct InMemory {
    /// Training data of all clients together.
    pub training: Arc<Dataset>,
    /// Division of the training data among the clients.
    pub division: Division,
    /// Examples that each model is evaluated on.
    pub held_out: Option<Arc<Dataset>>,
}

/// Division of examples among clients.
#[derive(Clone, Debug, PartialEq)]
pub enum Division {
    /// By a rule and the experiment's seed.
    Drawn(Partition),
    /// Consecutive examples: so many for each client, in the order of the clients.
    Given(Vec<u32>),
}

impl InMemory {
    /// Problem with the division among so many clients, and what to do.
    pub(crate) fn problem(&self, clients: Option<u32>) -> Option<String> {
        let sizes = match &self.division {
            Division::Given(sizes) => sizes,
            Division::Drawn(partition) => {
                let problem = "the partitions \"column\" and \"files\" are of files; choose \
                               another one, or give the examples of each client";
                return partition.is_natural().then(|| problem.to_owned());
            }
        };
        let (examples, given) = (self.training.len() as u64, sizes.len());
        let sum: u64 = sizes.iter().copied().map(u64::from).sum();
        if let Some(clients) = clients.filter(|&clients| given != clients as usize) {
            return Some(format!(
                "simulation.clients is {clients}, and there are examples of {given} clients"
            ));
        }
        if let Some(client) = sizes.iter().position(|&size| size == 0) {
            return Some(format!("client {client} has no example: leave it out"));
        }
        (sum != examples)
            .then(|| format!("the clients have {sum} examples together, the data set {examples}"))
    }
}

/// Consecutive examples, so many for each client.
pub(crate) fn consecutive(sizes: &[u32]) -> Vec<Share> {
    let mut next = 0;
    let share = |(number, &size): (usize, &u32)| {
        let first = next;
        next += size;
        Share { name: number.to_string(), examples: (first..next).collect() }
    };
    sizes.iter().enumerate().map(share).collect()
}
