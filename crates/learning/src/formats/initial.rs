//! Model files that a task begins with: those of Fedra, and those of PyTorch.
//!
//! A file of Fedra says so in its metadata. Every other has the names and the orientation of
//! a `torch.nn.Sequential`, as [`pytorch`](super::pytorch) writes them: a linear weight is
//! `[outputs, inputs]`.

use std::collections::BTreeMap;

use fedra_data::memory::with_room;
use fedra_protocol::ModelSpec;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::pytorch::{places, turned};
use super::safetensors::{METADATA, ModelFileError, check_finite};
use crate::Weights;

/// Beginning of Fedra's names of tensors.
const PREFIX: &str = "layers.";

/// The weights of a model from a file that has all its tensors and no other, in F32, F16 or
/// BF16.
///
/// A tensor of the file is named `layers.0.weight` or `0.weight`. `names` has other beginnings
/// of names, such as `features.0`, with those that they stand for, such as `layers.0`.
///
/// # Errors
///
/// [`ModelFileError`] for the first tensor that is missing, not the model's or of another
/// shape, and for a value that is not finite.
pub fn read(
    spec: &ModelSpec,
    file: &[u8],
    names: &BTreeMap<String, String>,
) -> Result<Weights, ModelFileError> {
    let (_, header) = SafeTensors::read_metadata(file)?;
    let is_fedras =
        header.metadata().as_ref().is_some_and(|entries| entries.contains_key(METADATA));
    let mut tensors = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(file)?.iter() {
        let place = place_of(name, names);
        let fail = |problem| Err(ModelFileError::Tensor { name: name.to_owned(), problem });
        if let Some((other, _)) = tensors.insert(place, (name.to_owned(), view)) {
            return fail(format!("it stands for the same tensor as {other}; leave one out"));
        }
    }
    let whole = spec.unfrozen();
    let of_pytorch = places(&whole);
    let mut values = with_room(whole.parameters())?;
    for (info, (own, place)) in whole.layout().iter().zip(&of_pytorch) {
        let is_turned = !is_fedras && place.is_transposed;
        let name = if is_fedras { &info.name[PREFIX.len()..] } else { own };
        let Some((found, view)) = tensors.remove(name) else {
            return Err(missing(&info.name, name, &tensors));
        };
        let mut shape = info.shape.clone();
        if is_turned {
            shape.reverse();
        }
        if view.shape() != shape {
            return Err(misshapen(&found, &view, &shape, is_fedras));
        }
        let own = floats(&found, &view)?;
        check_finite(&found, own.iter().copied())?;
        match (is_turned, &info.shape[..]) {
            // The file has a row for each of our columns.
            (true, &[rows, _]) => values.extend(turned(&own, rows)?),
            _ => values.extend(own),
        }
    }
    if let Some((name, view)) = tensors.into_values().next() {
        let problem = format!(
            "the model has no such tensor (it is {:?} {:?} in the file); leave it out of the file, \
             or name its place in initial_names",
            view.dtype(),
            view.shape()
        );
        return Err(ModelFileError::Tensor { name, problem });
    }
    Ok(Weights::of_values(spec, values))
}

/// The place of a tensor within the layers: its name without the beginning.
fn place_of(name: &str, names: &BTreeMap<String, String>) -> String {
    let renamed = names.iter().find_map(|(from, to)| {
        let rest = name.strip_prefix(from.as_str())?.strip_prefix('.')?;
        Some(format!("{to}.{rest}"))
    });
    let name = renamed.unwrap_or_else(|| name.to_owned());
    name.strip_prefix(PREFIX).map(str::to_owned).unwrap_or(name)
}

fn missing(
    name: &str,
    wanted: &str,
    rest: &BTreeMap<String, (String, TensorView<'_>)>,
) -> ModelFileError {
    let others = rest.values().map(|(name, _)| name.as_str()).take(3).collect::<Vec<_>>();
    let others = match others.is_empty() {
        true => "has no other".to_owned(),
        false => format!("also has {}", others.join(", ")),
    };
    let problem = format!(
        "the file has no {PREFIX}{wanted} or {wanted}; it {others}. Give the file all tensors of \
         the model, or name their places in initial_names"
    );
    ModelFileError::Tensor { name: name.to_owned(), problem }
}

fn misshapen(
    name: &str,
    view: &TensorView<'_>,
    shape: &[usize],
    is_fedras: bool,
) -> ModelFileError {
    let turned: Vec<usize> = shape.iter().rev().copied().collect();
    let remedy = match (view.shape() == turned && shape.len() == 2, is_fedras) {
        (true, true) => "it is transposed: a file of Fedra has a row for each input",
        (true, false) => {
            "it is transposed: a file that is not of Fedra has a row for each output, as PyTorch \
             writes it"
        }
        (false, _) => "take the file of a model with these layers, or change the layers",
    };
    let (dtype, found) = (view.dtype(), view.shape());
    let problem = format!("it is {dtype:?} {found:?}, the model has {shape:?}; {remedy}");
    ModelFileError::Tensor { name: name.to_owned(), problem }
}

/// The values of a tensor as float32.
fn floats(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, ModelFileError> {
    let data = view.data();
    let mut values = with_room(view.shape().iter().product())?;
    match view.dtype() {
        Dtype::F32 => values.extend(data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
        Dtype::F16 => {
            values.extend(data.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()));
        }
        Dtype::BF16 => {
            values.extend(data.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()));
        }
        dtype => {
            let problem = format!("it is {dtype:?}; write it as F32, F16 or BF16");
            return Err(ModelFileError::Tensor { name: name.to_owned(), problem });
        }
    }
    Ok(values)
}
