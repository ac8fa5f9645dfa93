//! Long short-term memory.

use burn::module::Module;
use fedra_kernels::Cell;
use fedra_protocol::layers as spec;

use super::activation::Activation;
use super::linear::Linear;
use super::parameters::{Parameters, TrainedTensor};
use super::recurrent::unrolled;
use super::{LayerModule, Mode};

#[derive(Module, Debug)]
pub(crate) struct Lstm {
    input: Linear,
    hidden: Linear,
}

impl LayerModule for Lstm {
    type Spec = spec::Lstm;

    fn build(_spec: &spec::Lstm, parameters: &mut Parameters<'_>) -> Self {
        Self { input: Linear::next(parameters), hidden: Linear::next(parameters) }
    }

    fn apply(&self, input: Activation, mode: &mut Mode<'_>) -> Activation {
        unrolled(Cell::Lstm, &self.input, &self.hidden, input, mode)
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        [self.input.trained(), self.hidden.trained()].concat()
    }
}
