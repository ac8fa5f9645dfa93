//! Names of the layers, losses, algorithms and codecs that a client knows, or that a task
//! needs.

use std::collections::BTreeSet;

use crate::codec::CodecName;
use crate::evaluation::ClientEvaluation;
use crate::model::{Layer, Loss, ModelSpec, Objective};
use crate::task::{ClientAlgorithm, LocalTraining};

/// The layers of version 1 of the protocol as it was first released. They never change.
const VERSION_1_LAYERS: [&str; 14] = [
    "linear",
    "conv2d",
    "max_pool2d",
    "avg_pool2d",
    "relu",
    "tanh",
    "gelu",
    "sigmoid",
    "flatten",
    "dropout",
    "layer_norm",
    "abs",
    "standardize",
    "gaussian_derivative",
];
/// The algorithms of the same.
const VERSION_1_ALGORITHMS: [&str; 1] = ["sgd"];
/// The codecs of the same.
const VERSION_1_CODECS: [&str; 2] = ["f32", "packed"];

/// The losses of the same.
const VERSION_1_LOSSES: [&str; 2] = ["softmax_cross_entropy", "mean_squared_error"];

/// Layers, losses, algorithms and codecs by name, as a set: those that a client knows, or those that a
/// task needs.
///
/// A check-in without them means [`Capabilities::version_1`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Types of layers, as in a config file, and the [settings](Layer::SETTINGS) of layers.
    pub layers: BTreeSet<String>,
    /// Algorithms of local training, the [settings](LocalTraining::SETTINGS) of its plans, and
    /// [`ClientAlgorithm::EVALUATION`] and [`ClientAlgorithm::MASKING_GROUPS`].
    pub algorithms: BTreeSet<String>,
    /// Codecs of updates.
    pub codecs: BTreeSet<String>,
    /// Losses, as in a config file, and the [settings](Objective::SETTINGS) of losses.
    pub losses: BTreeSet<String>,
}

impl Capabilities {
    /// Everything that this version of the software knows.
    pub fn all() -> Self {
        Self::named(
            &[Layer::TYPE_NAMES, &Layer::SETTINGS].concat(),
            &[
                &ClientAlgorithm::NAMES[..],
                &LocalTraining::SETTINGS,
                &[ClientAlgorithm::EVALUATION, ClientAlgorithm::MASKING_GROUPS],
            ]
            .concat(),
            &CodecName::ALL.map(CodecName::name),
            &[&Loss::NAMES[..], &Objective::SETTINGS].concat(),
        )
    }

    /// Capabilities of a client that names none.
    pub fn version_1() -> Self {
        Self::named(&VERSION_1_LAYERS, &VERSION_1_ALGORITHMS, &VERSION_1_CODECS, &VERSION_1_LOSSES)
    }

    /// Capabilities that a client needs to take part in a task.
    pub fn needed(
        model: &ModelSpec,
        training: &LocalTraining,
        codec: CodecName,
        evaluation: Option<&ClientEvaluation>,
    ) -> Self {
        let layers = model.layers().iter().flat_map(Layer::with_nested).map(Layer::type_name);
        let frozen = (!model.frozen_layers().is_empty()).then_some(Layer::SETTINGS[0]);
        let layers: Vec<&str> = layers.chain(frozen).collect();
        let objective = model.objective();
        let losses = [vec![objective.loss().name()], objective.settings()].concat();
        let evaluation = evaluation.map(|_| ClientAlgorithm::EVALUATION);
        let algorithm = [training.algorithm().name()].into_iter();
        let algorithms: Vec<&str> =
            algorithm.chain(training.settings()).chain(evaluation).collect();
        Self::named(&layers, &algorithms, &[codec.name()], &losses)
    }

    /// These and masking groups of buffered rounds.
    #[must_use]
    pub fn with_masking_groups(mut self) -> Self {
        self.algorithms.insert(ClientAlgorithm::MASKING_GROUPS.to_owned());
        self
    }

    /// Names in `needed` that are not in here, as part of a sentence: `the layer elu`.
    pub fn missing(&self, needed: &Self) -> Option<String> {
        let layers = needed.layers.difference(&self.layers).map(|name| {
            let setting = Layer::SETTINGS.contains(&name.as_str());
            format!("the {} {name}", if setting { "setting of a layer" } else { "layer" })
        });
        let algorithms =
            needed.algorithms.difference(&self.algorithms).map(|name| match name.as_str() {
                ClientAlgorithm::EVALUATION => "the evaluation of models by clients".to_owned(),
                ClientAlgorithm::MASKING_GROUPS => "masking groups of buffered rounds".to_owned(),
                name if LocalTraining::SETTINGS.contains(&name) => {
                    format!("the setting of training {name}")
                }
                name => format!("the training algorithm {name}"),
            });
        let codecs = needed.codecs.difference(&self.codecs).map(|name| format!("the codec {name}"));
        let losses = needed.losses.difference(&self.losses).map(|name| {
            let setting = Objective::SETTINGS.contains(&name.as_str());
            format!("the {} {name}", if setting { "setting of the loss" } else { "loss" })
        });
        let missing: Vec<String> = layers.chain(algorithms).chain(codecs).chain(losses).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// Codecs of a client whose capabilities say nothing of codecs.
    pub(crate) fn version_1_codecs() -> BTreeSet<String> {
        VERSION_1_CODECS.map(str::to_owned).into()
    }

    /// Losses of a client whose capabilities say nothing of losses.
    pub(crate) fn version_1_losses() -> BTreeSet<String> {
        VERSION_1_LOSSES.map(str::to_owned).into()
    }

    fn named(layers: &[&str], algorithms: &[&str], codecs: &[&str], losses: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            layers: owned(layers),
            algorithms: owned(algorithms),
            codecs: owned(codecs),
            losses: owned(losses),
        }
    }
}
