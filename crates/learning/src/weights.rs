//! Values of a model: those that are trained, and those of its frozen layers beside them.

use std::sync::Arc;

use fedra_data::memory::with_room;
use fedra_protocol::ModelSpec;

use crate::LearningError;

/// All values of a model. A clone is the same values.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The flat parameter vector, in the order of [`ModelSpec::layout`].
    pub trained: Arc<Vec<f32>>,
    /// The values of the frozen layers, in the order of [`ModelSpec::frozen_layout`]; none
    /// without such layers.
    pub frozen: Arc<Vec<f32>>,
}

/// The same, borrowed. The flat parameter vector alone stands for a model without frozen
/// layers.
#[derive(Clone, Copy, Debug)]
pub struct WeightsView<'a> {
    /// See [`Weights::trained`].
    pub trained: &'a [f32],
    /// See [`Weights::frozen`].
    pub frozen: &'a [f32],
}

impl<'a, T: AsRef<[f32]> + ?Sized> From<&'a T> for WeightsView<'a> {
    fn from(trained: &'a T) -> Self {
        Self { trained: trained.as_ref(), frozen: &[] }
    }
}

impl<'a> From<&'a Weights> for WeightsView<'a> {
    fn from(weights: &'a Weights) -> Self {
        Self { trained: &weights.trained, frozen: &weights.frozen }
    }
}

impl WeightsView<'_> {
    /// Checks that both halves are as long as the model's.
    ///
    /// # Errors
    ///
    /// [`LearningError::ParameterCount`] or [`LearningError::FrozenCount`].
    pub fn check(self, spec: &ModelSpec) -> Result<(), LearningError> {
        let (expected, actual) = (spec.parameters(), self.trained.len());
        if expected != actual {
            return Err(LearningError::ParameterCount { expected, actual });
        }
        let (expected, actual) = (spec.frozen_parameters(), self.frozen.len());
        if expected != actual {
            return Err(LearningError::FrozenCount { expected, actual });
        }
        Ok(())
    }

    /// The values in the order of the layers: the flat parameter vector of the
    /// [unfrozen](ModelSpec::unfrozen) model.
    ///
    /// # Errors
    ///
    /// [`LearningError`] if they are not as many as the model's, or memory is short.
    pub fn in_order(self, spec: &ModelSpec) -> Result<Vec<f32>, LearningError> {
        self.check(spec)?;
        let Self { mut trained, mut frozen } = self;
        let mut values = with_room(trained.len() + frozen.len())?;
        for (tensor, is_frozen) in spec.tensors() {
            let rest = if is_frozen { &mut frozen } else { &mut trained };
            let (own, others) = rest.split_at(tensor.len());
            values.extend_from_slice(own);
            *rest = others;
        }
        Ok(values)
    }
}

impl Weights {
    /// The same values, divided as in a model with the same layers of which others are
    /// frozen.
    ///
    /// # Errors
    ///
    /// [`LearningError`] if they are not as many as the model's, or memory is short.
    pub fn divided_as(&self, spec: &ModelSpec, other: &ModelSpec) -> Result<Self, LearningError> {
        let values = WeightsView::from(self).in_order(spec)?;
        Ok(Self::of_values(other, values))
    }

    /// The halves of values [in the order](WeightsView::in_order) of the layers. Panics if
    /// they are fewer than the model's.
    pub(crate) fn of_values(spec: &ModelSpec, values: Vec<f32>) -> Self {
        if spec.frozen_layers().is_empty() {
            return Self { trained: Arc::new(values), frozen: Arc::default() };
        }
        let (mut trained, mut frozen) = (Vec::new(), Vec::new());
        let mut rest = &values[..];
        for (tensor, is_frozen) in spec.tensors() {
            let (own, others) = rest.split_at(tensor.len());
            if is_frozen { &mut frozen } else { &mut trained }.extend_from_slice(own);
            rest = others;
        }
        Self { trained: Arc::new(trained), frozen: Arc::new(frozen) }
    }
}
