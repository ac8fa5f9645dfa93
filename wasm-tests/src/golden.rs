//! Numbers that native code computed, for the browser to be compared with.
//!
//! A gradient of the CNN has 1.7 million values, so the file keeps a sample of
//! them, spread over every tensor of the model, and the norm of the whole.
//! `tests/golden.rs` keeps the file true and writes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedra_data::{Dataset, Features};
use fedra_edge_client::backend::relative_error;
use fedra_edge_client::bench::synthetic;
use fedra_edge_client::devices::{Compute, Trainer, TrainingError};
use fedra_learning::{LearningError, init_parameters};
use fedra_protocol::layers::{
    CategoryEmbedding, CausalSelfAttention, Conv1d, EmbeddedFeature, Embedding, GlobalAvgPool,
    GroupNorm, Gru, LayerNorm, LeakyRelu, Linear, Lstm, PositionEmbedding, Residual, Silu,
    TransformerBlock,
};
use fedra_protocol::{LocalTraining, Loss, ModelSpec, RawLocalTraining};
use serde::{Deserialize, Serialize};

/// The models that are compared: built-in ones, two of token ids, one of blocks, and one of
/// categories.
pub const MODELS: [&str; 6] =
    ["mnist-2nn", "mnist-cnn", "next-token", "memory", "series-blocks", "categories"];
/// Most values kept of one tensor.
const SAMPLES_PER_TENSOR: usize = 64;
const SEED: u64 = 7;
/// Examples of the gradient.
const BATCH: u32 = 10;
/// Examples of the short training: three steps.
const EXAMPLES: usize = 30;

/// A flat vector, shortened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Euclidean norm of the whole vector.
    pub norm: f64,
    /// Values spread over it.
    pub values: Vec<f32>,
}

impl Sample {
    fn of(spec: &ModelSpec, vector: &[f32]) -> Self {
        let square = |&value: &f32| f64::from(value) * f64::from(value);
        let mut values = Vec::new();
        let mut start = 0;
        for tensor in spec.layout() {
            let count = tensor.len().min(SAMPLES_PER_TENSOR);
            values.extend((0..count).map(|i| vector[start + i * tensor.len() / count]));
            start += tensor.len();
        }
        Self { norm: vector.iter().map(square).sum::<f64>().sqrt(), values }
    }

    /// Relative difference from `reference`, of the values and of the norms:
    /// the larger one.
    pub fn error(&self, reference: &Self) -> f64 {
        let values = relative_error(&reference.values, &self.values);
        values.max(((self.norm - reference.norm) / reference.norm).abs())
    }
}

/// Numbers that are compared of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// The gradient of one batch.
    pub gradient: Sample,
    /// Change by three steps of SGD.
    pub delta: Sample,
}

/// The file's content.
pub type File = BTreeMap<String, Numbers>;

/// Numbers that native code computed.
pub fn file() -> File {
    serde_json::from_str(include_str!("golden.json")).expect("the file is part of this crate")
}

/// A class at each position of 20 token ids.
fn next_token() -> ModelSpec {
    let layers = vec![
        Embedding { width: 24 }.into(),
        LayerNorm { epsilon: 1e-5 }.into(),
        Linear { outputs: 90 }.into(),
    ];
    ModelSpec::of_tokens(20, 90, layers, Loss::SoftmaxCrossEntropy).expect("the layers fit")
}

/// A class at each position, by every layer that looks at more than one of them.
fn memory() -> ModelSpec {
    let layers = vec![
        Embedding { width: 24 }.into(),
        PositionEmbedding.into(),
        TransformerBlock { heads: 3, hidden: None }.into(),
        CausalSelfAttention { heads: 2 }.into(),
        Gru { units: 20 }.into(),
        Lstm { units: 18 }.into(),
        Linear { outputs: 30 }.into(),
    ];
    ModelSpec::of_tokens(12, 30, layers, Loss::SoftmaxCrossEntropy).expect("the layers fit")
}

