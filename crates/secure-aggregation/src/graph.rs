//! Pairs of clients that share a mask: a Harary graph on a ring (Bell et al. 2020),
//! and the number of neighbours and the threshold that make it safe.
//!
//! The probabilities are sums and products of doubles only, so that browser and
//! server come to the same degree to the digit. No randomness: the caller must
//! shuffle the clients before it seats them on the ring.

use thiserror::Error;

use crate::message::Index;

/// Below this many clients everyone masks with everyone.
pub const COMPLETE_BELOW: u32 = 50;

/// Fewest clients of a cohort: with fewer, one neighbour alone could
/// reconstruct what it holds a share of.
pub const MIN_COHORT: u32 = 3;

/// Most clients of a cohort.
pub const MAX_COHORT: u32 = 1 << 16;

/// Largest probability with which the server and its colluders learn more than the
/// sum, 2^-40, halved between the two ways it can happen: too many colluders around
/// one client, and a graph that falls into pieces.
const SECURITY: f64 = 1.0 / (1_u64 << 41) as f64;

/// Largest probability with which an honest round cannot be opened, 2^-20.
const FAILURE: f64 = 1.0 / (1_u64 << 20) as f64;

/// One client in this many is assumed to collude with the server.
const COLLUDERS_ONE_IN: u32 = 10;

/// A graph that fewer dropouts would cut in pieces is never safe.
const LEAST_DROPOUT_PERCENT: u32 = 10;

/// With more dropouts half of a client's neighbours are too likely to be gone.
const MOST_DROPOUT_PERCENT: u32 = 40;

/// Adversary that the threshold must withstand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Adversary {
    /// Server and colluders follow the protocol and put together what they saw.
    #[default]
    SemiHonest,
    /// In addition, the server tells clients different stories about who survived:
    /// more than half of the honest neighbours would have to fall for each.
    SemiMalicious,
}

/// Assumptions that the graph is made for. A tenth of the cohort is always assumed
/// to collude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assumptions {
    /// Adversary that the threshold must withstand.
    pub adversary: Adversary,
    /// Dropouts, in percent of the cohort, with which the round can still be opened,
    /// except for one in a million. At most 40; below 10 counts as 10.
    pub dropout_percent: u32,
}

impl Default for Assumptions {
    /// Semi-honest, a tenth dropping out.
    fn default() -> Self {
        Self { adversary: Adversary::SemiHonest, dropout_percent: LEAST_DROPOUT_PERCENT }
    }
}

/// The rule that a graph breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GraphError {
    /// Too few or too many clients.
    #[error("a cohort has {MIN_COHORT} to {MAX_COHORT} clients, not {cohort}")]
    Cohort {
        /// Clients.
        cohort: u32,
    },
    /// The degree cannot be that of a ring of this size.
    #[error("{degree} neighbours cannot be had in a cohort of {cohort}")]
    Degree {
        /// Clients.
        cohort: u32,
        /// Neighbours of each.
        degree: u32,
    },
    /// Below [`COMPLETE_BELOW`] clients everyone must mask with everyone.
    #[error("a cohort of {cohort} must be complete: {degree} neighbours are too few")]
    NotComplete {
        /// Clients.
        cohort: u32,
        /// Neighbours of each.
        degree: u32,
    },
    /// The threshold is not between 2 and the number of neighbours.
    #[error("a threshold of {threshold} makes no sense with {degree} neighbours")]
    Threshold {
        /// Shares that reconstruct a secret.
        threshold: u32,
        /// Neighbours of each.
        degree: u32,
    },
    /// Fewer than half of a client's neighbours could expose it.
    #[error("{threshold} of {degree} neighbours are less than half")]
    LessThanHalf {
        /// Shares that reconstruct a secret.
        threshold: u32,
        /// Neighbours of each.
        degree: u32,
    },
    /// It is too likely that colluders hold enough of a client's shares.
    #[error(
        "in a cohort of {cohort}, {threshold} colluders among {degree} neighbours are too likely"
    )]
    Collusion {
        /// Clients.
        cohort: u32,
        /// Neighbours of each.
        degree: u32,
        /// Shares that reconstruct a secret.
        threshold: u32,
    },
    /// It is too likely that dropouts and colluders cut the graph in pieces.
    #[error("with {degree} neighbours a cohort of {cohort} falls into pieces too easily")]
    Disconnected {
        /// Clients.
        cohort: u32,
        /// Neighbours of each.
        degree: u32,
    },
    /// No degree satisfies the assumptions.
    #[error("no graph of {cohort} clients bears {dropout_percent} % of dropouts; assume fewer")]
    Dropout {
        /// Clients.
        cohort: u32,
        /// Assumed dropouts, in percent of the cohort.
        dropout_percent: u32,
    },
}

