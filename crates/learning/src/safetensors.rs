//! Flat parameter vectors to and from safetensors files.
//!
//! A file holds the tensors of `ModelSpec::layout` as little-endian float32 and,
//! in its metadata under `fedra`, the model specification as JSON. The same
//! model gives the same bytes, so a file can be named by its hash.

use std::collections::HashMap;

use fedra_protocol::ModelSpec;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

use crate::LearningError;

/// Why bytes are not this model's file.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// Not safetensors.
    #[error("not a safetensors file: {0}")]
    Format(#[from] SafeTensorError),
    /// A tensor of the model is missing or different.
    #[error("tensor {name}: {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The vector does not belong to the model.
    #[error(transparent)]
    Parameters(#[from] LearningError),
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
    let metadata = HashMap::from([("fedra".to_string(), json)]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// The flat parameter vector from a model file; names, shapes and types must
/// be the model's. Values must be finite.
pub fn read(spec: &ModelSpec, file: &[u8]) -> Result<Vec<f32>, ModelFileError> {
    let tensors = SafeTensors::deserialize(file)?;
    let mut parameters = Vec::with_capacity(spec.parameters());
    for info in spec.layout() {
        let fail = |problem: String| ModelFileError::Tensor { name: info.name.clone(), problem };
        let view = tensors.tensor(&info.name).map_err(|error| fail(error.to_string()))?;
        if view.dtype() != Dtype::F32 || view.shape() != info.shape {
            let (dtype, shape) = (view.dtype(), view.shape());
            return Err(fail(format!(
                "it is {dtype:?} {shape:?}, the model has F32 {:?}",
                info.shape
            )));
        }
        let start = parameters.len();
        let values = view
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        parameters.extend(values);
        if let Some(index) = parameters[start..].iter().position(|value| !value.is_finite()) {
            return Err(fail(format!("value {index} is not a finite number")));
        }
    }
    Ok(parameters)
}

/// Fails unless `parameters` is as long as the model's flat vector.
pub(crate) fn check_len(spec: &ModelSpec, parameters: &[f32]) -> Result<(), LearningError> {
    let (expected, actual) = (spec.parameters(), parameters.len());
    if expected != actual {
        return Err(LearningError::ParameterCount { expected, actual });
    }
    Ok(())
}
