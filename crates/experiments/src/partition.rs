//! Partition of a data set among clients, by a seed.

use fedra_data::{Dataset, Targets};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Gamma};
use serde::{Deserialize, Serialize};

/// Fewest examples of a client of a [`Partition::Dirichlet`] or [`Partition::Quantity`].
const FEWEST: usize = 10;
/// Draws after which a partition counts as impossible.
const MOST_DRAWS: usize = 1_000;

/// Rule by which examples are shared out. Every example goes to at most one client.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Partition {
    /// Equal shares of the shuffled examples.
    Iid,
    /// Examples sorted by class and cut into `per_client` times as many equal pieces as there
    /// are clients; each client gets so many of them (McMahan et al. 2017).
    Shards {
        /// Pieces of a client, at least 1.
        per_client: u32,
    },
    /// The examples of each class in proportions from a symmetric Dirichlet distribution, drawn
    /// anew until each client has 10 examples (Hsu et al. 2019; Li et al. 2022).
    Dirichlet {
        /// Concentration, above 0: the smaller, the more unequal.
        alpha: f64,
    },
    /// Some classes for each client, one by its number and the others at random; the
    /// examples of a class in equal parts for those that have it (Li et al. 2022).
    Labels {
        /// Classes of a client, at least 1.
        per_client: u32,
    },
    /// Shuffled examples in numbers from a symmetric Dirichlet distribution, drawn anew until
    /// each client has 10 examples.
    Quantity {
        /// Concentration, above 0: the smaller, the more unequal.
        alpha: f64,
    },
}

/// Reason why examples cannot be shared out by a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// The rule goes by classes.
    #[error(
        "this partition goes by the class of an example, and these have none; use \"iid\" or \"quantity\""
    )]
    NoClasses,
    /// A number of the rule is out of range.
    #[error("{0}")]
    Range(String),
    /// There are too few examples.
    #[error(
        "{examples} examples are too few for {clients} clients by this rule; lower the number of clients, or raise alpha"
    )]
    TooFew {
        /// Examples in all.
        examples: usize,
        /// Clients.
        clients: usize,
    },
}

impl Partition {
    /// The indices of each client's examples, in increasing order.
    ///
    /// # Errors
    ///
    /// [`PartitionError`] if the examples cannot be shared out so.
    pub fn shares(
        self,
        data: &Dataset,
        clients: usize,
        rng: &mut impl Rng,
    ) -> Result<Vec<Vec<u32>>, PartitionError> {
        let too_few = PartitionError::TooFew { examples: data.len(), clients };
        if clients == 0 || data.len() < clients {
            return Err(too_few);
        }
        let mut shuffled: Vec<u32> = (0..data.len() as u32).collect();
        shuffled.shuffle(rng);
        let mut shares = match self {
            Self::Iid => parts(&shuffled, clients),
            Self::Shards { per_client } => {
                let per_client = at_least_one("per_client", per_client)?;
                let classes = classes(data)?;
                // A stable sort of shuffled examples: a class is in random order.
                shuffled.sort_by_key(|&index| classes[index as usize]);
                let mut pieces = parts(&shuffled, clients * per_client);
                pieces.shuffle(rng);
                pieces.chunks(per_client).map(<[_]>::concat).collect()
            }
            Self::Dirichlet { alpha } => {
                let by_class = by_class(classes(data)?, &shuffled);
                let fair = data.len().div_ceil(clients);
                let draw = |rng: &mut _| {
                    let mut shares = vec![Vec::new(); clients];
                    for class in &by_class {
                        let mut proportions = dirichlet(alpha, clients, rng)?;
                        // A client that has its share gets no more.
                        for (proportion, share) in proportions.iter_mut().zip(&shares) {
                            if Vec::len(share) >= fair {
                                *proportion = 0.0;
                            }
                        }
                        deal(class, &proportions, &mut shares);
                    }
                    Ok(shares)
                };
                until_enough(draw, rng)?.ok_or(too_few)?
            }
            Self::Labels { per_client } => {
                let per_client = at_least_one("per_client", per_client)?;
                by_labels(&by_class(classes(data)?, &shuffled), clients, per_client, rng)?
            }
            Self::Quantity { alpha } => {
                let draw = |rng: &mut _| {
                    let mut shares = vec![Vec::new(); clients];
                    deal(&shuffled, &dirichlet(alpha, clients, rng)?, &mut shares);
                    Ok(shares)
                };
                until_enough(draw, rng)?.ok_or(too_few)?
            }
        };
        shares.iter_mut().for_each(|share| share.sort_unstable());
        match shares.iter().all(|share| !share.is_empty()) {
            true => Ok(shares),
            false => Err(PartitionError::TooFew { examples: data.len(), clients }),
        }
    }
}

