//! Frozen layers: what is trained is what the same model would train of those tensors, and
//! nothing else changes.

use std::sync::Arc;

use differential_privacy::{ClippingNorm, Delta, NoiseMultiplier};
use fedra_protocol::layers::{
    CausalSelfAttention, Conv2d, Dropout, Embedding, Flatten, LayerNorm, Linear, MaxPool2d, Relu,
    Residual, Tanh,
};
use fedra_protocol::{Layer, Loss, ModelSpec};

use super::{close, plan, some_data};
use crate::safetensors::ModelFileError;
use crate::{
    ExamplePrivacy, Inference, LearningError, LocalTrainer, Weights, WeightsView, evaluate,
    gradient, init_weights, prepared, pytorch, safetensors,
};

fn linear(outputs: u32) -> Layer {
    Linear { outputs }.into()
}

/// Models with frozen layers before, between and after those that are trained.
fn models() -> Vec<ModelSpec> {
    let conv = |channels| Layer::from(Conv2d { channels, kernel: 3, stride: 1, padding: 1 });
    let block = Residual { layers: vec![conv(3), Tanh.into()], shortcut: vec![] };
    let pictures = vec![
        conv(3),
        Relu.into(),
        MaxPool2d { kernel: 2, stride: 2 }.into(),
        block.into(),
        Flatten.into(),
        LayerNorm { epsilon: 1e-5 }.into(),
        linear(5),
        Relu.into(),
        linear(4),
    ];
    let pictures = ModelSpec::new(&[2, 6, 6], pictures, Loss::SoftmaxCrossEntropy).unwrap();
    let texts = vec![
        Embedding { width: 4 }.into(),
        CausalSelfAttention { heads: 2 }.into(),
        linear(6),
        Tanh.into(),
        linear(5),
    ];
    let texts = ModelSpec::of_tokens(3, 5, texts, Loss::SoftmaxCrossEntropy).unwrap();
    let pictures = [vec![0, 3, 5, 6], vec![0], vec![6], vec![8], vec![3, 8]]
        .map(|frozen| pictures.clone().with_frozen(&frozen).unwrap());
    let texts = [vec![0, 1, 2], vec![1], vec![2, 4]]
        .map(|frozen| texts.clone().with_frozen(&frozen).unwrap());
    [&pictures[..], &texts].concat()
}

/// The trained half of values in the order of the layers.
fn trained_of(spec: &ModelSpec, values: Vec<f32>) -> Vec<f32> {
    Weights::of_values(spec, values).trained.to_vec()
}

fn in_order(spec: &ModelSpec, weights: &Weights) -> Vec<f32> {
    WeightsView::from(weights).in_order(spec).unwrap()
}

#[test]
fn the_seed_gives_a_layer_the_same_values_frozen_or_not() {
    for spec in models() {
        let weights = init_weights(&spec, 3);
        assert_eq!(in_order(&spec, &weights), *init_weights(&spec.unfrozen(), 3).trained);
        assert_eq!(weights.trained.len(), spec.parameters());
        assert_eq!(weights.frozen.len(), spec.frozen_parameters());
    }
}

#[test]
fn gradients_are_those_of_the_trained_tensors_of_the_same_model() {
    for spec in models() {
        let (weights, data) = (init_weights(&spec, 4), some_data(&spec, 3));
        let found = gradient(&spec, &weights, &data, &[0, 1, 2]).unwrap();
        let values = in_order(&spec, &weights);
        let whole = gradient(&spec.unfrozen(), &values, &data, &[0, 1, 2]).unwrap();
        close(&found, &trained_of(&spec, whole));
        assert!(found.iter().any(|value| *value != 0.0));
    }
}

#[test]
fn a_step_moves_the_trained_tensors_as_it_would_without_frozen_ones() {
    for spec in models() {
        let (weights, data) = (init_weights(&spec, 5), Arc::new(some_data(&spec, 3)));
        let step = |spec: &ModelSpec, weights: WeightsView<'_>| {
            let one = super::changed(1, 3, 0.1, |raw| raw.momentum = 0.5);
            let mut trainer = LocalTrainer::new(spec, weights, data.clone(), &one).unwrap();
            while trainer.step().is_some() {}
            trainer.parameters().unwrap()
        };
        let values = in_order(&spec, &weights);
        let whole = step(&spec.unfrozen(), (&values).into());
        let found = step(&spec, (&weights).into());
        close(&found, &trained_of(&spec, whole));
        assert_ne!(found, *weights.trained);
    }
}

#[test]
fn frozen_tensors_keep_their_values_whatever_the_training() {
    for spec in models() {
        let (weights, data) = (init_weights(&spec, 6), Arc::new(some_data(&spec, 4)));
        let decaying = super::changed(3, 2, 0.1, |raw| {
            raw.momentum = 0.9;
            raw.weight_decay = 0.1;
        });
        let mut trainer = LocalTrainer::new(&spec, &weights, data, &decaying).unwrap();
        while trainer.step().is_some() {}
        assert_eq!(*trainer.frozen_parameters(), *weights.frozen);
        assert_eq!(trainer.parameters().unwrap().len(), spec.parameters());
    }
}

