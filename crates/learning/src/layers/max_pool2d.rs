//! Maximum pooling.

use burn::module::Module;
use fedra_kernels::MaxPool;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::parameters::Parameters;
use super::{LayerModule, Mode};
use crate::kernels;

#[derive(Module, Debug)]
pub(crate) struct MaxPool2d {
    pub kernel: usize,
    pub stride: usize,
}

impl MaxPool2d {
    /// Its windows.
    pub fn windows(&self) -> MaxPool {
        MaxPool { kernel: [self.kernel; 2], stride: [self.stride; 2] }
    }
}

impl LayerModule for MaxPool2d {
    type Spec = spec::MaxPool2d;

    fn build(spec: &spec::MaxPool2d, _parameters: &mut Parameters<'_>) -> Self {
        Self { kernel: spec.kernel as usize, stride: spec.stride as usize }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        Activation::Image(kernels::max_pool(self.windows(), input.image()))
    }
}
