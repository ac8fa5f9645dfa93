//! Maximum pooling.

use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::parameters::Parameters;
use super::{LayerModule, Mode};

impl LayerModule for MaxPool2d {
    type Spec = spec::MaxPool2d;

    fn build(spec: &spec::MaxPool2d, _parameters: &mut Parameters<'_>) -> Self {
        MaxPool2dConfig::new([spec.kernel as usize; 2])
            .with_strides([spec.stride as usize; 2])
            .init()
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        Activation::Image(self.forward(input.image()))
    }
}
