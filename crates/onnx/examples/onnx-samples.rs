//! Models as ONNX files, inputs for them, and the outputs that Fedra computes: for the
//! end-to-end tests, which run the files.
//!
//! `cargo run -p fedra-onnx --example onnx-samples -- FOLDER` writes `NAME.onnx`,
//! `NAME.inputs` and `NAME.outputs` for each model, little-endian, and prints a line of JSON
//! that lists them.

use std::error::Error;
use std::fs;
use std::path::Path;

use fedra_learning::{Inference, examples_a_piece, init_parameters};
use fedra_onnx::{Origin, write};
use fedra_protocol::layers::{
    Abs, AvgPool2d, CategoryEmbedding, CausalSelfAttention, Conv1d, Conv2d, Dropout, Elu,
    EmbeddedFeature, Embedding, Flatten, GaussianDerivative, Gelu, GlobalAvgPool, GlobalMaxPool,
    GroupNorm, Gru, LastStep, LayerNorm, LeakyRelu, Linear, Lstm, MaxPool2d, PositionEmbedding,
    Residual, Sigmoid, Silu, Softplus, Standardize, Tanh, TransformerBlock,
};
use fedra_protocol::{ElementKind, Loss, ModelSpec, ModelSpecError, Shape};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Examples for each model; fewer for one with many operations.
const EXAMPLES: usize = 1000;
const FEWER_EXAMPLES: usize = 100;
/// Most multiply-adds of an example, for all examples to be tried.
const QUICK: u64 = 15_000_000;
const SEED: u64 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("give the folder to write to")?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    let mut models = Vec::new();
    for name in ModelSpec::BUILTIN {
        models.push((name, ModelSpec::builtin(name).ok_or("a built-in model is missing")?));
    }
    models.extend([("images", images()?), ("sequences", sequences()?), ("tokens", tokens()?)]);
    models.extend([("last-step", last_step()?), ("memory", memory()?)]);
    models.extend([("answers", answers()?), ("pooled-positions", pooled_positions()?)]);
    models.extend([("series", series()?), ("categories", categories()?)]);
    let mut listed = Vec::new();
    for (name, spec) in models {
        listed.push(sample(folder, name, &spec)?);
    }
    println!("[{}]", listed.join(","));
    Ok(())
}

