//! Partition of a data set among clients, by a seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedra_data::{Dataset, Targets};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Gamma};
use serde::Deserialize;

/// Most clients.
pub(crate) const MOST_CLIENTS: usize = 100_000;
/// Fewest examples of a client of a [`Partition::Dirichlet`] or [`Partition::Quantity`].
const FEWEST: usize = 10;
/// Draws after which a partition counts as impossible.
const MOST_DRAWS: usize = 1_000;

/// Training data of all clients together.
#[derive(Clone, Debug)]
pub struct Examples {
    /// The examples.
    pub all: Arc<Dataset>,
    /// The examples of each natural client, by its name; empty for other partitions.
    pub(crate) groups: BTreeMap<String, Vec<u32>>,
}

/// A client's part of the examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Name of a natural client: the value of the column, or the name of the file. Of any
    /// other its number, from 0.
    pub name: String,
    /// Indices of its examples, in increasing order.
    pub examples: Vec<u32>,
}

/// Rule by which examples are shared out. Every example goes to at most one client.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Partition {
    /// Equal shares of the shuffled examples.
    Iid {},
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
    /// Natural clients: one for each value of a column, which need not be a feature. A row
    /// without a value goes to none.
    Column {
        /// Column of the table, or of the CSV file that lists pictures.
        column: String,
        /// Fewest examples of a client; a value with fewer is left out.
        #[serde(default = "one")]
        minimum: u32,
    },
    /// Natural clients: one for each file or folder of the data's folder.
    Files {
        /// Fewest examples of a client; a file with fewer is left out.
        #[serde(default = "one")]
        minimum: u32,
    },
}

fn one() -> u32 {
    1
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
    /// There are more clients than examples.
    #[error("{clients} clients cannot share {examples} examples; lower simulation.clients")]
    MoreClients {
        /// Examples in all.
        examples: usize,
        /// Clients.
        clients: usize,
    },
    /// Chance gives some clients too little.
    #[error(
        "none of {MOST_DRAWS} draws gave each of {clients} clients {FEWEST} of {examples} examples; \
         lower simulation.clients, or raise alpha"
    )]
    Unlikely {
        /// Examples in all.
        examples: usize,
        /// Clients.
        clients: usize,
    },
    /// A client has nothing.
    #[error(
        "client {client} of {clients} has none of {examples} examples; lower simulation.clients, or \
         per_client"
    )]
    Nothing {
        /// The first such client.
        client: usize,
        /// Clients.
        clients: usize,
        /// Examples in all.
        examples: usize,
    },
    /// The number of clients is not given.
    #[error(
        "simulation.clients is missing; only the partitions \"column\" and \"files\" know it \
         themselves"
    )]
    NoClients,
    /// There are fewer natural clients.
    #[error(
        "{natural} {kind} have {minimum} or more examples, and simulation.clients is {clients}; lower \
         it or minimum, or leave it out to have all"
    )]
    FewerNatural {
        /// Natural clients.
        natural: usize,
        /// Name of their kind.
        kind: &'static str,
        /// Fewest examples of each.
        minimum: u32,
        /// Clients that are asked for.
        clients: usize,
    },
    /// There are no natural clients.
    #[error("none of {all} {kind} has {minimum} or more examples; lower minimum")]
    NoNatural {
        /// Natural clients of any size.
        all: usize,
        /// Name of their kind.
        kind: &'static str,
        /// Fewest examples of each.
        minimum: u32,
    },
    /// There are too many natural clients.
    #[error(
        "there are {natural} {kind}, and at most {MOST_CLIENTS} clients; set simulation.clients to \
         have some of them by chance"
    )]
    TooManyNatural {
        /// Natural clients.
        natural: usize,
        /// Name of their kind.
        kind: &'static str,
    },
}

impl Partition {
    /// True if the data say how many clients there are.
    pub(crate) fn is_natural(&self) -> bool {
        matches!(self, Self::Column { .. } | Self::Files { .. })
    }

