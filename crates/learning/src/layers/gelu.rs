//! Gaussian error linear unit.

use burn::nn::Gelu;
use fedra_protocol::layers as spec;

use super::activation::{Activation, at_each_rank};
use super::parameters::Parameters;
use super::{LayerModule, Mode};
use crate::kernels;

impl LayerModule for Gelu {
    type Spec = spec::Gelu;

    fn build(_spec: &spec::Gelu, _parameters: &mut Parameters<'_>) -> Self {
        Self::new()
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        at_each_rank!(input, x => kernels::gelu(x))
    }
}
