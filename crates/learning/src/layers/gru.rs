//! Gated recurrent unit.

use burn::module::Module;
use fedra_kernels::Cell;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::linear::Linear;
use super::parameters::{Parameters, TrainedTensor};
use super::recurrent::unrolled;
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct Gru {
    input: Linear,
    hidden: Linear,
}

impl LayerModule for Gru {
    type Spec = spec::Gru;

    fn build(_spec: &spec::Gru, parameters: &mut Parameters<'_>) -> Self {
        Self { input: Linear::next(parameters), hidden: Linear::next(parameters) }
    }

    fn apply(&self, input: Activation, mode: &mut Mode<'_>) -> Activation {
        unrolled(Cell::Gru, &self.input, &self.hidden, input, mode)
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        [self.input.trained(), self.hidden.trained()].concat()
    }
}
