//! Parts of the tests on a device: the adapter, random values, comparisons.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod reference;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fedra_gpu::{Examples, Gpu, LimitsWanted, Preference, Preset, Setup, Targets, Trainer};
use fedra_protocol::{LocalTraining, Loss, ModelSpec, RawLocalTraining};
use pollster::block_on;

/// A software adapter. Every machine can have one, so its absence is a failure.
pub fn gpu_with(limits: LimitsWanted) -> Gpu {
    block_on(Gpu::request(Preference::Software, limits)).unwrap_or_else(|error| {
        panic!(
            "{error}: these tests run on Mesa's lavapipe; install it (on Debian `apt-get install \
             mesa-vulkan-drivers`)"
        )
    })
}

pub fn gpu() -> Gpu {
    gpu_with(LimitsWanted::Adapter)
}

/// Time since the first call.
pub fn now() -> Duration {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Pseudo-random numbers, the same in every run (xorshift64*, Vigna 2016).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    /// Uniform in [-1, 1).
    pub fn value(&mut self) -> f32 {
        self.bits() as f32 / (1u64 << 31) as f32 - 1.0
    }

    pub fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.value() * scale).collect()
    }
}

/// Parameters as a training starts with them: uniform, smaller for larger layers.
pub fn parameters(spec: &ModelSpec, random: &mut Random) -> Vec<f32> {
    let mut flat = Vec::new();
    for tensor in spec.layout() {
        let values = match tensor.init {
            fedra_protocol::Init::Uniform { fan_in } => {
                random.values(tensor.len(), 1.0 / (fan_in as f32).sqrt())
            }
            _ => random.values(tensor.len(), 1.0).iter().map(|v| 1.0 + 0.3 * v).collect(),
        };
        flat.extend(values);
    }
    flat
}

/// Examples for the whole model.
pub fn examples(spec: &ModelSpec, rows: usize, random: &mut Random) -> Examples {
    let features = random.values(rows * spec.input().len(), 1.0);
    let targets = match spec.loss() {
        Loss::SoftmaxCrossEntropy => {
            let classes = spec.output_len() as u32;
            Targets::Classes((0..rows).map(|_| random.bits() % classes).collect())
        }
        _ => Targets::Values(random.values(rows * spec.output_len(), 1.0)),
    };
    Examples { features: Arc::new(features), targets }
}

pub fn training(batch_size: u32, momentum: f32, weight_decay: f32) -> LocalTraining {
    let raw = RawLocalTraining { batch_size, momentum, weight_decay, ..Default::default() };
    LocalTraining::new(raw).expect("a plan within its ranges")
}

pub fn setup(spec: &ModelSpec, training: LocalTraining, preset: Preset) -> Setup {
    Setup { spec: spec.clone(), first: 0, training, preset, now }
}

pub fn trainer(gpu: &Gpu, setup: &Setup, parameters: &[f32], examples: &Arc<Examples>) -> Trainer {
    block_on(Trainer::new(gpu, setup, parameters, examples.clone())).expect("a trainer")
}

/// Features of the examples `rows`, in double precision.
fn inputs(spec: &ModelSpec, examples: &Examples, rows: &[u32]) -> Vec<f64> {
    select(examples.features.values(), spec.input().len(), rows)
}

fn select(values: &[f32], width: usize, rows: &[u32]) -> Vec<f64> {
    let rows = rows.iter().flat_map(|&row| &values[row as usize * width..][..width]);
    rows.map(|&value| f64::from(value)).collect()
}

/// Loss and gradient in double precision over the examples `rows`.
pub fn expected(
    spec: &ModelSpec,
    parameters: &[f64],
    examples: &Examples,
    rows: &[u32],
) -> (f64, Vec<f64>) {
    let inputs = inputs(spec, examples, rows);
    match &examples.targets {
        Targets::Classes(classes) => {
            let classes: Vec<u32> = rows.iter().map(|&row| classes[row as usize]).collect();
            reference::gradient(spec, parameters, &inputs, &reference::Targets::Classes(&classes))
        }
        Targets::Values(values) => {
            let values = select(values, spec.output_len(), rows);
            reference::gradient(spec, parameters, &inputs, &reference::Targets::Values(&values))
        }
    }
}

/// Least distance of the examples `rows` from a jump of the gradient.
pub fn nearest_jump(
    spec: &ModelSpec,
    parameters: &[f64],
    examples: &Examples,
    rows: &[u32],
) -> f64 {
    reference::nearest_jump(spec, parameters, &inputs(spec, examples, rows))
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Norm of the difference over the norm of `reference`.
pub fn relative_error(reference: &[f64], other: &[f32]) -> f64 {
    assert_eq!(reference.len(), other.len());
    let difference: f64 =
        reference.iter().zip(other).map(|(a, &b)| (a - f64::from(b)).powi(2)).sum();
    let norm: f64 = reference.iter().map(|a| a * a).sum();
    assert!(norm > 0.0, "a gradient of zeros shows nothing");
    (difference / norm).sqrt()
}
