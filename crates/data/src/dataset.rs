//! Data sets in memory.

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

    /// `most` of the examples, each with the same chance, in a random order.
    pub fn sample(&self, most: usize, seed: u64) -> Self {
        let mut order = shuffled(self.len(), seed);
        order.truncate(most.max(1));
        self.select(&order)
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
