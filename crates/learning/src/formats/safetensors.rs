//! Flat parameter vectors to and from safetensors files.
//!
//! A file holds the tensors of `ModelSpec::layout` as little-endian float32 and,
//! in its metadata under `fedra`, the model specification as JSON. The same
//! model gives the same bytes, so a file can be named by its hash. The tensors of frozen
//! layers are a file of their own.

use std::collections::HashMap;
use std::sync::Arc;

use bytemuck::{cast_slice, cast_slice_mut};
use fedra_data::memory::{OutOfMemory, with_room};
use fedra_protocol::{Layer, Loss, ModelSpec, TensorInfo};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

use crate::{LearningError, Weights};

/// Key of the metadata under which the model specification stands.
pub(super) const METADATA: &str = "fedra";

// A file's float32 are little-endian, and are copied as they lie.
const _: () = assert!(cfg!(target_endian = "little"));

/// Bytes that are not this model's file.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// Not safetensors.
    #[error("not a safetensors file, or not all of it: {0}")]
    Format(#[from] SafeTensorError),
    /// A safetensors file of another program.
    #[error(
        "the file has no metadata `{METADATA}`, so it does not say what its model is; take a \
         model file of a Fedra task"
    )]
    NoDescription,
    /// The metadata is not a model specification.
    #[error("the file's metadata `{METADATA}` does not describe a model: {0}")]
    Description(String),
    /// The metadata names a layer or a loss that this version does not have.
    #[error(
        "the file's model has {what} {name:?}, which this version of Fedra does not know; a \
         newer version may"
    )]
    Unknown {
        /// A layer, or a loss.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The model has frozen layers, and only the other ones are there.
    #[error(
        "the file has the trained tensors of its model alone; give the file of the frozen ones, too"
    )]
    NoFrozenPart,
    /// A tensor of the model is missing or different.
    #[error("tensor {name}: {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// The mistake.
        problem: String,
    },
    /// A value of the model is infinite or not a number.
    #[error("tensor {name}: value {index} is not finite")]
    NotFinite {
        /// The tensor.
        name: String,
        /// The value's place in it, from 0, in row-major order.
        index: usize,
    },
    /// The vector does not belong to the model.
    #[error(transparent)]
    Parameters(#[from] LearningError),
    /// There is too little memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// A model file from the flat parameter vector, whose values must be finite.
///
/// # Errors
///
/// [`ModelFileError::Parameters`] if the vector is not as long as the model's,
/// [`ModelFileError::NotFinite`] for the first value that is not finite.
pub fn write(spec: &ModelSpec, parameters: &[f32]) -> Result<Vec<u8>, ModelFileError> {
    let (expected, actual) = (spec.parameters(), parameters.len());
    if expected != actual {
        return Err(LearningError::ParameterCount { expected, actual }.into());
    }
    let json = serde_json::to_string(spec).expect("a model specification is plain data");
    written(spec.layout(), parameters, Some(HashMap::from([(METADATA.to_string(), json)])))
}

/// The beginning of a model's file, before its first value: the same for all models of a
/// specification.
#[must_use]
pub fn head<'a>(spec: &ModelSpec, file: &'a [u8]) -> &'a [u8] {
    let values = size_of::<f32>() * spec.parameters();
    file.get(..file.len().saturating_sub(values)).unwrap_or_default()
}

/// The file that [`write()`] makes of the parameters, as many as the model has, from its
/// beginning.
#[must_use]
pub fn with_head(spec: &ModelSpec, head: &[u8], parameters: &[f32]) -> Vec<u8> {
    let mut rest = parameters;
    let mut tensors = Vec::new();
    for info in spec.layout() {
        let (values, tail) = rest.split_at(info.len().min(rest.len()));
        rest = tail;
        tensors.push((info.name.as_str(), values));
    }
    let mut file = head.to_vec();
    // In the order of their names. They are few, and a sort is more code than the browser's
    // module has room for.
    while let Some(first) = (0..tensors.len()).min_by_key(|&at| tensors[at].0) {
        file.extend_from_slice(cast_slice(tensors.swap_remove(first).1));
    }
    file
}

/// A file of the frozen tensors from the flat vector of their values, which must be finite.
///
/// # Errors
///
/// [`ModelFileError::Parameters`] if the vector is not as long as the model's,
/// [`ModelFileError::NotFinite`] for the first value that is not finite.
pub fn write_frozen(spec: &ModelSpec, frozen: &[f32]) -> Result<Vec<u8>, ModelFileError> {
    let (expected, actual) = (spec.frozen_parameters(), frozen.len());
    if expected != actual {
        return Err(LearningError::FrozenCount { expected, actual }.into());
    }
    written(spec.frozen_layout(), frozen, None)
}

