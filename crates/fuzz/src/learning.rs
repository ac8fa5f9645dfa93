//! Model files, which a server hands out.

use std::collections::BTreeMap;

use fedra_learning::{Weights, initial, safetensors as file};
use fedra_protocol::layers::{Conv2d, Embedding, Flatten, LayerNorm, Linear};
use fedra_protocol::{Layer, Loss, ModelSpec};

/// A model file: [model, bytes...].
pub fn safetensors(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    let spec = model(*which);
    match file::read(&spec, bytes) {
        Ok(parameters) => {
            assert_eq!(parameters.len(), spec.parameters());
            assert!(parameters.iter().all(|value| value.is_finite()));
            let written = file::write(&spec, &parameters).expect("as many as the model has");
            let again = file::read(&spec, &written).expect("what was written can be read");
            // Bits, since -0 equals 0.
            assert!(parameters.iter().map(|v| v.to_bits()).eq(again.iter().map(|v| v.to_bits())));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // The same bytes, as both files of a model with frozen layers.
    match file::read_model(bytes, Some(bytes)) {
        Ok((spec, Weights { trained, frozen })) => {
            assert_eq!(trained.len(), spec.parameters());
            assert_eq!(frozen.len(), spec.frozen_parameters());
            let written = file::write(&spec, &trained).expect("as many as the model has");
            let beside = file::write_frozen(&spec, &frozen).expect("as many as the model has");
            let again = file::read_model(&written, Some(&beside));
            assert_eq!(again.expect("what was written can be read").0, spec);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Err(error) = initial::read(&spec, bytes, &BTreeMap::new()) {
        assert!(!error.to_string().is_empty());
    }
}

/// One of a few small models, with tensors of one to four dimensions.
fn model(which: u8) -> ModelSpec {
    let (input, layers): (&[u32], _) = match which % 4 {
        0 => (&[1], vec![Layer::Linear(Linear { outputs: 2 })]),
        1 => (
            &[2],
            vec![
                Layer::LayerNorm(LayerNorm { epsilon: 1e-5 }),
                Layer::Linear(Linear { outputs: 2 }),
            ],
        ),
        2 => (
            &[1, 2, 2],
            vec![
                Layer::Conv2d(Conv2d { channels: 1, kernel: 2, stride: 1, padding: 0 }),
                Layer::Flatten(Flatten),
                Layer::Linear(Linear { outputs: 2 }),
            ],
        ),
        _ => {
            let layers = vec![Embedding { width: 2 }.into(), Linear { outputs: 3 }.into()];
            return ModelSpec::of_tokens(2, 3, layers, Loss::SoftmaxCrossEntropy)
                .expect("a small model");
        }
    };
    ModelSpec::new(input, layers, Loss::SoftmaxCrossEntropy).expect("a small model")
}
