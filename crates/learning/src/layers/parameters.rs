//! Trained tensors of any rank: in from the flat vector, out to memory, and into an
//! optimiser.

use burn::module::{Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use fedra_protocol::TensorInfo;

use super::activation::tensor;

/// Takes tensors off the flat vector in the order of the layout.
pub(crate) struct Parameters<'a> {
    layout: std::slice::Iter<'a, TensorInfo>,
    values: &'a [f32],
    device: &'a Device,
}

impl<'a> Parameters<'a> {
    /// `values` must be as long as the layout.
    pub fn new(layout: &'a [TensorInfo], values: &'a [f32], device: &'a Device) -> Self {
        Self { layout: layout.iter(), values, device }
    }

    /// The next tensor. Panics after the last one, or if it has another rank.
    pub fn next<const D: usize>(&mut self) -> Param<Tensor<D>> {
        let info = self.layout.next().expect("the layout has every tensor of the layers");
        let (values, rest) = self.values.split_at(info.len());
        self.values = rest;
        Param::from_tensor(tensor(values.to_vec(), &info.shape, self.device))
    }
}

/// A trained tensor, its rank erased.
pub(crate) trait TrainedTensor {
    /// Its name in a network and its optimiser.
    fn id(&self) -> ParamId;

    /// The values, row-major, without autodiff.
    fn flat(&self) -> Tensor<1>;

    /// The gradient, row-major; `None` if the tensor did not take part.
    fn flat_gradient(&self, gradients: &GradientsParams) -> Option<Tensor<1>>;

    /// Number of values.
    fn len(&self) -> usize;

    /// Zeros for a sum of this tensor's gradients.
    fn zero_sum(&self, device: &Device) -> ParameterSum;
}

impl<const D: usize> TrainedTensor for Param<Tensor<D>> {
    fn id(&self) -> ParamId {
        self.id
    }

    fn flat(&self) -> Tensor<1> {
        self.val().inner().flatten(0, D - 1)
    }

    fn flat_gradient(&self, gradients: &GradientsParams) -> Option<Tensor<1>> {
        Some(gradients.get::<D>(self.id)?.flatten(0, D - 1))
    }

    fn len(&self) -> usize {
        self.dims().iter().product()
    }

    fn zero_sum(&self, device: &Device) -> ParameterSum {
        ParameterSum::of(self, Tensor::zeros(self.dims(), device))
    }
}

/// A sum over examples of one trained tensor's gradients.
pub(crate) struct ParameterSum {
    id: ParamId,
    dims: Vec<usize>,
    register: fn(ParamId, &[usize], Tensor<1>, &mut GradientsParams),
    /// Row-major, without autodiff.
    pub values: Tensor<1>,
}

impl ParameterSum {
    pub(super) fn of<const D: usize>(param: &Param<Tensor<D>>, sum: Tensor<D>) -> Self {
        Self {
            id: param.id,
            dims: sum.dims().to_vec(),
            register: register::<D>,
            values: sum.flatten(0, D - 1),
        }
    }

    /// Hands the sum to an optimiser.
    pub fn register(self, gradients: &mut GradientsParams) {
        (self.register)(self.id, &self.dims, self.values, gradients);
    }
}

fn register<const D: usize>(
    id: ParamId,
    dims: &[usize],
    values: Tensor<1>,
    gradients: &mut GradientsParams,
) {
    let dims: [usize; D] = dims.try_into().expect("a sum has its tensor's rank");
    gradients.register(id, values.reshape(dims));
}
