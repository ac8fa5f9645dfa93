//! Gradients of single examples, from one backward pass over a batch.
//!
//! burn has no batched differentiation over examples. But a zero added to the
//! output of a layer, a probe, receives as its gradient what the loss of each
//! example says about that output, row by row. Together with the layer's input
//! that is all there is to know about the gradient of its weights (Goodfellow
//! 2015; Rochette, Manoel and Tramel 2019 for convolutions).
//!
//! Everything stays on the device.

use burn::module::Param;
use burn::tensor::{Bool, Gradients, Tensor};

use super::parameters::ParameterSum;

/// Reason for which a probe has a gradient.
pub(super) const GRADIENT: &str = "every output of a layer leads to the loss";

/// A trained layer's input, and the probe at its output.
pub(crate) trait Tap {
    /// The layer's part of each example's gradient.
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient>;
}

/// A layer's part of each example's gradient.
pub(crate) trait ExampleGradient {
    /// The squares of the examples' L2 norms, `[batch, 1]`.
    fn squared_norms(&self) -> Tensor<2>;

    /// The sum over the examples, each times its `scale: [batch, 1]`, without the
    /// `spoiled` ones, in the order of the layer's trained tensors.
    fn sum(self: Box<Self>, scale: &Tensor<2>, spoiled: &Tensor<2, Bool>) -> Vec<ParameterSum>;
}

/// The gradient of each example in full, for layers that take the same weights more than
/// once.
pub(super) struct WholeGradient<const D: usize> {
    pub weights: Param<Tensor<D>>,
    pub biases: Param<Tensor<1>>,
    /// Of the weights, two dimensions after the batch.
    pub weight: Tensor<3>,
    /// Of the biases, the same with one dimension of size 1.
    pub bias: Tensor<3>,
}

impl<const D: usize> ExampleGradient for WholeGradient<D> {
    fn squared_norms(&self) -> Tensor<2> {
        let weight: Tensor<2> = self.weight.clone().flatten(1, 2);
        let bias: Tensor<2> = self.bias.clone().flatten(1, 2);
        weight.square().sum_dim(1) + bias.square().sum_dim(1)
    }

    fn sum(self: Box<Self>, scale: &Tensor<2>, spoiled: &Tensor<2, Bool>) -> Vec<ParameterSum> {
        let Self { weights, biases, weight, bias } = *self;
        let (scale, spoiled) = (scale.clone().unsqueeze_dim(2), spoiled.clone().unsqueeze_dim(2));
        let weight = (without(weight, spoiled.clone()) * scale.clone()).sum_dim(0);
        let bias = (without(bias, spoiled) * scale).sum_dim(0).reshape(biases.dims());
        let weight = weight.reshape(weights.dims());
        vec![ParameterSum::of(&weights, weight), ParameterSum::of(&biases, bias)]
    }
}

/// The output with a probe added, and the probe.
pub(super) fn probed<const D: usize>(output: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let probe = Tensor::zeros(output.dims(), &output.device()).require_grad();
    (output + probe.clone(), probe)
}

/// Zeros in the rows that `spoiled`, of size 1 after the batch, marks.
pub(super) fn without<const D: usize>(rows: Tensor<D>, spoiled: Tensor<D, Bool>) -> Tensor<D> {
    let spoiled = spoiled.expand(rows.dims());
    rows.mask_fill(spoiled, 0.0)
}
