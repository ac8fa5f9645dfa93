//! Differential privacy of the single example: DP-SGD on the client (Abadi et
//! al. 2016), for an organisation that holds many people's records.
//!
//! This file samples, adds the noise and counts the cost; the clipped sums are
//! `network::per_example`'s. Nothing here may depend on the task's seed, which
//! the server knows.

use burn::tensor::Tensor;
use differential_privacy::accounting::RdpCurve;
use differential_privacy::sampler::{DiscreteGaussian, Ratio};
use differential_privacy::{ClippingNorm, Delta, Epsilon, NoiseMultiplier, SamplingRate};
use fedra_protocol::ModelSpec;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::LearningError;
use crate::layers::{can_be_clipped, tensor};

/// Steps of the noise's grid in one standard deviation. Fine enough that
/// rounding costs little, coarse enough that single precision holds 16 standard
/// deviations exactly.
const STEPS_PER_DEVIATION: u64 = 1 << 20;
/// The part of the clipping norm kept back for the rounding errors of sums in
/// single precision.
const ARITHMETIC_MARGIN: f64 = 1.0 / 1024.0;
/// The most of the clipping norm that rounding to the grid may cost.
const MOST_ROUNDING: f64 = 1.0 / 16.0;

/// Promise of an organisation to the people whose records it trains on, by its
/// own choice: the server neither sets nor learns it.
///
/// One example is protected against every party that sees the trained model, the
/// server included: with an example's contribution zeroed out, the model's law
/// differs by no more than (epsilon, delta). How many examples there are is not
/// protected. A person with several examples needs the promise for a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExamplePrivacy {
    /// C: the largest L2 norm of one example's gradient; longer ones are scaled
    /// down to it.
    pub clipping_norm: ClippingNorm,
    /// z: the standard deviation of the noise on a step's sum of gradients, over C.
    pub noise_multiplier: NoiseMultiplier,
    /// The delta at which the cost is told.
    pub delta: Delta,
}

/// Cost of training to every example. Costs of several rounds add up.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleCost {
    curve: RdpCurve,
    delta: Delta,
    steps: u64,
}

impl ExamplePrivacy {
    /// The cost of `steps` steps, each on a Poisson sample of `examples` examples
    /// with `batch_size` expected (Mironov, Talwar and Zhang 2019, section 3.3).
    ///
    /// The formula is that of continuous noise. At integer orders it is exact for
    /// this discrete noise too: the moments of a discrete Gaussian shifted by an
    /// integer are those of the continuous one.
    pub fn cost(&self, examples: usize, batch_size: u32, steps: u32) -> ExampleCost {
        let rate = f64::from(batch_size) / examples as f64;
        let rate = SamplingRate::new(rate.min(1.0)).expect("a batch has at least one example");
        let curve = RdpCurve::poisson_gaussian(rate, self.noise_multiplier).times(steps);
        ExampleCost { curve, delta: self.delta, steps: u64::from(steps) }
    }
}

impl ExampleCost {
    /// Epsilon at [`Self::delta`].
    pub fn epsilon(&self) -> Epsilon {
        self.curve.epsilon(self.delta)
    }

    /// Delta, as the organisation chose it.
    pub fn delta(&self) -> Delta {
        self.delta
    }

    /// Steps that were paid for.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// This cost and that of later training on the same examples, told at this one's delta.
    pub fn and(&self, later: &Self) -> Self {
        Self {
            curve: self.curve.and(&later.curve),
            delta: self.delta,
            steps: self.steps + later.steps,
        }
    }
}

/// The secret side of private steps.
pub(crate) struct PrivateSteps {
    rng: ChaCha20Rng,
    noise: DiscreteGaussian,
    /// Distance of two values of a noised sum.
    grid: f64,
    /// Norm that gradients are clipped to, a little below C.
    clip: f32,
    /// Examples in all, and expected in a batch.
    examples: u32,
    expected: u32,
}

impl PrivateSteps {
    /// Fails on a model or a noise multiplier that the method does not cover.
    pub fn new(
        spec: &ModelSpec,
        privacy: ExamplePrivacy,
        secret: [u8; 32],
        examples: usize,
        batch_size: u32,
    ) -> Result<Self, LearningError> {
        check_layers(spec)?;
        let (norm, z) = (privacy.clipping_norm.value(), privacy.noise_multiplier.value());
        let grid = z * norm / STEPS_PER_DEVIATION as f64;
        // Rounding moves each value of a sum by half a step at most, so an example
        // moves the rounded sum by at most a step a value more than the sum itself.
        let rounding = grid * (spec.parameters() as f64).sqrt();
        if rounding > MOST_ROUNDING * norm {
            let most = z * MOST_ROUNDING * norm / rounding;
            return Err(LearningError::ExamplePrivacyNoise { noise_multiplier: z, most });
        }
        let clip = norm * (1.0 - ARITHMETIC_MARGIN) - rounding;
        let scale = Ratio::new(STEPS_PER_DEVIATION, 1).expect("a positive constant");
        let examples = examples as u32;
        Ok(Self {
            rng: ChaCha20Rng::from_seed(secret),
            noise: DiscreteGaussian::new(scale),
            grid,
            clip: clip as f32,
            examples,
            expected: batch_size.min(examples),
        })
    }

    /// Norm that each example's gradient is clipped to.
    pub fn clip(&self) -> f32 {
        self.clip
    }

    /// Secret dice for what else is random in a step: dropout.
    pub fn rng(&mut self) -> &mut ChaCha20Rng {
        &mut self.rng
    }

    /// A Poisson sample: each example by itself with probability expected/examples,
    /// exactly. It may be empty.
    pub fn sample(&mut self) -> Vec<u32> {
        let (examples, expected) = (self.examples, self.expected);
        (0..examples).filter(|_| self.rng.random_range(0..examples) < expected).collect()
    }

    /// A sum of clipped gradients with noise, over the expected batch.
    ///
    /// The sum is rounded to the grid and the noise is a whole number of its steps,
    /// drawn exactly: what follows is arithmetic on a private integer (Canonne,
    /// Kamath and Steinke 2020), and none of the low bits of floating-point noise
    /// can tell on the sum (Mironov 2012).
    pub fn noised(&mut self, sum: Tensor<1>) -> Tensor<1> {
        let len = sum.dims()[0];
        let mut noise = vec![0.0f32; len];
        self.noise.fold_into(&mut noise, &mut self.rng, |value, steps| *value = steps as f32);
        let noise = tensor::<1>(noise, &[len], &sum.device());
        let rounded = sum.mul_scalar(1.0 / self.grid).round();
        (rounded + noise).mul_scalar(self.grid / f64::from(self.expected))
    }
}

/// Every layer that is trained must be one whose per-example gradients are known.
fn check_layers(spec: &ModelSpec) -> Result<(), LearningError> {
    let layers = spec.layers().iter().enumerate().filter(|(index, _)| !spec.is_frozen(*index));
    let mut all = layers.flat_map(|(index, layer)| {
        layer.with_nested().into_iter().map(move |layer| (index, layer))
    });
    match all.find(|(_, layer)| !can_be_clipped(layer)) {
        None => Ok(()),
        Some((index, layer)) => {
            Err(LearningError::ExamplePrivacyLayer { index, layer: layer.type_name() })
        }
    }
}
