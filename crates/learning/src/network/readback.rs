//! Values and gradients from the device to memory.

use burn::tensor::{Gradients, Tensor};

use crate::LearningError;
use crate::device::Backend;

/// A trained tensor of any of the ranks that layers have.
pub(super) enum TrainedTensor {
    Rank1(Tensor<1>),
    Rank2(Tensor<2>),
    Rank4(Tensor<4>),
}

impl TrainedTensor {
    pub async fn read(self, backend: Backend) -> Result<Vec<f32>, LearningError> {
        match self {
            Self::Rank1(x) => read(x.inner(), backend).await,
            Self::Rank2(x) => read(x.inner(), backend).await,
            Self::Rank4(x) => read(x.inner(), backend).await,
        }
    }

    pub async fn read_gradient(
        self,
        gradients: &Gradients,
        backend: Backend,
    ) -> Result<Vec<f32>, LearningError> {
        match self {
            Self::Rank1(x) => read_gradient(x, gradients, backend).await,
            Self::Rank2(x) => read_gradient(x, gradients, backend).await,
            Self::Rank4(x) => read_gradient(x, gradients, backend).await,
        }
    }
}

async fn read_gradient<const D: usize>(
    tensor: Tensor<D>,
    gradients: &Gradients,
    backend: Backend,
) -> Result<Vec<f32>, LearningError> {
    match tensor.grad(gradients) {
        Some(gradient) => read(gradient, backend).await,
        None => Ok(vec![0.0; tensor.dims().iter().product()]),
    }
}

/// The values of a tensor, row-major.
pub(crate) async fn read<const D: usize>(
    tensor: Tensor<D>,
    backend: Backend,
) -> Result<Vec<f32>, LearningError> {
    let fail = |message: String| LearningError::Device { backend, message };
    let data = tensor.into_data_async().await.map_err(|error| fail(error.to_string()))?;
    data.try_into_vec().map_err(|error| fail(format!("{error:?}")))
}
