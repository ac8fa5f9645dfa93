//! Files from elsewhere: models that a server hands out, data sets on a disk.

use arbitrary::{Result, Unstructured};
use fedra_data::{DataSource, IdxSource, read_mnist};
use fedra_learning::safetensors as file;
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
    match file::read_model(bytes) {
        Ok((spec, parameters)) => {
            assert_eq!(parameters.len(), spec.parameters());
            let written = file::write(&spec, &parameters).expect("as many as the model has");
            let (again, _) = file::read_model(&written).expect("what was written can be read");
            assert_eq!(again, spec);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// An image file and a label file: [length of the first, bytes...].
pub fn idx(data: &[u8]) {
    // Bytes that are too short for a case are none.
    let _ = both(&mut Unstructured::new(data));
}

fn both(input: &mut Unstructured<'_>) -> Result<()> {
    let length: u16 = input.arbitrary()?;
    let images = input.bytes(usize::from(length).min(input.len()))?;
    let labels = input.bytes(input.len())?;
    if let Ok(data) = read_mnist(images, labels) {
        assert!(!data.is_empty() && data.len() == labels.len() - 8);
        assert_eq!(data.len() * data.shape().len(), images.len() - 16);
        let all: Vec<u32> = (0..data.len() as u32).collect();
        assert_eq!(data.select(&all), data);
        let mut source = IdxSource::new(images, labels).expect("it was read before");
        for (start, left) in (0..data.len()).step_by(3).zip((0..=data.len()).rev().step_by(3)) {
            assert_eq!(source.remaining(), Some(left));
            let piece = source.read(3).expect("it was read before").expect("some are left");
            assert_eq!(piece, data.select(&all[start..data.len().min(start + 3)]));
        }
        assert_eq!(source.read(3), Ok(None));
    }
    Ok(())
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
