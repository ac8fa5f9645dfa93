//! Order in which a training goes through examples.

use fedra_protocol::LocalTraining;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Batches of a plan, drawn from its seed: each epoch shuffles the examples anew, and its
/// last batch may be smaller.
///
/// On every device the same plan takes the same batches, but that dropout on the CPU draws
/// from the same generator.
pub struct BatchOrder {
    rng: ChaCha8Rng,
    chosen: Option<Vec<u32>>,
    order: Vec<u32>,
    batch: usize,
    position: usize,
    /// Steps of the whole plan.
    steps: u64,
}

impl BatchOrder {
    /// Order of a plan over `examples` examples, at least 1, or over a random part of them
    /// where the plan has a limit.
    pub fn new(plan: &LocalTraining, examples: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed());
        let most = plan.max_examples() as usize;
        let chosen = (most > 0 && most < examples).then(|| {
            let mut all: Vec<u32> = (0..examples as u32).collect();
            all.shuffle(&mut rng);
            all.truncate(most);
            all
        });
        let count = chosen.as_ref().map_or(examples, Vec::len);
        let batch = plan.batch_size() as usize;
        let steps = match plan.steps() {
            0 => count.div_ceil(batch) as u64 * u64::from(plan.epochs()),
            steps => steps.into(),
        };
        Self { rng, chosen, order: (0..count as u32).collect(), batch, position: 0, steps }
    }

    /// Number of examples that take part.
    pub fn examples(&self) -> usize {
        self.order.len()
    }

    /// The examples that take part, by their indices in the data set; `None` if all do.
    pub fn chosen(&self) -> Option<&[u32]> {
        self.chosen.as_deref()
    }

    /// Steps of the whole plan.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Steps of an epoch.
    pub fn steps_an_epoch(&self) -> u64 {
        self.order.len().div_ceil(self.batch) as u64
    }

    /// Epochs of the whole plan; where it has a number of steps, the last may be cut short.
    pub fn epochs(&self) -> u32 {
        self.epochs_begun(self.steps)
    }

    /// Epochs begun after `steps` steps.
    pub fn epochs_begun(&self, steps: u64) -> u32 {
        steps.div_ceil(self.steps_an_epoch()) as u32
    }

    /// Examples of the next epoch in their order, by their indices in the data set.
    pub fn next_epoch(&mut self) -> Vec<u32> {
        self.order.shuffle(&mut self.rng);
        match &self.chosen {
            Some(chosen) => self.order.iter().map(|&i| chosen[i as usize]).collect(),
            None => self.order.clone(),
        }
    }

    /// The next batch, by indices among the examples that take part, and the generator of
    /// whatever else a step draws.
    pub(super) fn next_batch(&mut self) -> (&[u32], &mut ChaCha8Rng) {
        if self.position == 0 {
            self.order.shuffle(&mut self.rng);
        }
        let batch = self.position..(self.position + self.batch).min(self.order.len());
        self.position = if batch.end == self.order.len() { 0 } else { batch.end };
        (&self.order[batch], &mut self.rng)
    }
}
