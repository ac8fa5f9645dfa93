//! Maximum over all pixels or positions.

use burn::module::Module;
use fedra_kernels::MaxPool;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::parameters::Parameters;
use super::{LayerModule, Mode};
use crate::kernels;

#[derive(Module, Debug)]
pub(crate) struct GlobalMaxPool {}

impl LayerModule for GlobalMaxPool {
    type Spec = spec::GlobalMaxPool;

    fn build(_spec: &spec::GlobalMaxPool, _parameters: &mut Parameters<'_>) -> Self {
        Self {}
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        let x = input.planes();
        let [_, _, height, width] = x.dims();
        let pool = MaxPool { kernel: [height, width], stride: [height, width] };
        Activation::Features(kernels::max_pool(pool, x).flatten(1, 3))
    }
}