    /// Each client's examples. `clients` is their number; natural clients are all there are
    /// without it, and so many by chance with it.
    ///
    /// # Errors
    ///
    /// [`PartitionError`] if the examples cannot be shared out so.
    pub(crate) fn shares(
        &self,
        examples: &Examples,
        clients: Option<usize>,
        rng: &mut impl Rng,
    ) -> Result<Vec<Share>, PartitionError> {
        let (kind, minimum) = match self {
            Self::Column { minimum, .. } => ("values of the column", *minimum),
            Self::Files { minimum } => ("files and folders", *minimum),
            _ => {
                let clients = clients.ok_or(PartitionError::NoClients)?;
                let shares = self.dealt(&examples.all, clients, rng)?.into_iter().enumerate();
                let share =
                    |(number, examples): (usize, _)| Share { name: number.to_string(), examples };
                return Ok(shares.map(share).collect());
            }
        };
        natural(&examples.groups, kind, minimum, clients, rng)
    }

    /// The indices of each client's examples, in increasing order.
    fn dealt(
        &self,
        data: &Dataset,
        clients: usize,
        rng: &mut impl Rng,
    ) -> Result<Vec<Vec<u32>>, PartitionError> {
        let examples = data.len();
        if clients == 0 || examples < clients {
            return Err(PartitionError::MoreClients { examples, clients });
        }
        let unlikely = PartitionError::Unlikely { examples, clients };
        let mut shuffled: Vec<u32> = (0..data.len() as u32).collect();
        shuffled.shuffle(rng);
        let mut shares = match *self {
            Self::Iid {} => parts(&shuffled, clients),
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
                until_enough(draw, rng)?.ok_or(unlikely)?
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
                until_enough(draw, rng)?.ok_or(unlikely)?
            }
            Self::Column { .. } | Self::Files { .. } => unreachable!("natural clients are grouped"),
        };
        shares.iter_mut().for_each(|share| share.sort_unstable());
        match shares.iter().position(Vec::is_empty) {
            None => Ok(shares),
            Some(client) => Err(PartitionError::Nothing { client, clients, examples }),
        }
    }
}

