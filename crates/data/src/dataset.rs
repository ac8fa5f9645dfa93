//! Data sets in memory.

use std::cmp::Reverse;

use fedra_protocol::{ModelSpec, Shape};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::error::DatasetError;
use super::features::Features;
use super::targets::Targets;

/// Examples with their targets. Non-empty, finite, consistent.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub(super) features: Features,
    pub(super) shape: Shape,
    pub(super) targets: Targets,
}

impl Dataset {
    /// Checks lengths and ranges. `shape` is one example's; images have their channels
    /// first.
    ///
    /// # Errors
    ///
    /// [`DatasetError`] for kinds and lengths that do not agree, for the first value that
    /// is not finite, and for the first token id beyond the vocabulary.
    pub fn new(
        features: impl Into<Features>,
        shape: Shape,
        targets: Targets,
    ) -> Result<Self, DatasetError> {
        let features = features.into();
        targets.check(features.examples(shape)? as usize)?;
        features.check_range(shape)?;
        targets.check_range()?;
        Ok(Self { features, shape, targets })
    }

    /// Number of examples, at least 1.
    pub fn len(&self) -> usize {
        self.features.len() / self.shape.len()
    }

    /// Never: a data set has at least one example.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// Shape of one example.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Elements of all examples, row by row.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Targets of all examples.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The examples at `indices`, copied in that order. Panics on an index out of range.
    pub fn select(&self, indices: &[u32]) -> Self {
        Self {
            features: self.features_of(indices),
            shape: self.shape,
            targets: self.targets.select(indices),
        }
    }

    /// Adds the examples of another data set behind these.
    ///
    /// # Errors
    ///
    /// [`DatasetError`] if its examples or targets are of another form. The data set stays as
    /// it was then.
    pub fn append(&mut self, other: Self) -> Result<(), DatasetError> {
        if self.shape != other.shape {
            let (model, data) = (self.shape.dims(), other.shape.dims());
            return Err(DatasetError::Shape { model, data });
        }
        if self.len() + other.len() > u32::MAX as usize {
            return Err(DatasetError::TooMany { examples: self.len() + other.len() });
        }
        self.targets.append(other.targets)?;
        match (&mut self.features, other.features) {
            (Features::Values(all), Features::Values(more)) => all.extend(more),
            (Features::Tokens(all), Features::Tokens(more)) => all.extend(more),
            _ => unreachable!("one shape has one kind of elements"),
        }
        Ok(())
    }

    /// `most` of the examples, each with the same chance, in a random order.
    pub fn sample(&self, most: usize, seed: u64) -> Self {
        let mut order = shuffled(self.len(), seed);
        order.truncate(most.max(1));
        self.select(&order)
    }

    /// Divides the examples: those to train on, and a share of `held_out` for evaluation,
    /// rounded up. A single example is on both sides.
    ///
    /// The same examples are divided alike wherever and whenever that is. Each is judged by
    /// its own values and the seed, so that one that is added later moves few of the others.
    /// Token ids are stretches of a text that may overlap: there the last ones are held out.
    pub fn split(self, held_out: f64, seed: u64) -> (Self, Self) {
        let examples = self.len();
        if examples == 1 {
            return (self.clone(), self);
        }
        let share = (examples as f64 * held_out).ceil() as usize;
        let share = share.clamp(1, examples - 1);
        let mut order: Vec<u32> = (0..examples as u32).collect();
        if !matches!(self.shape, Shape::Tokens { .. }) {
            order.sort_by_cached_key(|&index| Reverse(self.key(index, seed)));
        }
        let (train, evaluate) = order.split_at_mut(examples - share);
        train.sort_unstable();
        evaluate.sort_unstable();
        (self.select(train), self.select(evaluate))
    }

    /// Number of an example that depends on its values and the seed alone (FNV-1a).
    fn key(&self, index: u32, seed: u64) -> u64 {
        let mut key = seed ^ 0xcbf2_9ce4_8422_2325;
        let mut add = |value: u32| {
            for byte in value.to_le_bytes() {
                key = (key ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        self.features_of(&[index]).bits().for_each(&mut add);
        self.targets.select(&[index]).bits().for_each(&mut add);
        // The last bytes reach the high bits, by which examples are ordered.
        key ^= key >> 32;
        key = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        key ^ (key >> 29)
    }

    /// Features of the examples at `indices`, row by row.
    pub fn features_of(&self, indices: &[u32]) -> Features {
        self.features.rows(self.shape.len(), indices)
    }

    /// Targets of the examples at `indices` for a model that they fit,
    /// `[indices * positions, outputs]`, classes one-hot.
    pub fn dense_targets_of(&self, indices: &[u32], spec: &ModelSpec) -> Vec<f32> {
        self.targets.dense(indices, spec)
    }
}

/// The indices of `examples` examples in a random order.
fn shuffled(examples: usize, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..examples as u32).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order
}
