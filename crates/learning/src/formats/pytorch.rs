//! Model files that PyTorch loads: safetensors with the names and the orientation of a
//! `torch.nn.Sequential` of the model's layers, one module a layer.
//!
//! The same model gives the same bytes. Such a file has no description of its model, so that
//! only a task can [begin](super::initial) with it.

use std::collections::HashMap;

use bytemuck::cast_slice;
use fedra_data::memory::with_room;
use fedra_protocol::{Layer, ModelSpec};
use safetensors::tensor::{Dtype, TensorView};

use super::safetensors::{ModelFileError, check_finite};
use crate::WeightsView;

/// Tensor of a module.
pub(super) struct Place {
    name: &'static str,
    /// True if PyTorch has its two dimensions the other way round.
    pub is_transposed: bool,
}

const fn kept(name: &'static str) -> Place {
    Place { name, is_transposed: false }
}

const fn transposed(name: &'static str) -> Place {
    Place { name, is_transposed: true }
}

/// The tensors of a layer's module, in the order of [`ModelSpec::layout`].
fn places_of(layer: &Layer) -> &'static [Place] {
    match layer {
        Layer::Linear(_) => const { &[transposed("weight"), kept("bias")] },
        // `[channels, inputs, kernel, kernel]` in both; gamma and beta are weight and bias.
        Layer::Conv2d(_) | Layer::Conv1d(_) | Layer::LayerNorm(_) | Layer::GroupNorm(_) => {
            const { &[kept("weight"), kept("bias")] }
        }
        Layer::Embedding(_) | Layer::PositionEmbedding(_) => const { &[kept("weight")] },
        // As of `torch.nn.MultiheadAttention`.
        Layer::CausalSelfAttention(_) => {
            const {
                &[
                    transposed("in_proj_weight"),
                    kept("in_proj_bias"),
                    transposed("out_proj.weight"),
                    kept("out_proj.bias"),
                ]
            }
        }
        // As of `torch.nn.TransformerEncoderLayer` with `norm_first=True`.
        Layer::TransformerBlock(_) => {
            const {
                &[
                    kept("norm1.weight"),
                    kept("norm1.bias"),
                    transposed("self_attn.in_proj_weight"),
                    kept("self_attn.in_proj_bias"),
                    transposed("self_attn.out_proj.weight"),
                    kept("self_attn.out_proj.bias"),
                    kept("norm2.weight"),
                    kept("norm2.bias"),
                    transposed("linear1.weight"),
                    kept("linear1.bias"),
                    transposed("linear2.weight"),
                    kept("linear2.bias"),
                ]
            }
        }
        Layer::Gru(_) | Layer::Lstm(_) => {
            const {
                &[
                    transposed("weight_ih_l0"),
                    kept("bias_ih_l0"),
                    transposed("weight_hh_l0"),
                    kept("bias_hh_l0"),
                ]
            }
        }
        Layer::MaxPool2d(_)
        | Layer::AvgPool2d(_)
        | Layer::Relu(_)
        | Layer::Tanh(_)
        | Layer::Gelu(_)
        | Layer::Sigmoid(_)
        | Layer::Elu(_)
        | Layer::Flatten(_)
        | Layer::Dropout(_)
        | Layer::Abs(_)
        | Layer::Standardize(_)
        | Layer::GaussianDerivative(_)
        | Layer::LastStep(_)
        | Layer::LeakyRelu(_)
        | Layer::Silu(_)
        | Layer::Softplus(_)
        | Layer::GlobalAvgPool(_)
        | Layer::GlobalMaxPool(_)
        // Their tensors are those of the layers and of the tables in them.
        | Layer::Residual(_)
        | Layer::CategoryEmbedding(_) => &[],
    }
}

/// Names and places of all tensors of a model, in the order of [`ModelSpec::tensors`].
pub(super) fn places(spec: &ModelSpec) -> Vec<(String, &'static Place)> {
    let mut places = Vec::new();
    named(spec.layers(), "", &mut places);
    places
}

fn named(layers: &[Layer], prefix: &str, places: &mut Vec<(String, &'static Place)>) {
    for (index, layer) in layers.iter().enumerate() {
        if let Layer::Residual(block) = layer {
            named(&block.layers, &format!("{prefix}{index}."), places);
            named(&block.shortcut, &format!("{prefix}{index}.shortcut."), places);
        }
        if let Layer::CategoryEmbedding(layer) = layer {
            let table = const { &kept("weight") };
            let tables = 0..layer.features.len();
            places.extend(tables.map(|at| (format!("{prefix}{index}.{at}.weight"), table)));
        }
        let own = places_of(layer).iter();
        places.extend(own.map(|place| (format!("{prefix}{index}.{}", place.name), place)));
    }
}

/// A file of the model with these values, which must be finite. Frozen layers are like the
/// others in it.
///
/// # Errors
///
/// [`ModelFileError::Parameters`] if there are more or fewer than the model's,
/// [`ModelFileError::NotFinite`] for the first value that is not finite.
pub fn write<'a>(
    spec: &ModelSpec,
    weights: impl Into<WeightsView<'a>>,
) -> Result<Vec<u8>, ModelFileError> {
    let values = weights.into().in_order(spec)?;
    let mut tensors = Vec::new();
    let mut rest = &values[..];
    for ((name, place), (info, _)) in places(spec).into_iter().zip(spec.tensors()) {
        let (values, tail) = rest.split_at(info.len());
        rest = tail;
        check_finite(&info.name, values.iter().copied())?;
        tensors.push(match (place.is_transposed, &info.shape[..]) {
            (true, &[rows, columns]) => {
                (name, vec![columns, rows], Some(turned(values, columns)?), values)
            }
            _ => (name, info.shape.clone(), None, values),
        });
    }
    assert!(rest.is_empty(), "every tensor has its place in a module");
    let views = tensors.iter().map(|(name, shape, turned, values)| {
        let values = turned.as_deref().unwrap_or(values);
        Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), cast_slice(values))?))
    });
    let views = views.collect::<Result<Vec<_>, ModelFileError>>()?;
    // What Python's library writes there, too.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// The transpose of a row-major matrix with this many columns.
