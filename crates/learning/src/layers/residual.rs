//! Residual block.

use burn::module::Module;
use burn::tensor::{Bool, Gradients, Tensor};
use fedra_protocol::{Layer, layers as spec};

use super::activation::Activation;
use super::example_gradient::{ExampleGradient, Tap};
use super::parameters::{ParameterSum, Parameters, TrainedTensor};
use super::{LayerModule, Mode, NetworkLayer, tapped};
use crate::network::run;

/// The sum of what two lists of layers make of the same input; an empty list passes it on.
#[derive(Module, Debug)]
pub(crate) struct Residual {
    layers: Vec<NetworkLayer>,
    shortcut: Vec<NetworkLayer>,
}

impl LayerModule for Residual {
    type Spec = spec::Residual;

    /// Of its layers, each by itself.
    const EXAMPLE_GRADIENT: bool = true;

    fn build(spec: &spec::Residual, parameters: &mut Parameters<'_>) -> Self {
        let mut build = |layers: &[Layer]| {
            layers.iter().map(|layer| NetworkLayer::build(layer, parameters)).collect()
        };
        Self { layers: build(&spec.layers), shortcut: build(&spec.shortcut) }
    }

    fn apply(&self, input: Activation, mode: &mut Mode<'_>) -> Activation {
        let output = run(&self.layers, input.clone(), mode);
        output.plus(run(&self.shortcut, input, mode))
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        self.layers.iter().chain(&self.shortcut).flat_map(NetworkLayer::trained).collect()
    }

    fn tap(&self, input: Activation, mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let mut taps = Taps(Vec::new());
        let output = tapped(&self.layers, input.clone(), mode, &mut taps.0);
        let output = output.plus(tapped(&self.shortcut, input, mode, &mut taps.0));
        match taps.0[..] {
            [] => (output, None),
            _ => (output, Some(Box::new(taps))),
        }
    }
}

/// Taps of the block's layers, in the order of its trained tensors.
struct Taps(Vec<Box<dyn Tap>>);

impl Tap for Taps {
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient> {
        Box::new(Parts(self.0.into_iter().map(|tap| tap.gradient(gradients)).collect()))
    }
}

/// The layers' parts of each example's gradient.
struct Parts(Vec<Box<dyn ExampleGradient>>);

impl ExampleGradient for Parts {
    fn squared_norms(&self) -> Tensor<2> {
        let norms = self.0.iter().map(|part| part.squared_norms());
        norms.reduce(|a, b| a + b).expect("a block without taps has no gradient")
    }

    fn sum(self: Box<Self>, scale: &Tensor<2>, spoiled: &Tensor<2, Bool>) -> Vec<ParameterSum> {
        self.0.into_iter().flat_map(|part| part.sum(scale, spoiled)).collect()
    }
}