fn at_least_one(key: &str, value: u32) -> Result<usize, PartitionError> {
    match value {
        0 => Err(PartitionError::Range(format!("{key} must be at least 1"))),
        value => Ok(value as usize),
    }
}

/// The class of each example.
fn classes(data: &Dataset) -> Result<&[u32], PartitionError> {
    match data.targets() {
        Targets::Classes(classes) => Ok(classes),
        Targets::PositionClasses { .. } | Targets::Values { .. } => Err(PartitionError::NoClasses),
    }
}

/// Consecutive parts whose sizes differ by at most one.
fn parts(order: &[u32], count: usize) -> Vec<Vec<u32>> {
    let edge = |index: usize| index * order.len() / count;
    (0..count).map(|index| order[edge(index)..edge(index + 1)].to_vec()).collect()
}

/// The examples of each class, in the order given.
fn by_class(classes: &[u32], order: &[u32]) -> Vec<Vec<u32>> {
    let count = classes.iter().max().map_or(0, |&most| most as usize + 1);
    let mut by_class = vec![Vec::new(); count];
    order.iter().for_each(|&index| by_class[classes[index as usize] as usize].push(index));
    by_class.retain(|class| !class.is_empty());
    by_class
}

/// Proportions from a symmetric Dirichlet distribution, not scaled to a sum of 1.
fn dirichlet(alpha: f64, clients: usize, rng: &mut impl Rng) -> Result<Vec<f64>, PartitionError> {
    if !(1e-3..=1e6).contains(&alpha) {
        let problem = format!("alpha must be from 0.001 to 1000000; it is {alpha}");
        return Err(PartitionError::Range(problem));
    }
    let gamma = Gamma::new(alpha, 1.0).map_err(|error| PartitionError::Range(error.to_string()))?;
    Ok((0..clients).map(|_| gamma.sample(rng)).collect())
}

/// Gives each share its proportion of the examples.
fn deal(examples: &[u32], proportions: &[f64], shares: &mut [Vec<u32>]) {
    let sum: f64 = proportions.iter().sum();
    if sum <= 0.0 {
        return;
    }
    let (mut below, mut first) = (0.0, 0);
    let last_with_some = proportions.iter().rposition(|&proportion| proportion > 0.0);
    for (index, (proportion, share)) in proportions.iter().zip(shares).enumerate() {
        below += proportion;
        let end = match Some(index) == last_with_some {
            true => examples.len(),
            false => ((below / sum * examples.len() as f64) as usize).clamp(first, examples.len()),
        };
        share.extend(&examples[first..end]);
        first = end;
    }
}

/// The first draw in which each client has the fewest examples; `None` without one.
fn until_enough<R: Rng>(
    mut draw: impl FnMut(&mut R) -> Result<Vec<Vec<u32>>, PartitionError>,
    rng: &mut R,
) -> Result<Option<Vec<Vec<u32>>>, PartitionError> {
    for _ in 0..MOST_DRAWS {
        let shares = draw(rng)?;
        if shares.iter().all(|share| share.len() >= FEWEST) {
            return Ok(Some(shares));
        }
    }
    Ok(None)
}