fn written(
    layout: &[TensorInfo],
    values: &[f32],
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, ModelFileError> {
    let mut rest = values;
    let views = layout
        .iter()
        .map(|info| {
            let (values, tail) = rest.split_at(info.len());
            rest = tail;
            check_finite(&info.name, values.iter().copied())?;
            let view = TensorView::new(Dtype::F32, info.shape.clone(), cast_slice(values))?;
            Ok((info.name.as_str(), view))
        })
        .collect::<Result<Vec<_>, ModelFileError>>()?;
    Ok(safetensors::serialize(views, metadata)?)
}

/// The flat parameter vector from a model file; names, shapes and types must
/// be the model's. Values must be finite.
///
/// # Errors
///
/// [`ModelFileError`] for the first thing that is wrong with the file.
pub fn read(spec: &ModelSpec, file: &[u8]) -> Result<Vec<f32>, ModelFileError> {
    values(spec.layout(), file)
}

/// The values of the frozen layers from their file, in the same way.
///
/// # Errors
///
/// [`ModelFileError`] for the first thing that is wrong with the file.
pub fn read_frozen(spec: &ModelSpec, file: &[u8]) -> Result<Vec<f32>, ModelFileError> {
    values(spec.frozen_layout(), file)
}

fn values(layout: &[TensorInfo], file: &[u8]) -> Result<Vec<f32>, ModelFileError> {
    let tensors = SafeTensors::deserialize(file)?;
    let views = layout
        .iter()
        .map(|info| Ok((info, view(&tensors, info)?)))
        .collect::<Result<Vec<_>, ModelFileError>>()?;
    // Only now: before, a short file could ask for the memory of a large model.
    let mut parameters: Vec<f32> = with_room(layout.iter().map(TensorInfo::len).sum())?;
    for (info, view) in views {
        let start = parameters.len();
        parameters.resize(start + info.len(), 0.0);
        let values = &mut parameters[start..];
        // The file's bytes need not be aligned.
        cast_slice_mut(values).copy_from_slice(view.data());
        check_finite(&info.name, values.iter().copied())?;
    }
    Ok(parameters)
}

/// Checks that bytes are a file of float32 tensors with finite values, of any model.
///
/// # Errors
///
/// [`ModelFileError`] for the first thing that is wrong with the file.
pub fn check(file: &[u8]) -> Result<(), ModelFileError> {
    for (name, view) in SafeTensors::deserialize(file)?.iter() {
        if view.dtype() != Dtype::F32 {
            let problem = format!("it is {:?}; a model has F32", view.dtype());
            return Err(ModelFileError::Tensor { name: name.to_owned(), problem });
        }
        check_finite(name, floats(view.data()))?;
    }
    Ok(())
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]))
}

pub(super) fn check_finite(
    name: &str,
    mut values: impl Iterator<Item = f32>,
) -> Result<(), ModelFileError> {
    match values.position(|value| !value.is_finite()) {
        Some(index) => Err(ModelFileError::NotFinite { name: name.to_owned(), index }),
        None => Ok(()),
    }
}

/// The model that a file describes in its metadata, and its weights. `frozen` is the file of
/// its frozen tensors, if it has some.
///
/// # Errors
///
/// [`ModelFileError`] for the first thing that is wrong with the file, or that only a
/// later version knows.
pub fn read_model(
    file: &[u8],
    frozen: Option<&[u8]>,
) -> Result<(ModelSpec, Weights), ModelFileError> {
    let (_, header) = SafeTensors::read_metadata(file)?;
    let json = header.metadata().as_ref().and_then(|entries| entries.get(METADATA));
    let spec = description(json.ok_or(ModelFileError::NoDescription)?)?;
    let trained = Arc::new(read(&spec, file)?);
    let frozen = match spec.frozen_layers() {
        [] => Arc::default(),
        _ => Arc::new(read_frozen(&spec, frozen.ok_or(ModelFileError::NoFrozenPart)?)?),
    };
    Ok((spec, Weights { trained, frozen }))
}

fn description(json: &str) -> Result<ModelSpec, ModelFileError> {
    let fail = |error: serde_json::Error| ModelFileError::Description(error.to_string());
    let value: serde_json::Value = serde_json::from_str(json).map_err(fail)?;
    let layers = value["layers"].as_array().into_iter().flatten();
    let mut layers = layers.filter_map(|layer| layer["type"].as_str());
    let unknown = |what, name: &str| ModelFileError::Unknown { what, name: name.into() };
    if let Some(name) = layers.find(|name| !Layer::TYPE_NAMES.contains(name)) {
        return Err(unknown("a layer", name));
    }
    if let Some(name) = value["loss"].as_str().filter(|name| !Loss::NAMES.contains(name)) {
        return Err(unknown("the loss", name));
    }
    serde_json::from_value(value).map_err(fail)
}

fn view<'a>(
    tensors: &SafeTensors<'a>,
    info: &TensorInfo,
) -> Result<TensorView<'a>, ModelFileError> {
    let fail = |problem: String| ModelFileError::Tensor { name: info.name.clone(), problem };
    let view = tensors.tensor(&info.name).map_err(|error| fail(error.to_string()))?;
    if view.dtype() != Dtype::F32 || view.shape() != info.shape {
        let (dtype, shape) = (view.dtype(), view.shape());
        return Err(fail(format!("it is {dtype:?} {shape:?}, the model has F32 {:?}", info.shape)));
    }
    Ok(view)
}
