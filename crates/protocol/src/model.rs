//! Models as data: what a server sends and a client builds at run time.
//!
//! This file knows shapes and names of tensors, and nothing of how a layer is
//! computed. A [`ModelSpec`] that exists is valid: shapes fit, sizes are within
//! [`limits`](crate::limits).

mod builtin;
pub mod layers;
mod layout;
mod loss;
mod raw_layer;
mod shape;

use serde::{Deserialize, Serialize};

use layers::EmbeddedFeature;
pub use layers::Layer;
pub use layout::{ForwardCost, Init, TensorInfo};
pub use loss::{Loss, Objective};
pub use shape::{ElementKind, Shape};

use crate::limits;
use layout::Inferred;
pub(crate) use loss::RawObjective;
pub(crate) use raw_layer::RawLayer;

/// A checked model: input shape, layers, loss.
///
/// Layers at the top level may be frozen: their tensors keep the values that the task began
/// with. What is trained is the [`layout`](Self::layout), which updates and privacy are about;
/// the frozen tensors are the [`frozen_layout`](Self::frozen_layout) beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawModelSpec", into = "RawModelSpec")]
pub struct ModelSpec {
    input: Shape,
    layers: Vec<Layer>,
    /// Indices of layers, increasing.
    frozen: Vec<usize>,
    objective: Objective,
    layout: Vec<TensorInfo>,
    frozen_layout: Vec<TensorInfo>,
    /// Tensors of each layer.
    tensors: Vec<usize>,
    inputs: Vec<Shape>,
    output: Shape,
    forward: ForwardCost,
}

/// A model specification as it was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawModelSpec {
    pub input: Vec<u32>,
    #[serde(default, skip_serializing_if = "is_of_values")]
    pub elements: ElementKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<u32>,
    pub layers: Vec<RawLayer>,
    pub loss: Loss,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_smoothing: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive_weights: Option<Vec<f32>>,
}

fn is_of_values(elements: &ElementKind) -> bool {
    *elements == ElementKind::Values
}

impl RawModelSpec {
    /// Shape of one example.
    fn shape(&self) -> Result<Shape, ModelSpecError> {
        let Self { input, elements, vocabulary, .. } = self;
        match (elements, vocabulary) {
            (ElementKind::Values, None) => {
                Shape::from_dims(input).ok_or_else(|| ModelSpecError::InputShape(input.clone()))
            }
            (ElementKind::Values, Some(_)) => Err(ModelSpecError::VocabularyOfValues),
            (ElementKind::TokenIds, _) => {
                let shape = match (&input[..], vocabulary) {
                    (&[positions], &Some(vocabulary)) => Shape::from_tokens(positions, vocabulary),
                    _ => None,
                };
                shape.ok_or_else(|| ModelSpecError::TokenInput(input.clone(), *vocabulary))
            }
        }
    }
}