#[test]
fn clipped_gradients_are_of_the_trained_tensors_alone() {
    // Without a clip that bites and with little noise, a private step is a plain one, and
    // attention, whose gradient cannot be clipped, may be frozen.
    let privacy = ExamplePrivacy {
        clipping_norm: ClippingNorm::new(10.0).unwrap(),
        noise_multiplier: NoiseMultiplier::new(1e-6).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    for spec in models() {
        let (weights, data) = (init_weights(&spec, 7), Arc::new(some_data(&spec, 3)));
        let one = plan(1, 3, 0.1);
        let private = LocalTrainer::with_example_privacy(
            &spec,
            &weights,
            data.clone(),
            &one,
            privacy,
            [1; 32],
        );
        let mut private = match private {
            Err(LearningError::ExamplePrivacyLayer { index, .. }) => {
                assert!(!spec.is_frozen(index));
                continue;
            }
            private => private.unwrap(),
        };
        while private.step().is_some() {}
        let mut plain = LocalTrainer::new(&spec, &weights, data, &one).unwrap();
        while plain.step().is_some() {}
        let (private, plain) = (private.parameters().unwrap(), plain.parameters().unwrap());
        let far = private.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{far}");
    }
}

#[test]
fn a_frozen_prefix_is_computed_once_before_the_first_step() {
    let layers = vec![linear(4), Dropout { probability: 0.5 }.into(), linear(2)];
    let spec = ModelSpec::new(&[3], layers, Loss::MeanSquaredError).unwrap();
    let spec = spec.with_frozen(&[0]).unwrap();
    let data = Arc::new(some_data(&spec, 1100));
    let weights = init_weights(&spec, 1);
    let mut trainer = LocalTrainer::new(&spec, &weights, data.clone(), &plan(1, 100, 0.1)).unwrap();
    let mut sizes = Vec::new();
    while let Some(size) = trainer.step() {
        sizes.push(size);
    }
    assert_eq!(sizes[..3], [0; 3], "1,100 examples in pieces of 500");
    assert_eq!(sizes[3..], [100; 11]);
    assert_eq!(trainer.step_count(), 11);
    let refused = prepared(&spec, &data).unwrap_err();
    assert!(matches!(refused, LearningError::FrozenCount { expected: 16, actual: 0 }));
}

#[test]
fn outputs_and_metrics_are_those_of_the_whole_model() {
    for spec in models() {
        let (weights, data) = (init_weights(&spec, 8), some_data(&spec, 3));
        let (whole, values) = (spec.unfrozen(), in_order(&spec, &weights));
        let outputs = |inference: Inference| inference.outputs(data.features().clone()).unwrap();
        let found = outputs(Inference::new(&spec, &weights).unwrap());
        assert_eq!(found, outputs(Inference::new(&whole, &values).unwrap()));
        let found = evaluate(&spec, &weights, &data, 1).unwrap();
        assert_eq!(found, evaluate(&whole, &values, &data, 1).unwrap());
        let found = pytorch::write(&spec, &weights).unwrap();
        assert_eq!(found, pytorch::write(&whole, &values).unwrap());
    }
}

#[test]
fn halves_that_are_not_the_models_are_refused() {
    let spec = models().remove(0);
    let weights = init_weights(&spec, 9);
    let (expected, actual) = (spec.frozen_parameters(), 0);
    let refused = Inference::new(&spec, &*weights.trained).err();
    assert_eq!(refused, Some(LearningError::FrozenCount { expected, actual }));
    let values = in_order(&spec, &weights);
    let (expected, actual) = (spec.parameters(), values.len());
    let refused = Inference::new(&spec, &values).err();
    assert_eq!(refused, Some(LearningError::ParameterCount { expected, actual }));
}

#[test]
fn a_model_file_has_the_trained_tensors_and_another_file_the_frozen_ones() {
    let spec = models().remove(0);
    let weights = init_weights(&spec, 10);
    let file = safetensors::write(&spec, &weights.trained).unwrap();
    let frozen = safetensors::write_frozen(&spec, &weights.frozen).unwrap();
    assert_eq!(safetensors::read(&spec, &file).unwrap(), *weights.trained);
    assert_eq!(safetensors::read_frozen(&spec, &frozen).unwrap(), *weights.frozen);
    let (described, read) = safetensors::read_model(&file, Some(&frozen)).unwrap();
    assert_eq!((described, read), (spec.clone(), weights));
    let refused = safetensors::read_model(&file, None).unwrap_err();
    assert!(matches!(refused, ModelFileError::NoFrozenPart), "{refused}");
    let refused = safetensors::read_model(&file, Some(&file)).unwrap_err();
    assert!(matches!(refused, ModelFileError::Tensor { .. }), "{refused}");
    assert!(safetensors::write_frozen(&spec, &[0.0]).is_err());
}
