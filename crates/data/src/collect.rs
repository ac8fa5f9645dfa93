//! Examples as they are read one by one.

use fedra_protocol::Shape;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::features::Features;
use crate::memory::OutOfMemory;
use crate::read_error::Problem;
use crate::targets::Targets;

/// Target of one example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target<'a> {
    Class(u32),
    Values(&'a [f32]),
    /// A class at each position.
    Positions(&'a [u32]),
}

/// Examples that were read. Memory grows with their number, up to a limit if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    shape: Shape,
    features: Features,
    targets: Option<Targets>,
    /// Examples that are kept.
    kept: usize,
    /// Examples that were given.
    seen: u64,
    most: Option<usize>,
    rng: ChaCha8Rng,
}

impl Collector {
    /// Examples of `shape`: all, or `most` of them, each with the same chance (algorithm R,
    /// Vitter 1985).
    pub fn new(shape: Shape, most: Option<usize>, seed: u64) -> Self {
        let features = match shape {
            Shape::Tokens { .. } => Features::Tokens(Vec::new()),
            _ => Features::Values(Vec::new()),
        };
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { shape, features, targets: None, kept: 0, seen: 0, most, rng }
    }

    /// Number of examples that were given.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes an example of values.
    pub fn add(&mut self, features: &[f32], target: Target<'_>) -> Result<(), Problem> {
        let Some(place) = self.place() else { return Ok(()) };
        let Features::Values(values) = &mut self.features else { unreachable!("made for values") };
        put(values, place, features)?;
        self.put_target(place, target)
    }

    /// Takes an example of token ids.
    pub fn add_tokens(&mut self, ids: &[u32], target: Target<'_>) -> Result<(), Problem> {
        let Some(place) = self.place() else { return Ok(()) };
        let Features::Tokens(tokens) = &mut self.features else { unreachable!("made for ids") };
        put(tokens, place, ids)?;
        self.put_target(place, target)
    }

    /// Place of the next example, if it is kept.
    fn place(&mut self) -> Option<usize> {
        self.seen += 1;
        match self.most {
            Some(most) if self.kept == most => {
                let place = self.rng.random_range(0..self.seen);
                (place < most as u64).then_some(place as usize)
            }
            _ => {
                self.kept += 1;
                Some(self.kept - 1)
            }
        }
    }

    fn put_target(&mut self, place: usize, target: Target<'_>) -> Result<(), Problem> {
        let targets = self.targets.get_or_insert_with(|| match target {
            Target::Class(_) => Targets::Classes(Vec::new()),
            Target::Values(values) => Targets::Values { values: Vec::new(), width: values.len() },
            Target::Positions(classes) => {
                Targets::PositionClasses { classes: Vec::new(), positions: classes.len() }
            }
        });
        match (targets, target) {
            (Targets::Classes(classes), Target::Class(class)) => put(classes, place, &[class]),
            (Targets::Values { values, .. }, Target::Values(given)) => put(values, place, given),
            (Targets::PositionClasses { classes, .. }, Target::Positions(given)) => {
                put(classes, place, given)
            }
            _ => unreachable!("a description has one kind of targets"),
        }?;
        Ok(())
    }

    /// The examples.
    pub fn finish(self) -> Result<Dataset, DatasetError> {
        let targets = self.targets.ok_or(DatasetError::Empty)?;
        Dataset::new(self.features, self.shape, targets)
    }
}

/// Writes a row at its place, or behind the last one.
fn put<T: Copy>(all: &mut Vec<T>, place: usize, row: &[T]) -> Result<(), OutOfMemory> {
    let start = place * row.len();
    if start < all.len() {
        all[start..start + row.len()].copy_from_slice(row);
        return Ok(());
    }
    let bytes = size_of::<T>() as u64 * (all.len() as u64).max(row.len() as u64);
    all.try_reserve(row.len()).map_err(|_| OutOfMemory { bytes })?;
    all.extend_from_slice(row);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_every_example_is_kept_in_its_order() {
        let mut all = Collector::new(Shape::Features(2), None, 1);
        for i in 0..5 {
            all.add(&[i as f32, 0.5], Target::Class(i)).unwrap();
        }
        let data = all.finish().unwrap();
        assert_eq!(data.targets(), &Targets::Classes(vec![0, 1, 2, 3, 4]));
        assert_eq!(data.features_of(&[3]), Features::Values(vec![3.0, 0.5]));
        let none = Collector::new(Shape::Features(2), None, 1).finish();
        assert_eq!(none, Err(DatasetError::Empty));
    }

    #[test]
    fn with_a_limit_every_example_has_the_same_chance() {
        let (examples, most, runs) = (20u32, 5, 4000);
        let mut counts = [0u32; 20];
        for seed in 0..runs {
            let mut some = Collector::new(Shape::Features(1), Some(most), seed);
            for i in 0..examples {
                some.add(&[i as f32], Target::Values(&[i as f32])).unwrap();
            }
            assert_eq!(some.seen(), 20);
            let data = some.finish().unwrap();
            assert_eq!(data.len(), most);
            let Features::Values(values) = data.features() else { panic!("values") };
            let Targets::Values { values: targets, .. } = data.targets() else { panic!("values") };
            assert_eq!(values, targets, "features and targets stay together");
            values.iter().for_each(|&value| counts[value as usize] += 1);
        }
        // Within five standard errors of a quarter.
        let (share, error) = (0.25, 5.0 * (0.25 * 0.75 / runs as f64).sqrt());
        for (example, &count) in counts.iter().enumerate() {
            let chance = f64::from(count) / runs as f64;
            assert!((chance - share).abs() < error, "{example}: {chance}");
        }
    }
}