/// A class for five features, of which two are categories.
fn categories() -> ModelSpec {
    let feature = |place, categories, width| EmbeddedFeature { place, categories, width };
    let features = vec![feature(1, 7, 4), feature(4, 3, 2)];
    let layers = vec![
        CategoryEmbedding { features }.into(),
        Linear { outputs: 8 }.into(),
        Silu.into(),
        Linear { outputs: 3 }.into(),
    ];
    ModelSpec::new(&[5], layers, Loss::SoftmaxCrossEntropy).expect("the layers fit")
}

/// A class for a series of 16 steps of 6 values, by one-dimensional convolutions in a
/// residual block.
fn series_blocks() -> ModelSpec {
    let conv = |kernel, stride, padding, dilation| {
        Conv1d { channels: 8, kernel, stride, padding, dilation }.into()
    };
    let norm = || GroupNorm { groups: 2, epsilon: 1e-5 }.into();
    let layers = vec![
        conv(3, 1, 1, 1),
        norm(),
        Silu.into(),
        Residual {
            layers: vec![
                conv(3, 2, 2, 2),
                norm(),
                LeakyRelu { slope: 0.01 }.into(),
                conv(3, 1, 1, 1),
            ],
            shortcut: vec![conv(1, 2, 0, 1)],
        }
        .into(),
        GlobalAvgPool.into(),
        Linear { outputs: 5 }.into(),
    ];
    ModelSpec::new(&[16, 6], layers, Loss::SoftmaxCrossEntropy).expect("the layers fit")
}

/// The same examples with categories in turn where the model embeds them.
fn with_categories(spec: &ModelSpec, data: Dataset) -> Dataset {
    let Features::Values(mut values) = data.features().clone() else { return data };
    for feature in spec.embedded() {
        let column = values.iter_mut().skip(feature.place as usize).step_by(data.shape().len());
        column.zip(0..).for_each(|(value, index)| *value = (index % feature.categories) as f32);
    }
    Dataset::new(values, data.shape(), data.targets().clone()).expect("numbers like before")
}

/// Parameters and examples that every platform starts from.
pub struct Fixture {
    /// The model.
    pub spec: ModelSpec,
    /// Its parameters.
    pub parameters: Vec<f32>,
    data: Arc<Dataset>,
}

impl Fixture {
    /// The fixture of one of [`MODELS`].
    pub fn new(model: &str) -> Self {
        let spec = match model {
            "next-token" => next_token(),
            "memory" => memory(),
            "series-blocks" => series_blocks(),
            "categories" => categories(),
            name => ModelSpec::builtin(name).expect("one of the list"),
        };
        let data = synthetic(&spec, EXAMPLES).expect("examples made for the model");
        let data = with_categories(&spec, data);
        Self { parameters: init_parameters(&spec, SEED), spec, data: Arc::new(data) }
    }

    /// The whole gradient of the first batch on a device.
    pub async fn gradient(&self, compute: &Compute) -> Result<Vec<f32>, TrainingError> {
        let batch: Vec<u32> = (0..BATCH).collect();
        let (spec, parameters, data) = (&self.spec, &self.parameters, &self.data);
        compute.gradients(spec, parameters, data, &plan()?, &[batch]).await
    }

    /// Change by three steps of SGD, on a device.
    pub async fn delta(&self, compute: &Compute) -> Result<Vec<f32>, TrainingError> {
        let data = Arc::clone(&self.data);
        let mut trainer =
            Trainer::new(&self.spec, (&self.parameters).into(), data, &plan()?, compute)?;
        while trainer.advance().await?.is_some() {}
        let trained = trainer.finish().await?;
        Ok(trained.iter().zip(&self.parameters).map(|(after, before)| after - before).collect())
    }

    /// The numbers of a device, shortened as in the file.
    pub async fn numbers(&self, compute: &Compute) -> Result<Numbers, TrainingError> {
        Ok(Numbers {
            gradient: Sample::of(&self.spec, &self.gradient(compute).await?),
            delta: Sample::of(&self.spec, &self.delta(compute).await?),
        })
    }
}

fn plan() -> Result<LocalTraining, LearningError> {
    Ok(LocalTraining::new(RawLocalTraining {
        batch_size: BATCH,
        momentum: 0.5,
        weight_decay: 0.001,
        seed: SEED,
        ..RawLocalTraining::default()
    })?)
}