/// Model specification that does not describe a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelSpecError {
    /// Neither features nor an image.
    #[error(
        "the input shape must be [features], [height, width] or [channels, height, width], each at \
         least 1; it is {0:?}"
    )]
    InputShape(Vec<u32>),
    /// Token ids without the shape or the vocabulary of token ids.
    #[error(
        "a model of token ids has the input shape [positions] and a vocabulary of 1 to {max}; the \
         shape is {0:?}, the vocabulary {vocabulary}",
        max = limits::MAX_VOCABULARY,
        vocabulary = .1.map_or("missing".to_owned(), |vocabulary| vocabulary.to_string())
    )]
    TokenInput(Vec<u32>, Option<u32>),
    /// A vocabulary without token ids.
    #[error("a model of values has no vocabulary; give it elements = \"token_ids\"")]
    VocabularyOfValues,
    /// A layer that takes elements of another kind than those that come in.
    #[error(
        "layer {index} ({layer}) takes {takes}, not {given}; {remedy}",
        remedy = match .takes {
            ElementKind::Values => "put an embedding layer before it",
            ElementKind::TokenIds => "only the input of a model has them, elements = \"token_ids\"",
        }
    )]
    Elements {
        /// Position, from 0.
        index: usize,
        /// The layer's type, as in a config file.
        layer: &'static str,
        /// Kind that it takes.
        takes: ElementKind,
        /// Kind that comes in.
        given: ElementKind,
    },
    /// A layer that does not fit what comes before it.
    #[error("layer {index} ({layer}): {problem}")]
    Layer {
        /// Position, from 0.
        index: usize,
        /// The layer's type, as in a config file.
        layer: &'static str,
        /// The mistake, and its remedy.
        problem: String,
    },
    /// No layer, or too many.
    #[error("a model has 1 to {max} layers; this one has {0}", max = limits::MAX_LAYERS)]
    LayerCount(usize),
    /// Layers in layers in layers.
    #[error(
        "layers are nested at most {max} deep; these are {0} deep: put the inner ones beside each \
         other",
        max = limits::MAX_NESTING
    )]
    Nesting(usize),
    /// The last layer leaves an image.
    #[error("the model ends in an image {0:?}; end it with flatten and linear layers")]
    OutputShape(Vec<u32>),
    /// A model without anything to train.
    #[error(
        "the model has no trainable parameter; add a linear or conv2d layer, or leave trainable = \
         false out of one"
    )]
    NothingToTrain,
    /// A frozen layer that has nothing to train anyway.
    #[error("layer {index} ({layer}) has no parameter to freeze; leave its trainable = false out")]
    NothingToFreeze {
        /// Position, from 0.
        index: usize,
        /// The layer's type, as in a config file.
        layer: &'static str,
    },
    /// A frozen layer that the model does not have.
    #[error("the model has no layer {0} to freeze")]
    NoSuchLayer(usize),
    /// More parameters than the protocol carries.
    #[error("the model has more than {max} parameters", max = limits::MAX_PARAMETERS)]
    TooManyParameters,
    /// A cross-entropy over fewer than two classes.
    #[error("softmax cross-entropy needs at least 2 outputs; the model has {0}")]
    TooFewClasses(usize),
    /// A setting of the loss that is out of range, or of another loss.
    #[error("loss {loss}: {problem}")]
    Loss {
        /// The loss, as in a config file.
        loss: &'static str,
        /// The mistake, and its remedy.
        problem: String,
    },
}

impl ModelSpec {
    /// Checks that the layers fit each other and the limits.
    ///
    /// `input` is the shape of one example's values: `[features]`, `[channels, height,
    /// width]`, or `[height, width]` for one channel.
    ///
    /// # Errors
    ///
    /// [`ModelSpecError`] for the first layer that does not fit, or a limit that is passed.
    pub fn new(
        input: &[u32],
        layers: Vec<Layer>,
        objective: impl Into<Objective>,
    ) -> Result<Self, ModelSpecError> {
        let shape =
            Shape::from_dims(input).ok_or_else(|| ModelSpecError::InputShape(input.to_vec()))?;
        Self::of_shape(shape, layers, &[], objective.into())
    }

    /// The same for examples of `positions` token ids, each below `vocabulary`.
    ///
    /// # Errors
    ///
    /// [`ModelSpecError`] for the first layer that does not fit, or a limit that is passed.
    pub fn of_tokens(
        positions: u32,
        vocabulary: u32,
        layers: Vec<Layer>,
        objective: impl Into<Objective>,
    ) -> Result<Self, ModelSpecError> {
        let shape = Shape::from_tokens(positions, vocabulary)
            .ok_or_else(|| ModelSpecError::TokenInput(vec![positions], Some(vocabulary)))?;
        Self::of_shape(shape, layers, &[], objective.into())
    }

    /// The same model with the layers at the indices `frozen`, each from 0, frozen, and no
    /// other.
    ///
    /// # Errors
    ///
    /// [`ModelSpecError`] for an index that is no layer's, a layer without parameters, or if
    /// nothing is left to train.
    pub fn with_frozen(self, frozen: &[usize]) -> Result<Self, ModelSpecError> {
        Self::of_shape(self.input, self.layers, frozen, self.objective)
    }