/// The graph of a round: a client's neighbours are the `degree / 2` next ones
/// on either side of the ring, or everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Graph {
    cohort: u32,
    degree: u32,
    threshold: u32,
}

impl Graph {
    /// The sparsest graph that meets the assumptions, and the lowest threshold
    /// that is safe in it.
    ///
    /// Exact hypergeometric tails instead of the closed-form bounds of Bell et
    /// al. 2020 (section 3): security 2^-40, failure 2^-20, union bounds over
    /// the clients.
    ///
    /// # Errors
    ///
    /// [`GraphError::Cohort`] for a cohort out of range, [`GraphError::Dropout`]
    /// if no degree bears the assumed dropouts.
    pub fn for_cohort(cohort: u32, assumptions: Assumptions) -> Result<Self, GraphError> {
        check_cohort(cohort)?;
        let impossible =
            GraphError::Dropout { cohort, dropout_percent: assumptions.dropout_percent };
        if assumptions.dropout_percent > MOST_DROPOUT_PERCENT {
            return Err(impossible);
        }
        if cohort < COMPLETE_BELOW {
            return Ok(Self::complete(cohort, assumptions.adversary));
        }
        (2..cohort)
            .step_by(2)
            .find_map(|degree| Self::with_degree(cohort, degree, assumptions))
            .ok_or(impossible)
    }

    /// Checks a graph that the other side chose against a semi-honest adversary.
    /// Does not check that it bears dropouts, because only the side that wants the
    /// sum needs that.
    ///
    /// # Errors
    ///
    /// [`GraphError`], naming the first rule that is broken.
    pub fn checked(cohort: u32, degree: u32, threshold: u32) -> Result<Self, GraphError> {
        check_cohort(cohort)?;
        let complete = degree == cohort - 1;
        if degree == 0 || degree >= cohort || !(complete || degree.is_multiple_of(2)) {
            return Err(GraphError::Degree { cohort, degree });
        }
        if !complete && cohort < COMPLETE_BELOW {
            return Err(GraphError::NotComplete { cohort, degree });
        }
        if threshold < 2 || threshold > degree {
            return Err(GraphError::Threshold { threshold, degree });
        }
        if threshold < degree.div_ceil(2) {
            return Err(GraphError::LessThanHalf { threshold, degree });
        }
        let graph = Self { cohort, degree, threshold };
        if !withstands(graph, Adversary::SemiHonest) {
            return Err(GraphError::Collusion { cohort, degree, threshold });
        }
        if !holds_together(graph, percent_of(cohort, LEAST_DROPOUT_PERCENT)) {
            return Err(GraphError::Disconnected { cohort, degree });
        }
        Ok(graph)
    }

    /// Clients.
    #[must_use]
    pub fn cohort(&self) -> u32 {
        self.cohort
    }

    /// Neighbours of each client.
    #[must_use]
    pub fn degree(&self) -> u32 {
        self.degree
    }

    /// Shares that reconstruct a secret; fewer say nothing about it.
    #[must_use]
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// The neighbours of `client`, increasing. Empty for a client that is not
    /// in the cohort.
    #[must_use]
    pub fn neighbours(&self, client: Index) -> Vec<Index> {
        if client >= self.cohort {
            return Vec::new();
        }
        if self.is_complete() {
            return (0..self.cohort).filter(|&peer| peer != client).collect();
        }
        let mut neighbours: Vec<Index> = (1..=self.degree / 2)
            .flat_map(|distance| {
                [(client + distance) % self.cohort, (client + self.cohort - distance) % self.cohort]
            })
            .collect();
        neighbours.sort_unstable();
        neighbours
    }

    /// Everyone masks with everyone. Half of the neighbours must stay, and more
    /// than could collude must be needed.
    fn complete(cohort: u32, adversary: Adversary) -> Self {
        let degree = cohort - 1;
        let threshold = match adversary {
            Adversary::SemiHonest => degree.div_ceil(2),
            Adversary::SemiMalicious => (degree + colluders(cohort)) / 2 + 1,
        };
        Self { cohort, degree, threshold: threshold.clamp(2, degree) }
    }

