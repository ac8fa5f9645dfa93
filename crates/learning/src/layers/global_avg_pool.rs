//! Mean over all pixels or positions.

use burn::module::Module;
use fedra_kernels::MeanPool;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::parameters::Parameters;
use super::{LayerModule, Mode};
use crate::kernels;

#[derive(Module, Debug)]
pub(crate) struct GlobalAvgPool {}

impl LayerModule for GlobalAvgPool {
    type Spec = spec::GlobalAvgPool;

    fn build(_spec: &spec::GlobalAvgPool, _parameters: &mut Parameters<'_>) -> Self {
        Self {}
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        let x = input.planes();
        let [_, _, height, width] = x.dims();
        let pool = MeanPool { kernel: [height, width], stride: [height, width] };
        Activation::Features(kernels::mean_pool(pool, x).flatten(1, 3))
    }
}