    /// The same model with all layers frozen but the last one that has parameters.
    #[must_use]
    pub fn with_last_layer_trained(&self) -> Self {
        let counts = self.tensors.iter().enumerate();
        let mut frozen: Vec<usize> =
            counts.filter(|(_, tensors)| **tensors > 0).map(|(index, _)| index).collect();
        frozen.pop();
        // The layers fit each other as before, and one is left to train.
        self.clone().with_frozen(&frozen).unwrap_or_else(|_| self.clone())
    }

    /// The same model with every layer trained.
    #[must_use]
    pub fn unfrozen(&self) -> Self {
        let layout = self.tensors().into_iter().map(|(tensor, _)| tensor.clone()).collect();
        Self { frozen: Vec::new(), layout, frozen_layout: Vec::new(), ..self.clone() }
    }

    fn of_shape(
        input: Shape,
        layers: Vec<Layer>,
        frozen: &[usize],
        objective: Objective,
    ) -> Result<Self, ModelSpecError> {
        let count = layers.iter().map(|layer| layer.with_nested().len()).sum();
        if !(1..=limits::MAX_LAYERS).contains(&count) {
            return Err(ModelSpecError::LayerCount(count));
        }
        // The outermost layer is in no other.
        let nesting = layers.iter().map(Layer::depth).max().unwrap_or(1) - 1;
        if nesting > limits::MAX_NESTING {
            return Err(ModelSpecError::Nesting(nesting));
        }
        let Inferred { tensors: of_layers, inputs, output, forward } =
            layout::infer(layout::MODEL, input, &layers)?;
        for &index in frozen {
            let tensors = of_layers.get(index).ok_or(ModelSpecError::NoSuchLayer(index))?;
            if tensors.is_empty() {
                let layer = layers[index].type_name();
                return Err(ModelSpecError::NothingToFreeze { index, layer });
            }
        }
        let tensors = of_layers.iter().map(Vec::len).collect();
        let (mut layout, mut frozen_layout, mut indices) = (Vec::new(), Vec::new(), Vec::new());
        for (index, tensors) in of_layers.into_iter().enumerate() {
            if frozen.contains(&index) {
                frozen_layout.extend(tensors);
                indices.push(index);
            } else {
                layout.extend(tensors);
            }
        }
        let width = match output {
            Shape::Features(width) | Shape::Sequence { width, .. } => width,
            Shape::Image { .. } | Shape::Tokens { .. } => {
                return Err(ModelSpecError::OutputShape(output.dims()));
            }
        };
        if layout.is_empty() {
            return Err(ModelSpecError::NothingToTrain);
        }
        objective.check(width as usize)?;
        Ok(Self {
            input,
            layers,
            frozen: indices,
            objective,
            layout,
            frozen_layout,
            tensors,
            inputs,
            output,
            forward,
        })
    }

    /// Shape of one example.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The layers in order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Features of an example that the model embeds as numbers of categories, by place.
    pub fn embedded(&self) -> &[EmbeddedFeature] {
        match self.layers.first() {
            Some(Layer::CategoryEmbedding(layer)) => &layer.features,
            _ => &[],
        }
    }

    /// Shape of one example before each layer.
    pub fn inputs(&self) -> &[Shape] {
        &self.inputs
    }

    /// Indices of the frozen layers, increasing.
    pub fn frozen_layers(&self) -> &[usize] {
        &self.frozen
    }

    /// True if the layer at `index` is frozen.
    pub fn is_frozen(&self, index: usize) -> bool {
        self.frozen.contains(&index)
    }

    /// Number of layers at the start that are [fixed](Layer::is_fixed), or frozen and not
    /// random: what they make of an example never changes, so it need be computed only once.
    pub fn fixed_layers(&self) -> usize {
        let is_constant = |&(index, layer): &(usize, &Layer)| {
            layer.is_fixed() || self.is_frozen(index) && !layer.is_random()
        };
        self.layers.iter().enumerate().take_while(is_constant).count()
    }

