//! Values from the device to memory.

use burn::tensor::Tensor;

use crate::LearningError;
use crate::device::Backend;

/// The values of a tensor, row-major.
pub(crate) async fn read<const D: usize>(
    tensor: Tensor<D>,
    backend: Backend,
) -> Result<Vec<f32>, LearningError> {
    let fail = |message: String| LearningError::Device { backend, message };
    let data = tensor.into_data_async().await.map_err(|error| fail(error.to_string()))?;
    data.try_into_vec().map_err(|error| fail(format!("{error:?}")))
}
