//! Values of a tensor.

use burn::tensor::Tensor;

/// The values of a tensor of the CPU, row-major.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("tensors of this crate are of 32-bit floats")
}
