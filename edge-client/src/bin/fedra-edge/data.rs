//! Local examples from files, shared out among clients.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use clap::Args;
use fedra_data::{CsvOptions, Dataset, DecimalSign, ReadOptions};
use fedra_data_files::{Purpose, Source, load};
use fedra_protocol::TaskDescription;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The I-th of N equal shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shard {
    index: usize,
    count: usize,
}

/// A text that names no shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a shard is I/N with I from 0 to N-1, such as 0/8")]
pub struct NoShard;

impl FromStr for Shard {
    type Err = NoShard;

    fn from_str(text: &str) -> Result<Self, NoShard> {
        let parsed = text.split_once('/').and_then(|(index, count)| {
            Some(Self { index: index.parse().ok()?, count: count.parse().ok()? })
        });
        parsed.filter(|shard| shard.index < shard.count).ok_or(NoShard)
    }
}

/// Files of the local examples.
#[derive(Clone, Args)]
pub struct DataOptions {
    /// File or folder of the examples, of the kind that the task describes: CSV, text,
    /// pictures in a folder for each class, .npy, .npz, .safetensors, or MNIST's files
    #[arg(long)]
    data: PathBuf,
    /// File of the labels, for arrays that have one of their own
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Delimiter of CSV files; by default the one that the header shows
    #[arg(long, value_name = "CHARACTER", value_parser = CsvOptions::delimiter_of)]
    delimiter: Option<u8>,
    /// Decimal sign of the numbers in CSV files: . or ,
    #[arg(long, value_name = "SIGN", default_value = ".")]
    decimal: DecimalSign,
}

impl DataOptions {
    /// Fails where there is nothing to read, which needs no server to know.
    pub fn check(&self) -> anyhow::Result<()> {
        for path in std::iter::once(&self.data).chain(&self.labels) {
            if !path.exists() {
                bail!("there is no file or folder {}", path.display());
            }
        }
        Ok(())
    }

    /// The examples as a task describes them.
    pub fn load(&self, task: &TaskDescription) -> anyhow::Result<Dataset> {
        let described = task.data_or_bytes().context("the task's description of its data")?;
        let source = Source {
            data: self.data.clone(),
            labels: self.labels.clone(),
            purpose: Purpose::Training,
        };
        let csv = CsvOptions { delimiter: self.delimiter, decimal: self.decimal };
        let options = ReadOptions { csv, ..ReadOptions::default() };
        Ok(load(&source, &described, &task.model, options)?)
    }
}

/// Partition of the examples among clients.
#[derive(Clone, Copy)]
pub struct Partition {
    /// Shuffles before sharing out, so that every share is alike (IID).
    pub seed: u64,
    /// This process's part of the whole.
    pub shard: Option<Shard>,
    /// Shares.
    pub clients: usize,
    /// Most examples a share.
    pub examples: Option<usize>,
}

impl Partition {
    /// One data set a client.
    pub fn shares(&self, data: &Dataset) -> anyhow::Result<Vec<Dataset>> {
        let mut order: Vec<u32> = (0..data.len() as u32).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed));
        let mine = match self.shard {
            Some(Shard { index, count }) => share(&order, index, count),
            None => &order,
        };
        (0..self.clients)
            .map(|client| {
                let part = share(mine, client, self.clients);
                let part = &part[..self.examples.unwrap_or(part.len()).min(part.len())];
                ensure!(!part.is_empty(), "{} examples are too few for so many shares", mine.len());
                Ok(data.select(part))
            })
            .collect()
    }
}

/// The `index`-th of `count` parts whose sizes differ by at most one.
fn share(order: &[u32], index: usize, count: usize) -> &[u32] {
    let start = order.len() * index / count;
    let end = order.len() * (index + 1) / count;
    &order[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once() {
        let order: Vec<u32> = (0..1001).collect();
        let joined: Vec<u32> = (0..8).flat_map(|i| share(&order, i, 8).to_vec()).collect();
        assert_eq!(joined, order);
    }

    #[test]
    fn a_shard_outside_its_count_is_refused() {
        assert!("8/8".parse::<Shard>().is_err());
        assert!("x/8".parse::<Shard>().is_err());
        assert!("0/0".parse::<Shard>().is_err());
        assert_eq!("7/8".parse(), Ok(Shard { index: 7, count: 8 }));
    }
}
