//! Mean pooling.

use burn::module::Module;
use fedra_kernels::MeanPool;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::parameters::Parameters;
use super::{LayerModule, Mode};
use crate::kernels;

#[derive(Module, Debug)]
pub(crate) struct AvgPool2d {
    pub kernel: usize,
    pub stride: usize,
}

impl LayerModule for AvgPool2d {
    type Spec = spec::AvgPool2d;

    fn build(spec: &spec::AvgPool2d, _parameters: &mut Parameters<'_>) -> Self {
        Self { kernel: spec.kernel as usize, stride: spec.stride as usize }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        let windows = MeanPool { kernel: [self.kernel; 2], stride: [self.stride; 2] };
        Activation::Image(kernels::mean_pool(windows, input.image()))
    }
}