/// Natural clients with enough examples, in the order of their names: all, or so many by
/// chance.
fn natural(
    groups: &BTreeMap<String, Vec<u32>>,
    kind: &'static str,
    minimum: u32,
    clients: Option<usize>,
    rng: &mut impl Rng,
) -> Result<Vec<Share>, PartitionError> {
    let is_enough = |(_, group): &(&String, &Vec<u32>)| group.len() >= minimum as usize;
    let enough: Vec<_> = groups.iter().filter(is_enough).collect();
    let natural = enough.len();
    let share = |at: usize| {
        let (name, examples) = enough[at];
        Share { name: name.clone(), examples: examples.clone() }
    };
    match clients {
        _ if natural == 0 => Err(PartitionError::NoNatural { all: groups.len(), kind, minimum }),
        None if natural > MOST_CLIENTS => Err(PartitionError::TooManyNatural { natural, kind }),
        None => Ok((0..natural).map(share).collect()),
        Some(clients) if clients > natural => {
            Err(PartitionError::FewerNatural { natural, kind, minimum, clients })
        }
        Some(clients) => {
            let mut chosen = rand::seq::index::sample(rng, natural, clients).into_vec();
            chosen.sort_unstable();
            Ok(chosen.into_iter().map(share).collect())
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

    fn shares(partition: &Partition, clients: usize) -> Vec<Vec<u32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        partition.dealt(&digits(6_000), clients, &mut rng).unwrap()
    }

    /// Number of classes in a share.
    fn kinds(share: &[u32]) -> usize {
        share.iter().map(|index| index % 10).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn no_example_is_given_twice_and_the_seed_decides() {
        for (partition, clients) in [
            (Partition::Iid {}, 7),
            (Partition::Shards { per_client: 2 }, 100),
            (Partition::Dirichlet { alpha: 0.5 }, 10),
            (Partition::Labels { per_client: 2 }, 10),
            (Partition::Quantity { alpha: 0.5 }, 10),
        ] {
            let dealt = shares(&partition, clients);
            assert_eq!(dealt.len(), clients);
            let all: BTreeSet<u32> = dealt.iter().flatten().copied().collect();
            assert_eq!(all.len(), dealt.iter().map(Vec::len).sum::<usize>(), "{partition:?}");
            assert_eq!(all.len(), 6_000, "{partition:?}");
            assert_eq!(dealt, shares(&partition, clients), "the same for the same seed");
        }
    }

    #[test]
    fn each_rule_skews_what_it_says() {
        assert!(
            shares(&Partition::Iid {}, 10).iter().all(|own| own.len() == 600 && kinds(own) == 10)
        );
        let shards = shares(&Partition::Shards { per_client: 2 }, 100);
        assert!(shards.iter().all(|own| own.len() == 60 && kinds(own) <= 2));
        let labels = shares(&Partition::Labels { per_client: 2 }, 10);
        assert!(labels.iter().all(|own| kinds(own) == 2));
        let quantity = shares(&Partition::Quantity { alpha: 0.5 }, 10);
        let sizes: Vec<usize> = quantity.iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|&size| size >= FEWEST) && sizes.iter().max() > Some(&1_000));
        // The smaller alpha is, the fewer classes make up most of a share.
        let largest = |alpha| {
            let dealt = shares(&Partition::Dirichlet { alpha }, 10);
            let share = |own: &Vec<u32>| {
                let count = |class| own.iter().filter(|&&index| index % 10 == class).count();
                (0..10).map(count).max().unwrap() as f64 / own.len() as f64
            };
            dealt.iter().map(share).sum::<f64>() / 10.0
        };
        assert!(largest(0.1) > largest(1.0) && largest(1.0) > largest(100.0));
    }

    #[test]
    fn natural_clients_are_all_or_some_by_the_seed() {
        let group = |name: &str, of: std::ops::Range<u32>| (name.to_owned(), of.collect());
        let groups = BTreeMap::from([
            group("west", 0..4),
            group("east", 4..5),
            group("north", 5..8),
            group("south", 8..12),
        ]);
        let examples = Examples { all: digits(12).into(), groups };
        let column = |minimum| Partition::Column { column: "side".to_owned(), minimum };
        let of = |minimum, clients, seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let shares = column(minimum).shares(&examples, clients, &mut rng);
            shares.map(|shares| shares.into_iter().map(|of| of.name).collect::<Vec<_>>())
        };
        assert_eq!(of(1, None, 1).unwrap(), ["east", "north", "south", "west"]);
        assert_eq!(of(2, None, 1).unwrap(), ["north", "south", "west"]);
        let two = |seed| of(2, Some(2), seed).unwrap();
        assert_eq!(two(1), two(1));
        assert!(two(1).is_sorted() && (2..20).any(|seed| two(seed) != two(1)));
        let told = of(2, Some(4), 1).unwrap_err().to_string();
        assert!(told.starts_with("3 values of the column have 2 or more examples"), "{told}");
        let told = of(5, None, 1).unwrap_err().to_string();
        assert!(told.contains("none of 4") && told.contains("lower minimum"), "{told}");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let dealt = Partition::Iid {}.shares(&examples, None, &mut rng);
        assert_eq!(dealt, Err(PartitionError::NoClients));
    }

    #[test]
    fn what_cannot_be_shared_out_is_refused() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut refused = |partition: Partition, data: &Dataset, clients| {
            partition.dealt(data, clients, &mut rng).expect_err("refused").to_string()
        };
        assert!(refused(Partition::Iid {}, &digits(5), 6).contains("lower simulation.clients"));
        assert!(
            refused(Partition::Dirichlet { alpha: 0.1 }, &digits(50), 10)
                .contains("none of 1000 draws")
        );
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