pub(super) fn turned(values: &[f32], columns: usize) -> Result<Vec<f32>, ModelFileError> {
    let mut turned = with_room(values.len())?;
    for column in 0..columns {
        turned.extend(values.iter().skip(column).step_by(columns));
    }
    Ok(turned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use fedra_protocol::layers::{Conv2d, Embedding, Flatten, LayerNorm, Linear, Relu};
    use fedra_protocol::{Loss, Sha256Hash};
    use safetensors::tensor::SafeTensors;

    use super::*;

    /// Names, shapes and values of a file's tensors, by name.
    fn tensors(file: &[u8]) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let read = SafeTensors::deserialize(file).unwrap();
        let mut tensors: Vec<_> = read
            .iter()
            .map(|(name, view)| {
                assert_eq!(view.dtype(), Dtype::F32);
                let numbers = view.data().chunks_exact(4);
                let values = numbers.map(|four| f32::from_le_bytes(four.try_into().unwrap()));
                (name.to_owned(), view.shape().to_vec(), values.collect())
            })
            .collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors
    }

    fn counted(spec: &ModelSpec) -> Vec<f32> {
        (0..spec.parameters()).map(|value| value as f32).collect()
    }

    #[test]
    fn a_linear_weight_has_a_row_for_each_output() {
        let layers = vec![
            Layer::Linear(Linear { outputs: 2 }),
            Layer::Relu(Relu),
            Layer::LayerNorm(LayerNorm { epsilon: 1e-5 }),
            Layer::Linear(Linear { outputs: 1 }),
        ];
        let spec = ModelSpec::new(&[3], layers, Loss::MeanSquaredError).unwrap();
        // [3, 2] of 0 to 5, a bias 6, 7, gamma 8, 9, beta 10, 11, then [2, 1] and a bias.
        let file = write(&spec, &counted(&spec)).unwrap();
        let expected = [
            ("0.bias", vec![2], vec![6.0, 7.0]),
            ("0.weight", vec![2, 3], vec![0.0, 2.0, 4.0, 1.0, 3.0, 5.0]),
            ("2.bias", vec![2], vec![10.0, 11.0]),
            ("2.weight", vec![2], vec![8.0, 9.0]),
            ("3.bias", vec![1], vec![14.0]),
            ("3.weight", vec![1, 2], vec![12.0, 13.0]),
        ];
        assert_eq!(tensors(&file), expected.map(|(name, s, v)| (name.to_owned(), s, v)));
    }

    #[test]
    fn kernels_and_embeddings_stay_as_they_are() {
        let layers = vec![
            Layer::Conv2d(Conv2d { channels: 2, kernel: 2, stride: 1, padding: 0 }),
            Layer::Flatten(Flatten),
            Layer::Linear(Linear { outputs: 1 }),
        ];
        let spec = ModelSpec::new(&[1, 2, 2], layers, Loss::MeanSquaredError).unwrap();
        let file = write(&spec, &counted(&spec)).unwrap();
        let of_file = tensors(&file);
        let eight = (0..8).map(|value| value as f32).collect();
        assert_eq!(of_file[1], ("0.weight".to_owned(), vec![2, 1, 2, 2], eight));
        assert_eq!(of_file[3], ("2.weight".to_owned(), vec![1, 2], vec![10.0, 11.0]));

        let layers =
            vec![Layer::Embedding(Embedding { width: 2 }), Layer::Linear(Linear { outputs: 3 })];
        let spec = ModelSpec::of_tokens(4, 3, layers, Loss::SoftmaxCrossEntropy).unwrap();
        let of_file = tensors(&write(&spec, &counted(&spec)).unwrap());
        let six = (0..6).map(|value| value as f32).collect();
        assert_eq!(of_file[0], ("0.weight".to_owned(), vec![3, 2], six));
    }

    #[test]
    fn a_file_is_the_same_each_time_and_fedra_says_that_it_does_not_read_it() {
        let spec = ModelSpec::mnist_cnn();
        let parameters = vec![0.25; spec.parameters()];
        let file = write(&spec, &parameters).unwrap();
        assert_eq!(Sha256Hash::of(&file), Sha256Hash::of(&write(&spec, &parameters).unwrap()));
        let error = crate::safetensors::read_model(&file, None).unwrap_err();
        assert!(matches!(error, ModelFileError::NoDescription), "{error}");
        assert!(matches!(write(&spec, &[0.0]), Err(ModelFileError::Parameters(_))));
        let mut spoiled = parameters;
        spoiled[1] = f32::NAN;
        let error = write(&spec, &spoiled).unwrap_err();
        assert!(matches!(error, ModelFileError::NotFinite { index: 1, .. }), "{error}");
    }
}