    /// Kind of the objective.
    pub fn loss(&self) -> Loss {
        self.objective.loss()
    }

    /// Objective of training.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// The trained tensors, in the order of the flat parameter vector.
    pub fn layout(&self) -> &[TensorInfo] {
        &self.layout
    }

    /// Length of the flat parameter vector: the values that are trained.
    pub fn parameters(&self) -> usize {
        self.layout.iter().map(TensorInfo::len).sum()
    }

    /// The tensors of the frozen layers, in the order of the flat vector of their values.
    pub fn frozen_layout(&self) -> &[TensorInfo] {
        &self.frozen_layout
    }

    /// Length of the flat vector of frozen values.
    pub fn frozen_parameters(&self) -> usize {
        self.frozen_layout.iter().map(TensorInfo::len).sum()
    }

    /// All tensors in the order of the layers, each with true if it is frozen.
    pub fn tensors(&self) -> Vec<(&TensorInfo, bool)> {
        let (mut trained, mut frozen) = (&self.layout[..], &self.frozen_layout[..]);
        let mut tensors = Vec::with_capacity(trained.len() + frozen.len());
        for (index, &count) in self.tensors.iter().enumerate() {
            let is_frozen = self.is_frozen(index);
            let rest = if is_frozen { &mut frozen } else { &mut trained };
            let (own, others) = rest.split_at(count);
            tensors.extend(own.iter().map(|tensor| (tensor, is_frozen)));
            *rest = others;
        }
        tensors
    }

    /// Shape of the outputs for one example: features, or a sequence.
    pub fn output(&self) -> Shape {
        self.output
    }

    /// Outputs for one example, of all positions.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Positions that have outputs of their own: those of a sequence, or 1.
    pub fn output_positions(&self) -> usize {
        match self.output {
            Shape::Sequence { positions, .. } => positions as usize,
            _ => 1,
        }
    }

    /// Outputs at each position: classes, or values of a regression.
    pub fn output_width(&self) -> usize {
        self.output_len() / self.output_positions()
    }

    /// Memory and work of one example in a forward pass.
    pub fn forward_cost(&self) -> ForwardCost {
        self.forward
    }
}

impl TryFrom<RawModelSpec> for ModelSpec {
    type Error = ModelSpecError;

    fn try_from(raw: RawModelSpec) -> Result<Self, ModelSpecError> {
        let shape = raw.shape()?;
        let RawModelSpec { loss, delta, class_weights, label_smoothing, layers, .. } = raw;
        let positive_weights = raw.positive_weights;
        let objective =
            RawObjective { loss, delta, class_weights, label_smoothing, positive_weights };
        let frozen = layers.iter().enumerate().filter(|(_, layer)| !layer.trainable);
        let frozen: Vec<usize> = frozen.map(|(index, _)| index).collect();
        let layers = layers.into_iter().map(|layer| layer.layer).collect();
        Self::of_shape(shape, layers, &frozen, objective.try_into()?)
    }
}

impl From<ModelSpec> for RawModelSpec {
    fn from(spec: ModelSpec) -> Self {
        let vocabulary = match spec.input {
            Shape::Tokens { vocabulary, .. } => Some(vocabulary),
            Shape::Features(_) | Shape::Sequence { .. } | Shape::Image { .. } => None,
        };
        let RawObjective { loss, delta, class_weights, label_smoothing, positive_weights } =
            spec.objective.into();
        let layers = spec.layers.into_iter().enumerate();
        let layers = layers
            .map(|(index, layer)| RawLayer { layer, trainable: !spec.frozen.contains(&index) });
        Self {
            input: spec.input.dims(),
            elements: spec.input.elements(),
            vocabulary,
            layers: layers.collect(),
            loss,
            delta,
            class_weights,
            label_smoothing,
            positive_weights,
        }
    }
}
