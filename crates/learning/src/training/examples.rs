//! Local examples as a trainer takes them.
//!
//! The leading fixed layers of a model see an example once, when training begins, not in
//! every epoch. Examples go through them in pieces, so that the caller can yield.

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
/// [`LearningError`] if the data do not fit the model, or it has frozen layers.
pub fn prepared(spec: &ModelSpec, data: &Arc<Dataset>) -> Result<Option<Vec<f32>>, LearningError> {
    data.check_for(spec)?;
    if !has_work(spec) {
        return Ok(None);
    }
    let device = device::inference();
    let network = Network::new(spec, (&vec![0.0; spec.parameters()]).into(), &device)?;
    let mut examples = Examples::new(spec, data.clone(), &device);
    examples.prepare_all(&network);
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
    /// Output of the leading fixed layers for the first examples, row by row; of all once
    /// they are prepared.
    prepared: Option<Vec<f32>>,
    /// Number of those examples.
    done: usize,
}

impl Examples {
    pub fn new(spec: &ModelSpec, data: Arc<Dataset>, device: &Device) -> Self {
        let width = spec.inputs().get(spec.fixed_layers()).map_or(0, |shape| shape.len());
        let values = width.saturating_mul(data.len());
        let is_prepared = has_work(spec) && values <= MOST_VALUES;
        let prepared = is_prepared.then(|| Vec::with_capacity(values));
        Self { data, spec: spec.clone(), device: device.clone(), prepared, done: 0 }
    }

    /// Puts the next examples through the leading fixed layers of the network. False if
    /// there are none left.
    pub fn prepare(&mut self, network: &Network) -> bool {
        let Some(mut prepared) = self.prepared.take() else { return false };
        let piece = BATCH.min(examples_a_piece(&self.spec));
        let next = self.done..self.len().min(self.done + piece);
        self.done = next.end;
        let indices: Vec<u32> = next.map(|index| index as u32).collect();
        if !indices.is_empty() {
            let fixed = self.spec.fixed_layers();
            let part = network.run(0..fixed, self.raw(&indices), Mode::Inference);
            prepared.extend(read(part.flatten()));
        }
        self.prepared = Some(prepared);
        !indices.is_empty()
    }

    /// The same for all examples.
    pub fn prepare_all(&mut self, network: &Network) {
        while self.prepare(network) {}
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// The layer that takes [`Self::inputs`].
    pub fn first_layer(&self) -> usize {
        if self.prepared.is_some() { self.spec.fixed_layers() } else { 0 }
    }

    /// Inputs of [`Self::first_layer`] for the examples at `indices`, once all are prepared.
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
}