/// Classes for each client, and their examples in equal parts.
fn by_labels(
    by_class: &[Vec<u32>],
    clients: usize,
    per_client: usize,
    rng: &mut impl Rng,
) -> Result<Vec<Vec<u32>>, PartitionError> {
    let classes = by_class.len();
    if per_client > classes {
        let problem = format!("per_client is {per_client}, and there are {classes} classes");
        return Err(PartitionError::Range(problem));
    }
    let mut holders = vec![Vec::new(); classes];
    for client in 0..clients {
        let mut own = vec![client % classes];
        while own.len() < per_client {
            let class = rng.random_range(0..classes);
            if !own.contains(&class) {
                own.push(class);
            }
        }
        own.into_iter().for_each(|class| holders[class].push(client));
    }
    let mut shares = vec![Vec::new(); clients];
    for (examples, holders) in by_class.iter().zip(&holders).filter(|(_, of)| !of.is_empty()) {
        for (part, &client) in parts(examples, holders.len()).iter().zip(holders) {
            shares[client].extend(part);
        }
    }
    Ok(shares)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use std::collections::BTreeSet;

    use fedra_protocol::Shape;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn digits(examples: usize) -> Dataset {
        let classes = (0..examples as u32).map(|index| index % 10).collect();
        let shape = Shape::from_dims(&[1]).unwrap();
        Dataset::new(vec![0.5; examples], shape, Targets::Classes(classes)).unwrap()
    }

    fn shares(partition: Partition, clients: usize) -> Vec<Vec<u32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        partition.shares(&digits(6_000), clients, &mut rng).unwrap()
    }

    /// Number of classes in a share.
    fn kinds(share: &[u32]) -> usize {
        share.iter().map(|index| index % 10).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn no_example_is_given_twice_and_the_seed_decides() {
        for (partition, clients) in [
            (Partition::Iid, 7),
            (Partition::Shards { per_client: 2 }, 100),
            (Partition::Dirichlet { alpha: 0.5 }, 10),
            (Partition::Labels { per_client: 2 }, 10),
            (Partition::Quantity { alpha: 0.5 }, 10),
        ] {
            let dealt = shares(partition, clients);
            assert_eq!(dealt.len(), clients);
            let all: BTreeSet<u32> = dealt.iter().flatten().copied().collect();
            assert_eq!(all.len(), dealt.iter().map(Vec::len).sum::<usize>(), "{partition:?}");
            assert_eq!(all.len(), 6_000, "{partition:?}");
            assert_eq!(dealt, shares(partition, clients), "the same for the same seed");
        }
    }

    #[test]
    fn each_rule_skews_what_it_says() {
        assert!(shares(Partition::Iid, 10).iter().all(|own| own.len() == 600 && kinds(own) == 10));
        let shards = shares(Partition::Shards { per_client: 2 }, 100);
        assert!(shards.iter().all(|own| own.len() == 60 && kinds(own) <= 2));
        let labels = shares(Partition::Labels { per_client: 2 }, 10);
        assert!(labels.iter().all(|own| kinds(own) == 2));
        let quantity = shares(Partition::Quantity { alpha: 0.5 }, 10);
        let sizes: Vec<usize> = quantity.iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|&size| size >= FEWEST) && sizes.iter().max() > Some(&1_000));
        // The smaller alpha is, the fewer classes make up most of a share.
        let largest = |alpha| {
            let dealt = shares(Partition::Dirichlet { alpha }, 10);
            let share = |own: &Vec<u32>| {
                let count = |class| own.iter().filter(|&&index| index % 10 == class).count();
                (0..10).map(count).max().unwrap() as f64 / own.len() as f64
            };
            dealt.iter().map(share).sum::<f64>() / 10.0
        };
        assert!(largest(0.1) > largest(1.0) && largest(1.0) > largest(100.0));
    }

    #[test]
    fn what_cannot_be_shared_out_is_refused() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut refused = |partition: Partition, data: &Dataset, clients| {
            partition.shares(data, clients, &mut rng).expect_err("refused").to_string()
        };
        assert!(refused(Partition::Iid, &digits(5), 6).contains("too few"));
        assert!(refused(Partition::Dirichlet { alpha: 0.1 }, &digits(50), 10).contains("too few"));
        assert!(refused(Partition::Dirichlet { alpha: 0.0 }, &digits(50), 2).contains("alpha"));
        assert!(
            refused(Partition::Labels { per_client: 11 }, &digits(50), 2).contains("10 classes")
        );
        assert!(
            refused(Partition::Shards { per_client: 0 }, &digits(50), 2).contains("at least 1")
        );
        let shape = Shape::from_dims(&[1]).unwrap();
        let values = Targets::Values { values: vec![0.5; 20], width: 2 };
        let values = Dataset::new(vec![0.5; 10], shape, values).unwrap();
        assert!(refused(Partition::Shards { per_client: 2 }, &values, 2).contains("class"));
    }
}
