//! Local examples as a trainer takes them.
//!
//! The leading fixed layers of a model see an example once, when training begins, not in
//! every epoch.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use fedra_data::{Dataset, rows};
use fedra_protocol::{Layer, ModelSpec};

use crate::LearningError;
use crate::device;
use crate::layers::{Activation, Mode, tensor};
use crate::network::{Network, read};
use crate::predict::examples_a_piece;

/// Most examples that go through the fixed layers together.
const BATCH: usize = 500;
/// Most values to keep, 256 MiB: above, the fixed layers run at every step.
const MOST_VALUES: usize = 1 << 26;

/// Output of the leading fixed layers of a model for each example of `data`, row by row;
/// images channels first. `None` where they change nothing, or their outputs would take more than
/// 256 MiB.
///
/// # Errors
///
/// [`LearningError`] if the data do not fit the model.
pub fn prepared(spec: &ModelSpec, data: &Arc<Dataset>) -> Result<Option<Vec<f32>>, LearningError> {
    data.check_for(spec)?;
    if !has_work(spec) {
        return Ok(None);
    }
    let device = device::inference();
    let network = Network::new(spec, &vec![0.0; spec.parameters()], &device)?;
    let examples = Examples::new(spec, &network, data.clone(), &device);
    Ok(examples.prepared)
}

/// True if the leading fixed layers of a model change an example.
fn has_work(spec: &ModelSpec) -> bool {
    let fixed = &spec.layers()[..spec.fixed_layers()];
    !fixed.iter().all(|layer| matches!(layer, Layer::Flatten(_)))
}

/// A data set for one model.
pub(crate) struct Examples {
    data: Arc<Dataset>,
    spec: ModelSpec,
    device: Device,
    /// Output of the leading fixed layers for all examples, row by row.
    prepared: Option<Vec<f32>>,
}

impl Examples {
    pub fn new(spec: &ModelSpec, network: &Network, data: Arc<Dataset>, device: &Device) -> Self {
        let mut examples =
            Self { data, spec: spec.clone(), device: device.clone(), prepared: None };
        examples.prepared = examples.prepare(network);
        examples
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// The layer that takes [`Self::inputs`].
    pub fn first_layer(&self) -> usize {
        if self.prepared.is_some() { self.spec.fixed_layers() } else { 0 }
    }

    /// Inputs of [`Self::first_layer`] for the examples at `indices`.
    pub fn inputs(&self, indices: &[u32]) -> Activation {
        match &self.prepared {
            Some(prepared) => {
                // A model ends in layers that train.
                let shape = self.spec.inputs()[self.spec.fixed_layers()];
                Activation::new(rows(prepared, shape.len(), indices).into(), shape, &self.device)
            }
            None => self.raw(indices),
        }
    }

    /// Targets for the examples at `indices`, `[batch * positions, outputs]`, classes
    /// one-hot.
    pub fn targets(&self, indices: &[u32]) -> Tensor<2> {
        let rows = indices.len() * self.spec.output_positions();
        let targets = self.data.dense_targets_of(indices, &self.spec);
        tensor(targets, &[rows, self.spec.output_width()], &self.device)
    }

    fn raw(&self, indices: &[u32]) -> Activation {
        Activation::new(self.data.features_of(indices), self.spec.input(), &self.device)
    }

    fn prepare(&self, network: &Network) -> Option<Vec<f32>> {
        let fixed = self.spec.fixed_layers();
        if !has_work(&self.spec) {
            return None;
        }
        let values = self.spec.inputs().get(fixed)?.len().saturating_mul(self.len());
        if values > MOST_VALUES {
            return None;
        }
        let all: Vec<u32> = (0..self.len() as u32).collect();
        let mut prepared = Vec::with_capacity(values);
        for indices in all.chunks(BATCH.min(examples_a_piece(&self.spec))) {
            let part = network.run(0..fixed, self.raw(indices), Mode::Inference);
            prepared.extend(read(part.flatten()));
        }
        Some(prepared)
    }
}
