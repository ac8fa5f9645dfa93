//! Flat parameter vectors to and from safetensors files.
//!
//! A file holds the tensors of `ModelSpec::layout` as little-endian float32 and,
//! in its metadata under `fedra`, the model specification as JSON. The same
//! model gives the same bytes, so a file can be named by its hash.

use std::collections::HashMap;

use fedra_protocol::{Layer, Loss, ModelSpec, TensorInfo};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

use crate::LearningError;
use crate::memory::{OutOfMemory, with_room};

/// Key of the metadata under which the model specification stands.
const METADATA: &str = "fedra";

/// Why bytes are not this model's file.
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
    /// A tensor of the model is missing or different.
    #[error("tensor {name}: {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A NaN or an infinity.
    #[error("tensor {name}: the value at position {index} is not a finite number")]
    NotFinite {
        /// Name of the tensor.
        name: String,
        /// Position in the tensor, row-major.
        index: usize,
    },
    /// The vector does not belong to the model.
    #[error(transparent)]
    Parameters(#[from] LearningError),
    /// There is too little memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// A model file from the flat parameter vector.
pub fn write(spec: &ModelSpec, parameters: &[f32]) -> Result<Vec<u8>, ModelFileError> {
    check_len(spec, parameters)?;
    let mut rest = parameters;
    let tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = spec
        .layout()
        .iter()
        .map(|info| {
            let (values, tail) = rest.split_at(info.len());
            rest = tail;
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (info.name.as_str(), info.shape.clone(), bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, SafeTensorError>>()?;
    let json = serde_json::to_string(spec).expect("a model specification is plain data");
    let metadata = HashMap::from([(METADATA.to_string(), json)]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// The flat parameter vector from a model file; names, shapes and types must
/// be the model's. Values must be finite.
pub fn read(spec: &ModelSpec, file: &[u8]) -> Result<Vec<f32>, ModelFileError> {
    let tensors = SafeTensors::deserialize(file)?;
    let views = spec
        .layout()
        .iter()
        .map(|info| Ok((info, view(&tensors, info)?)))
        .collect::<Result<Vec<_>, ModelFileError>>()?;
    // Only now: before, a short file could ask for the memory of a large model.
    let mut parameters = with_room(spec.parameters())?;
    for (info, view) in views {
        let (values, _) = view.data().as_chunks::<4>();
        for (index, bytes) in values.iter().enumerate() {
            let value = f32::from_le_bytes(*bytes);
            if !value.is_finite() {
                return Err(ModelFileError::NotFinite { name: info.name.clone(), index });
            }
            parameters.push(value);
        }
    }
    Ok(parameters)
}

/// The model that a file describes in its metadata, and its flat parameter vector.
pub fn read_model(file: &[u8]) -> Result<(ModelSpec, Vec<f32>), ModelFileError> {
    let (_, header) = SafeTensors::read_metadata(file)?;
    let json = header.metadata().as_ref().and_then(|entries| entries.get(METADATA));
    let spec = description(json.ok_or(ModelFileError::NoDescription)?)?;
    let parameters = read(&spec, file)?;
    Ok((spec, parameters))
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

/// Fails unless `parameters` is as long as the model's flat vector.
pub(crate) fn check_len(spec: &ModelSpec, parameters: &[f32]) -> Result<(), LearningError> {
    let (expected, actual) = (spec.parameters(), parameters.len());
    if expected != actual {
        return Err(LearningError::ParameterCount { expected, actual });
    }
    Ok(())
}
