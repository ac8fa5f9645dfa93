//! Files that a task begins with: names, orientation and number formats, and mistakes.

use std::collections::{BTreeMap, HashMap};

use bytemuck::cast_slice;
use fedra_protocol::layers::{Flatten, GroupNorm, Linear, Relu};
use fedra_protocol::{Layer, Loss, ModelSpec};
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::{Weights, init_weights, initial, pytorch, safetensors as fedra};

/// Tensors of a file: name, shape and values.
type Tensors = Vec<(&'static str, Vec<usize>, Vec<f32>)>;

fn two() -> ModelSpec {
    let layers = vec![
        GroupNorm { groups: 1, epsilon: 1e-5 }.into(),
        Flatten.into(),
        Linear { outputs: 3 }.into(),
        Relu.into(),
        Layer::from(Linear { outputs: 2 }),
    ];
    ModelSpec::new(&[2, 1, 2], layers, Loss::SoftmaxCrossEntropy).unwrap()
}

/// Names, shapes and values of [`two`] as PyTorch has them.
fn tensors() -> Tensors {
    let counted = |len: usize, from: f32| (0..len).map(|i| from + i as f32).collect();
    vec![
        ("0.weight", vec![2], counted(2, 0.0)),
        ("0.bias", vec![2], counted(2, 2.0)),
        ("2.weight", vec![3, 4], counted(12, 4.0)),
        ("2.bias", vec![3], counted(3, 16.0)),
        ("4.weight", vec![2, 3], counted(6, 19.0)),
        ("4.bias", vec![2], counted(2, 25.0)),
    ]
}

fn file(tensors: &[(&str, Vec<usize>, Vec<f32>)], dtype: Dtype) -> Vec<u8> {
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, shape, values)| {
            let bytes = match dtype {
                Dtype::F16 => {
                    values.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect()
                }
                Dtype::BF16 => {
                    values.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect()
                }
                _ => cast_slice(values).to_vec(),
            };
            (*name, &shape[..], bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap())
    });
    serialize(views, None::<HashMap<String, String>>).unwrap()
}

fn read(spec: &ModelSpec, file: &[u8]) -> Result<Weights, String> {
    initial::read(spec, file, &BTreeMap::new()).map_err(|error| error.to_string())
}

#[test]
fn what_is_exported_for_pytorch_or_by_fedra_is_what_is_read() {
    for frozen in [vec![], vec![0, 2]] {
        let spec = two().with_frozen(&frozen).unwrap();
        let weights = init_weights(&spec, 1);
        let exported = pytorch::write(&spec, &weights).unwrap();
        assert_eq!(read(&spec, &exported).unwrap(), weights);
        let whole = init_weights(&spec.unfrozen(), 1).trained;
        let own = fedra::write(&spec.unfrozen(), &whole).unwrap();
        assert_eq!(read(&spec, &own).unwrap(), weights);
    }
}

#[test]
fn a_linear_weight_is_turned_and_half_precision_is_widened() {
    let spec = two().with_frozen(&[2]).unwrap();
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let weights = read(&spec, &file(&tensors(), dtype)).unwrap();
        let turned = [4.0, 8.0, 12.0, 5.0, 9.0, 13.0, 6.0, 10.0, 14.0, 7.0, 11.0, 15.0];
        assert_eq!(weights.frozen[..12], turned);
        assert_eq!(weights.frozen[12..], [16.0, 17.0, 18.0]);
        assert_eq!(weights.trained[..4], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(weights.trained[4..10], [19.0, 22.0, 20.0, 23.0, 21.0, 24.0]);
    }
}

#[test]
fn names_may_begin_with_layers_or_as_the_operator_says() {
    let rename = |name: &'static str, to: &'static str| {
        let mut tensors = tensors();
        for tensor in &mut tensors {
            if let Some(rest) = tensor.0.strip_prefix(name) {
                tensor.0 = format!("{to}{rest}").leak();
            }
        }
        tensors
    };
    let expected = read(&two(), &file(&tensors(), Dtype::F32)).unwrap();
    let found = read(&two(), &file(&rename("2", "layers.2"), Dtype::F32)).unwrap();
    assert_eq!(found, expected);
    let names = BTreeMap::from([("model.fc".to_owned(), "layers.4".to_owned())]);
    let renamed = file(&rename("4", "model.fc"), Dtype::F32);
    assert_eq!(initial::read(&two(), &renamed, &names).unwrap(), expected);
}

#[test]
fn each_mistake_names_the_tensor_what_was_found_and_what_to_do() {
    let changed = |change: fn(&mut Tensors)| {
        let mut tensors = tensors();
        change(&mut tensors);
        file(&tensors, Dtype::F32)
    };
    let double = {
        let values = [0.0f64; 2].map(f64::to_le_bytes).concat();
        let view = TensorView::new(Dtype::F64, vec![2], &values).unwrap();
        let others = tensors();
        let others = others[1..].iter().map(|(name, shape, values)| {
            (*name, TensorView::new(Dtype::F32, shape.clone(), cast_slice(values)).unwrap())
        });
        let all = [("0.weight", view)].into_iter().chain(others);
        serialize(all, None::<HashMap<String, String>>).unwrap()
    };
    let own = fedra::write(&two(), &init_weights(&two(), 1).trained).unwrap();
    let other = ModelSpec::new(&[4], vec![Linear { outputs: 2 }.into()], Loss::MeanSquaredError);
    for (spec, file, parts) in [
        (
            two(),
            changed(|tensors| tensors.truncate(5)),
            vec!["tensor layers.4.bias", "no layers.4.bias or 4.bias", "initial_names"],
        ),
        (
            two(),
            changed(|tensors| tensors[3].0 = "fc.bias"),
            vec!["tensor layers.2.bias", "also has", "fc.bias"],
        ),
        (
            two(),
            changed(|tensors| tensors.push(("5.weight", vec![1], vec![0.0]))),
            vec!["tensor 5.weight", "no such tensor", "F32 [1]", "leave it out"],
        ),
        (
            two(),
            changed(|tensors| tensors[2].1 = vec![4, 3]),
            vec!["tensor 2.weight", "F32 [4, 3]", "has [3, 4]", "transposed", "as PyTorch"],
        ),
        (
            two(),
            changed(|tensors| tensors[2].1 = vec![6, 2]),
            vec!["tensor 2.weight", "F32 [6, 2]", "has [3, 4]", "change the layers"],
        ),
        (
            two(),
            changed(|tensors| tensors.push(("layers.0.bias", vec![2], vec![0.0; 2]))),
            vec!["stands for the same tensor as", "0.bias"],
        ),
        (
            two(),
            changed(|tensors| tensors[0].2[1] = f32::NAN),
            vec!["tensor 0.weight: value 1 is not finite"],
        ),
        (two(), double, vec!["tensor 0.weight", "F64", "write it as F32"]),
        (two(), own[..own.len() - 1].to_vec(), vec!["not a safetensors file, or not all of it"]),
        (
            other.unwrap(),
            own,
            vec!["tensor layers.0.weight", "no layers.0.weight", "layers.0.beta"],
        ),
    ] {
        let error = read(&spec, &file).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{error:?} should say {part:?}");
        }
    }
}