    /// The lowest safe threshold for this degree, if the graph then bears the
    /// assumed dropouts.
    fn with_degree(cohort: u32, degree: u32, assumptions: Assumptions) -> Option<Self> {
        let with = |threshold| Self { cohort, degree, threshold };
        // A higher threshold withstands whatever a lower one does.
        let (mut lowest, mut safe) = (degree.div_ceil(2).max(2), degree);
        if !withstands(with(safe), assumptions.adversary) {
            return None;
        }
        while lowest < safe {
            let middle = (lowest + safe) / 2;
            if withstands(with(middle), assumptions.adversary) {
                safe = middle;
            } else {
                lowest = middle + 1;
            }
        }
        let graph = with(safe);
        let percent = assumptions.dropout_percent.max(LEAST_DROPOUT_PERCENT);
        let dropouts = percent_of(cohort, percent);
        (holds_together(graph, dropouts) && can_be_opened(graph, dropouts)).then_some(graph)
    }

    fn is_complete(&self) -> bool {
        self.degree == self.cohort - 1
    }
}

fn check_cohort(cohort: u32) -> Result<(), GraphError> {
    if (MIN_COHORT..=MAX_COHORT).contains(&cohort) {
        Ok(())
    } else {
        Err(GraphError::Cohort { cohort })
    }
}

fn colluders(cohort: u32) -> u32 {
    cohort.div_ceil(COLLUDERS_ONE_IN)
}

fn percent_of(cohort: u32, percent: u32) -> u32 {
    (cohort * percent).div_ceil(100)
}

/// True if colluders hardly ever obtain both secrets of a client.
///
/// Semi-honest: they would need `t` shares among themselves. With two stories
/// told, `k - a` honest neighbours give one share each and `a` colluders two:
/// both secrets take `2 t <= k + a`.
fn withstands(graph: Graph, adversary: Adversary) -> bool {
    let Graph { cohort, degree, threshold } = graph;
    let needed = match adversary {
        Adversary::SemiHonest => threshold,
        Adversary::SemiMalicious => (2 * threshold).saturating_sub(degree),
    };
    f64::from(cohort) * upper_tail(cohort - 1, colluders(cohort), degree, needed) <= SECURITY
}

/// True if honest survivors hardly ever fall into groups without a mask between
/// them. Two runs of `k/2` missing clients must lie on the ring for that, so fewer
/// than `k` missing never do it.
fn holds_together(graph: Graph, dropouts: u32) -> bool {
    let Graph { cohort, degree, .. } = graph;
    if graph.is_complete() {
        return true;
    }
    let missing = (colluders(cohort) + dropouts).min(cohort);
    let pairs = f64::from(cohort) * f64::from(cohort - 1) / 2.0;
    pairs * upper_tail(cohort, missing, degree, degree) <= SECURITY
}

/// True if every client hardly ever has fewer than `t` neighbours left.
fn can_be_opened(graph: Graph, dropouts: u32) -> bool {
    let Graph { cohort, degree, threshold } = graph;
    let too_many = degree - threshold + 1;
    f64::from(cohort) * upper_tail(cohort - 1, dropouts, degree, too_many) <= FAILURE
}

/// P[X >= at_least] when `drawn` are drawn of `all`, of which `marked` count.
///
/// Only the four basic operations: library functions differ between platforms.
/// Starts at the far end, where nothing cancels.
fn upper_tail(all: u32, marked: u32, drawn: u32, at_least: u32) -> f64 {
    let most = marked.min(drawn);
    if at_least > most {
        return 0.0;
    }
    // P[X = most]: all of the smaller group fall into the larger one.
    let larger = marked.max(drawn);
    let mut probability: f64 =
        (0..most).map(|i| f64::from(larger - i) / f64::from(all - i)).product();
    let mut tail = probability;
    for x in (at_least + 1..=most).rev() {
        // P[x - 1] / P[x]. The two differences may not be taken in the other
        // order: unmarked may be fewer than drawn.
        let rest = f64::from(all) - f64::from(marked) - f64::from(drawn) + f64::from(x);
        let ratio = f64::from(x) * rest / (f64::from(marked - x + 1) * f64::from(drawn - x + 1));
        probability *= ratio.max(0.0);
        tail += probability;
    }
    tail
}

#[cfg(test)]
mod tests;