/// Writes the files of one model; returns its description as JSON.
fn sample(folder: &Path, name: &str, spec: &ModelSpec) -> Result<String, Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut parameters = init_parameters(spec, SEED);
    // As a trained model has them: no zero bias, no scale of exactly 1.
    parameters.iter_mut().for_each(|value| *value += 0.1 * unit(&mut rng) - 0.05);
    let path = |kind: &str| folder.join(format!("{name}.{kind}"));
    fs::write(path("onnx"), write(spec, &parameters, &Origin::default())?)?;
    let model = Inference::new(spec, &parameters)?;
    let piece = examples_a_piece(spec) * spec.input().len();
    let examples = match spec.forward_cost().operations {
        0..=QUICK => EXAMPLES,
        _ => FEWER_EXAMPLES,
    };
    let elements = examples * spec.input().len();
    let (inputs, outputs) = match spec.input() {
        Shape::Tokens { vocabulary, .. } => {
            let ids: Vec<u32> = (0..elements).map(|_| rng.next_u32() % vocabulary).collect();
            let outputs = ids.chunks(piece).map(|ids| model.outputs(ids.to_vec()));
            let bytes = ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
            (bytes, outputs.collect::<Result<Vec<_>, _>>()?)
        }
        _ => {
            let mut values: Vec<f32> = (0..elements).map(|_| unit(&mut rng)).collect();
            for feature in spec.embedded() {
                let column = values.iter_mut().skip(feature.place as usize);
                for value in column.step_by(spec.input().len()) {
                    *value = (rng.next_u32() % feature.categories) as f32;
                }
            }
            let outputs = values.chunks(piece).map(|values| model.outputs(values.to_vec()));
            (little_endian(&values), outputs.collect::<Result<Vec<_>, _>>()?)
        }
    };
    fs::write(path("inputs"), inputs)?;
    fs::write(path("outputs"), little_endian(&outputs.concat()))?;
    let kind = match spec.input().elements() {
        ElementKind::Values => "float32",
        ElementKind::TokenIds => "int64",
    };
    let dims = spec.input().dims();
    Ok(format!(r#"{{"name":"{name}","kind":"{kind}","examples":{examples},"shape":{dims:?}}}"#))
}

/// A number from 0 to 1.
fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The layers of images, of two channels.
fn images() -> Result<ModelSpec, ModelSpecError> {
    let layers = vec![
        GaussianDerivative { orientations: 3, kernel: 5, sigma: 1.25 }.into(),
        Abs.into(),
        Standardize { epsilon: 0.01 }.into(),
        Conv2d { channels: 8, kernel: 3, stride: 2, padding: 2 }.into(),
        Elu { alpha: 0.5 }.into(),
        MaxPool2d { kernel: 3, stride: 2 }.into(),
        Conv2d { channels: 6, kernel: 2, stride: 1, padding: 0 }.into(),
        Gelu.into(),
        AvgPool2d { kernel: 2, stride: 1 }.into(),
        Tanh.into(),
        Flatten.into(),
        LayerNorm { epsilon: 1e-5 }.into(),
        Dropout { probability: 0.5 }.into(),
        Linear { outputs: 3 }.into(),
    ];
    ModelSpec::new(&[2, 17, 14], layers, Loss::MeanSquaredError)
}

/// Layers that work at each position, of a class at each of them.
fn sequences() -> Result<ModelSpec, ModelSpecError> {
    let layers = vec![
        Embedding { width: 16 }.into(),
        Standardize { epsilon: 1e-5 }.into(),
        Linear { outputs: 12 }.into(),
        Gelu.into(),
        LayerNorm { epsilon: 1e-3 }.into(),
        Linear { outputs: 8 }.into(),
        Sigmoid.into(),
        Dropout { probability: 0.25 }.into(),
        Linear { outputs: 5 }.into(),
    ];
    ModelSpec::of_tokens(6, 50, layers, Loss::SoftmaxCrossEntropy)
}

/// A class for a whole text.
fn tokens() -> Result<ModelSpec, ModelSpecError> {
    let layers = vec![Embedding { width: 8 }.into(), Flatten.into(), Linear { outputs: 4 }.into()];
    ModelSpec::of_tokens(10, 300, layers, Loss::SoftmaxCrossEntropy)
}

/// A class for the last position.
fn last_step() -> Result<ModelSpec, ModelSpecError> {
    let layers = vec![
        Embedding { width: 8 }.into(),
        PositionEmbedding.into(),
        LastStep.into(),
        Linear { outputs: 4 }.into(),
    ];
    ModelSpec::of_tokens(10, 300, layers, Loss::SoftmaxCrossEntropy)
}

/// The layers that look at more than one position.
fn memory() -> Result<ModelSpec, ModelSpecError> {
    let layers = vec![
        Embedding { width: 12 }.into(),
        CausalSelfAttention { heads: 3 }.into(),
        TransformerBlock { heads: 2, hidden: Some(20) }.into(),
        Gru { units: 9 }.into(),
        Lstm { units: 7 }.into(),
        Linear { outputs: 5 }.into(),
    ];
    ModelSpec::of_tokens(10, 300, layers, Loss::SoftmaxCrossEntropy)
}

/// Yes or no for each of three questions about an image.
fn answers() -> Result<ModelSpec, ModelSpecError> {
    let layers = vec![
        Conv2d { channels: 6, kernel: 3, stride: 1, padding: 1 }.into(),
        LeakyRelu { slope: 0.1 }.into(),
        GroupNorm { groups: 2, epsilon: 1e-3 }.into(),
        Conv2d { channels: 5, kernel: 3, stride: 2, padding: 1 }.into(),
        GroupNorm { groups: 5, epsilon: 1e-5 }.into(),
        Silu.into(),
        Residual { layers: vec![Tanh.into()], shortcut: vec![] }.into(),
        GlobalAvgPool.into(),
        Linear { outputs: 3 }.into(),
    ];
    ModelSpec::new(&[2, 9, 8], layers, Loss::BinaryCrossEntropy)
}

/// Values of a whole text.
fn pooled_positions() -> Result<ModelSpec, ModelSpecError> {
    let layers = vec![
        Embedding { width: 8 }.into(),
        Conv1d { channels: 6, kernel: 3, stride: 2, padding: 1, dilation: 1 }.into(),
        GroupNorm { groups: 3, epsilon: 1e-5 }.into(),
        Softplus.into(),
        GlobalMaxPool.into(),
        Linear { outputs: 2 }.into(),
    ];
    ModelSpec::of_tokens(10, 30, layers, Loss::Huber)
}

/// A class for a series of 30 steps of 3 values.
fn series() -> Result<ModelSpec, ModelSpecError> {
    let layers = vec![
        Conv1d { channels: 8, kernel: 5, stride: 1, padding: 4, dilation: 2 }.into(),
        LeakyRelu { slope: 0.01 }.into(),
        Conv1d { channels: 6, kernel: 3, stride: 3, padding: 0, dilation: 4 }.into(),
        Silu.into(),
        Flatten.into(),
        Linear { outputs: 4 }.into(),
    ];
    ModelSpec::new(&[30, 3], layers, Loss::SoftmaxCrossEntropy)
}

/// A value for a row of a table with three columns of categories.
fn categories() -> Result<ModelSpec, ModelSpecError> {
    let feature = |place, categories, width| EmbeddedFeature { place, categories, width };
    let features = vec![feature(0, 7, 3), feature(3, 300, 8), feature(4, 2, 1)];
    let layers = vec![
        CategoryEmbedding { features }.into(),
        Linear { outputs: 9 }.into(),
        Tanh.into(),
        Linear { outputs: 1 }.into(),
    ];
    ModelSpec::new(&[6], layers, Loss::MeanSquaredError)
}
