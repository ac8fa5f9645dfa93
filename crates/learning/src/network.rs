//! A model specification interpreted into burn modules.
//!
//! It must not know how a model is trained, nor where examples come from.

use std::collections::HashMap;
use std::ops::Range;

use burn::module::{Module, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use fedra_protocol::ModelSpec;

use crate::LearningError;
use crate::kernels::square_sum;
use crate::layers::{Activation, Mode, NetworkLayer, Parameters, TrainedTensor};
use crate::weights::WeightsView;

mod fused;
mod per_example;
mod readback;

pub(crate) use fused::run;
pub(crate) use per_example::clipped_gradient_sum;
pub(crate) use readback::read;

/// The layers of a model with its parameters on a device.
#[derive(Module, Debug)]
pub(crate) struct Network {
    layers: Vec<NetworkLayer>,
    /// True for each layer that is frozen.
    frozen: Vec<bool>,
}

impl Network {
    /// Builds the layers on `device` from the flat vectors, which must be as
    /// long as the model's. The tensors of frozen layers have no gradients.
    pub fn new(
        spec: &ModelSpec,
        weights: WeightsView<'_>,
        device: &Device,
    ) -> Result<Self, LearningError> {
        weights.check(spec)?;
        let mut trained = Parameters::new(spec.layout(), weights.trained, device);
        let mut frozen = Parameters::new(spec.frozen_layout(), weights.frozen, device);
        let build = |(index, layer)| match spec.is_frozen(index) {
            true => NetworkLayer::build(layer, &mut frozen).no_grad(),
            false => NetworkLayer::build(layer, &mut trained),
        };
        let layers: Vec<_> = spec.layers().iter().enumerate().map(build).collect();
        let frozen = (0..layers.len()).map(|index| spec.is_frozen(index)).collect();
        Ok(Self { layers, frozen })
    }

    /// The layers, for the tests' reference.
    #[cfg(test)]
    pub fn layers(&self) -> &[NetworkLayer] {
        &self.layers
    }

    /// The values of the frozen layers, for the tests.
    #[cfg(test)]
    pub fn frozen_parameters(&self) -> Vec<f32> {
        let layers = self.layers.iter().zip(&self.frozen).filter(|(_, is_frozen)| **is_frozen);
        let tensors = layers.flat_map(|(layer, _)| layer.trained());
        tensors.flat_map(|tensor| read(tensor.flat())).collect()
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Outputs before the softmax, `[batch * positions, outputs]`.
    pub fn forward(&self, input: Activation, mode: Mode<'_>) -> Tensor<2> {
        self.run(0..self.depth(), input, mode).rows()
    }

    /// The same for what the layers before `first` have made of a batch.
    pub fn forward_from(&self, first: usize, input: Activation, mode: Mode<'_>) -> Tensor<2> {
        self.run(first..self.depth(), input, mode).rows()
    }

    /// Output of some of the layers on their input. Panics on a range beyond the last layer.
    pub fn run(&self, layers: Range<usize>, input: Activation, mut mode: Mode<'_>) -> Activation {
        run(&self.layers[layers], input, &mut mode)
    }

    /// Moves the network out, for an update in place.
    pub fn take(&mut self) -> Self {
        Self { layers: std::mem::take(&mut self.layers), frozen: self.frozen.clone() }
    }

    /// The flat parameter vector, without the values of frozen layers.
    pub fn parameters(&self) -> Vec<f32> {
        self.trained().flat_map(|tensor| read(tensor.flat())).collect()
    }

    /// The flat gradient; zeros where a parameter did not take part.
    pub fn gradient(&self, gradients: &GradientsParams) -> Vec<f32> {
        let gradient = |tensor: &dyn TrainedTensor| match tensor.flat_gradient(gradients) {
            Some(gradient) => read(gradient),
            None => vec![0.0; tensor.len()],
        };
        self.trained().flat_map(gradient).collect()
    }

    /// Values of a flat vector by the tensors that they belong to.
    pub fn by_tensor(&self, mut flat: &[f32]) -> HashMap<ParamId, Vec<f32>> {
        let own = |tensor: &dyn TrainedTensor| {
            let (own, others) = flat.split_at(tensor.len());
            flat = others;
            (tensor.id(), own.to_vec())
        };
        self.trained().map(own).collect()
    }

    /// L2 norm of the flat gradient.
    pub fn gradient_norm(&self, gradients: &GradientsParams) -> f64 {
        let tensors = self.trained().filter_map(|tensor| tensor.flat_gradient(gradients));
        tensors.map(square_sum).sum::<f64>().sqrt()
    }

    /// The trained tensors in the order of the layout.
    fn trained(&self) -> impl Iterator<Item = &dyn TrainedTensor> {
        let layers = self.layers.iter().zip(&self.frozen);
        layers.filter(|(_, is_frozen)| !**is_frozen).flat_map(|(layer, _)| layer.trained())
    }
}
