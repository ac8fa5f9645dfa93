//! Names of the layers and algorithms that a client knows, or that a task needs.

use std::collections::BTreeSet;

use crate::model::{Layer, ModelSpec};
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

/// Layers and algorithms by name, as a set: those that a client knows, or those that a
/// task needs.
///
/// A check-in without them means [`Capabilities::version_1`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Types of layers, as in a config file.
    pub layers: BTreeSet<String>,
    /// Algorithms of local training.
    pub algorithms: BTreeSet<String>,
}

impl Capabilities {
    /// Everything that this version of the software knows.
    pub fn all() -> Self {
        Self::named(Layer::TYPE_NAMES, &ClientAlgorithm::NAMES)
    }

    /// Capabilities of a client that names none.
    pub fn version_1() -> Self {
        Self::named(&VERSION_1_LAYERS, &VERSION_1_ALGORITHMS)
    }

    /// Capabilities that a client needs to take part in a task.
    pub fn needed(model: &ModelSpec, training: &LocalTraining) -> Self {
        let layers: Vec<&str> = model.layers().iter().map(Layer::type_name).collect();
        Self::named(&layers, &[training.algorithm().name()])
    }

    /// Names in `needed` that are not in here, as part of a sentence: `the layer elu`.
    pub fn missing(&self, needed: &Self) -> Option<String> {
        let layers = needed.layers.difference(&self.layers).map(|name| format!("the layer {name}"));
        let algorithms = needed
            .algorithms
            .difference(&self.algorithms)
            .map(|name| format!("the training algorithm {name}"));
        let missing: Vec<String> = layers.chain(algorithms).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    fn named(layers: &[&str], algorithms: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self { layers: owned(layers), algorithms: owned(algorithms) }
    }
}
