//! The sum of per-example gradients, each clipped, from one backward pass.
//!
//! Each trained layer gives its part of the examples' gradients (see
//! `layers::example_gradient`). Everything stays on the device, and no noise is added here.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::Network;
use crate::layers::{Activation, Mode, ParameterSum, Tap, tapped};

/// The sum over a batch of the examples' gradients, each scaled down to an L2
/// norm of at most `clip`, in the order of the layout. `loss` is the sum, not
/// the mean, of the examples' losses, given the outputs before the softmax.
///
/// An example whose gradient is not finite counts as zero: leaving it to spoil
/// the sum would tell that it is there. Every layer that is not frozen must be one that
/// [can be clipped](crate::layers::can_be_clipped).
pub(crate) fn clipped_gradient_sum(
    network: &Network,
    first: usize,
    input: Activation,
    clip: f32,
    mode: Mode<'_>,
    loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
) -> Vec<ParameterSum> {
    let (outputs, taps) = network.forward_tapped(first, input, mode);
    let gradients = loss(outputs).backward();
    let layers: Vec<_> = taps.into_iter().map(|tap| tap.gradient(&gradients)).collect();
    let squares = layers.iter().map(|layer| layer.squared_norms());
    let squares = squares.reduce(|a, b| a + b).expect("a model has a trained layer");
    let spoiled = squares.clone().is_finite().bool_not();
    let scale = squares.sqrt().clamp_min(clip).recip().mul_scalar(clip);
    let scale = scale.mask_fill(spoiled.clone(), 0.0);
    layers.into_iter().flat_map(|layer| layer.sum(&scale, &spoiled)).collect()
}

impl Network {
    /// The trained tensors with zeros for values, in the order of the layout.
    pub fn zero_sums(&self, device: &Device) -> Vec<ParameterSum> {
        self.trained().map(|tensor| tensor.zero_sum(device)).collect()
    }

    /// Outputs before the softmax, `[batch * positions, outputs]`, and a tap for each trained layer from `first` on.
    fn forward_tapped(
        &self,
        first: usize,
        input: Activation,
        mut mode: Mode<'_>,
    ) -> (Tensor<2>, Vec<Box<dyn Tap>>) {
        // Only the probes need gradients.
        let network = self.clone().no_grad();
        let mut taps = Vec::new();
        let layers = network.layers.iter().zip(&network.frozen).skip(first);
        let output = layers.fold(input, |activation, (layer, is_frozen)| match is_frozen {
            true => layer.apply(activation, &mut mode),
            false => tapped(std::slice::from_ref(layer), activation, &mut mode, &mut taps),
        });
        (output.rows(), taps)
    }
}
