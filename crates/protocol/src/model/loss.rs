//! Objectives of training: a loss with its settings.

use serde::{Deserialize, Serialize};

use super::ModelSpecError;
use crate::limits;

/// Kind of an objective, as a mean over the batch, and over the positions of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Softmax, then the negative log-likelihood of the right class.
    SoftmaxCrossEntropy,
    /// Mean over the outputs of the squared difference.
    MeanSquaredError,
    /// Mean over the outputs of the negative log-likelihood of yes or no, after the sigmoid.
    BinaryCrossEntropy,
    /// Mean over the outputs of half the squared difference, or of a line where that is large.
    Huber,
}

impl Loss {
    /// The losses as they are written in a config file.
    pub const NAMES: [&str; 4] =
        ["softmax_cross_entropy", "mean_squared_error", "binary_cross_entropy", "huber"];

    /// The loss as it is written in a config file.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// True if the targets are numbers to come near to, not classes or answers.
    pub fn is_regression(self) -> bool {
        matches!(self, Self::MeanSquaredError | Self::Huber)
    }
}

/// A loss with its settings; those of a model are in range.
///
/// Made of a [`Loss`], it has the defaults.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// `-sum over the classes c of t_c w_c log p_c` with the softmax p of the outputs and the
    /// targets t.
    SoftmaxCrossEntropy {
        /// w, a factor for each class, above 0; empty stands for ones.
        ///
        /// An example whose class has the weight 2 counts like two. The loss stays a plain
        /// mean over the examples, also where other software divides by the weights of a
        /// batch: an example's gradient must not depend on the others.
        class_weights: Vec<f32>,
        /// s, 0 to below 1: of C classes, t is `1 - s + s/C` for the right one and `s/C` for
        /// each other (Szegedy et al. 2016).
        label_smoothing: f32,
    },
    /// `(y - t)^2`.
    MeanSquaredError,
    /// `-w t log p - (1 - t) log(1 - p)` with p = `1 / (1 + exp(-y))`: each output answers a
    /// question of its own.
    BinaryCrossEntropy {
        /// w, a factor for each output, above 0; empty stands for ones.
        ///
        /// A yes of an output with the weight 2 counts like two.
        positive_weights: Vec<f32>,
    },
    /// `(y - t)^2 / 2` up to a difference of `delta`, `delta (|y - t| - delta / 2)` beyond
    /// (Huber 1964).
    Huber {
        /// Difference from which on the loss grows in a line; above 0.
        delta: f32,
    },
}

impl From<Loss> for Objective {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::SoftmaxCrossEntropy => {
                Self::SoftmaxCrossEntropy { class_weights: Vec::new(), label_smoothing: 0.0 }
            }
            Loss::MeanSquaredError => Self::MeanSquaredError,
            Loss::BinaryCrossEntropy => Self::BinaryCrossEntropy { positive_weights: Vec::new() },
            Loss::Huber => Self::Huber { delta: 1.0 },
        }
    }
}

impl Objective {
    /// Settings of a loss that a client may not know, as in a config file and among its
    /// capabilities.
    pub const SETTINGS: [&str; 3] = ["class_weights", "label_smoothing", "positive_weights"];

    /// Kind of the objective.
    pub fn loss(&self) -> Loss {
        match self {
            Self::SoftmaxCrossEntropy { .. } => Loss::SoftmaxCrossEntropy,
            Self::MeanSquaredError => Loss::MeanSquaredError,
            Self::BinaryCrossEntropy { .. } => Loss::BinaryCrossEntropy,
            Self::Huber { .. } => Loss::Huber,
        }
    }

    /// Names of [`Self::SETTINGS`] that are not at their defaults.
    pub fn settings(&self) -> Vec<&'static str> {
        let set = match self {
            Self::SoftmaxCrossEntropy { class_weights, label_smoothing } => {
                [!class_weights.is_empty(), *label_smoothing != 0.0, false]
            }
            Self::BinaryCrossEntropy { positive_weights } => {
                [false, false, !positive_weights.is_empty()]
            }
            Self::MeanSquaredError | Self::Huber { .. } => [false; 3],
        };
        Self::SETTINGS.into_iter().zip(set).filter_map(|(name, set)| set.then_some(name)).collect()
    }

    /// Checks the settings for a model with `outputs` at each position.
    pub(super) fn check(&self, outputs: usize) -> Result<(), ModelSpecError> {
        let fail = |problem| Err(ModelSpecError::Loss { loss: self.loss().name(), problem });
        match self {
            Self::SoftmaxCrossEntropy { class_weights, label_smoothing } => {
                if outputs < 2 {
                    return Err(ModelSpecError::TooFewClasses(outputs));
                }
                if !(0.0..1.0).contains(label_smoothing) {
                    return fail(format!(
                        "label_smoothing must be at least 0 and below 1; it is {label_smoothing}"
                    ));
                }
                check_weights("class_weights", class_weights, outputs, "classes").or_else(fail)
            }
            Self::BinaryCrossEntropy { positive_weights } => {
                check_weights("positive_weights", positive_weights, outputs, "outputs")
                    .or_else(fail)
            }
            Self::Huber { delta } if !(*delta > 0.0 && delta.is_finite()) => {
                fail(format!("delta must be above 0; it is {delta}"))
            }
            Self::MeanSquaredError | Self::Huber { .. } => Ok(()),
        }
    }
}

/// Checks weights, none or one for each of `outputs` outputs, which are called `what`.
fn check_weights(name: &str, weights: &[f32], outputs: usize, what: &str) -> Result<(), String> {
    let count = weights.len();
    if count > limits::MAX_CLASS_WEIGHTS {
        let most = limits::MAX_CLASS_WEIGHTS;
        return Err(format!("{name} may have {most} numbers; it has {count}"));
    }
    if count != 0 && count != outputs {
        return Err(format!("{name} needs a number for each of {outputs} {what}; it has {count}"));
    }
    match weights.iter().find(|&&weight| !(weight > 0.0 && weight.is_finite())) {
        Some(weight) => Err(format!("{name} must be above 0; one is {weight}")),
        None => Ok(()),
    }
}

/// An objective as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawObjective {
    pub loss: Loss,
    pub delta: Option<f32>,
    pub class_weights: Option<Vec<f32>>,
    pub label_smoothing: Option<f32>,
    pub positive_weights: Option<Vec<f32>>,
}

impl TryFrom<RawObjective> for Objective {
    type Error = ModelSpecError;

    /// Fails on a setting that the loss has no use for.
    fn try_from(raw: RawObjective) -> Result<Self, ModelSpecError> {
        let RawObjective { loss, delta, class_weights, label_smoothing, positive_weights } = raw;
        let fail = |problem| Err(ModelSpecError::Loss { loss: loss.name(), problem });
        for (setting, is_set, owner) in [
            ("delta", delta.is_some(), Loss::Huber),
            ("class_weights", class_weights.is_some(), Loss::SoftmaxCrossEntropy),
            ("label_smoothing", label_smoothing.is_some(), Loss::SoftmaxCrossEntropy),
            ("positive_weights", positive_weights.is_some(), Loss::BinaryCrossEntropy),
        ] {
            if is_set && loss != owner {
                let owner = owner.name();
                return fail(format!("it has no {setting}; leave it out, or use {owner}"));
            }
        }
        for (setting, weights) in
            [("class_weights", &class_weights), ("positive_weights", &positive_weights)]
        {
            if weights.as_ref().is_some_and(Vec::is_empty) {
                return fail(format!("{setting} has no number; leave it out"));
            }
        }
        Ok(match Self::from(loss) {
            Self::SoftmaxCrossEntropy { .. } => Self::SoftmaxCrossEntropy {
                class_weights: class_weights.unwrap_or_default(),
                label_smoothing: label_smoothing.unwrap_or(0.0),
            },
            Self::BinaryCrossEntropy { .. } => {
                Self::BinaryCrossEntropy { positive_weights: positive_weights.unwrap_or_default() }
            }
            Self::Huber { delta: default } => Self::Huber { delta: delta.unwrap_or(default) },
            Self::MeanSquaredError => Self::MeanSquaredError,
        })
    }
}

impl From<Objective> for RawObjective {
    /// Settings at their defaults are left out, but for `delta`.
    fn from(objective: Objective) -> Self {
        let loss = objective.loss();
        let raw = Self {
            loss,
            delta: None,
            class_weights: None,
            label_smoothing: None,
            positive_weights: None,
        };
        match objective {
            Objective::SoftmaxCrossEntropy { class_weights, label_smoothing } => Self {
                class_weights: (!class_weights.is_empty()).then_some(class_weights),
                label_smoothing: (label_smoothing != 0.0).then_some(label_smoothing),
                ..raw
            },
            Objective::BinaryCrossEntropy { positive_weights } => Self {
                positive_weights: (!positive_weights.is_empty()).then_some(positive_weights),
                ..raw
            },
            Objective::Huber { delta } => Self { delta: Some(delta), ..raw },
            Objective::MeanSquaredError => raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{Loss, Objective};
    use crate::layers::Linear;
    use crate::task::{LocalTraining, RawLocalTraining};
    use crate::{Capabilities, CodecName, DecodeError, ModelSpec, wire};

    /// A model of three outputs whose loss is written like this.
    fn read(loss: &str) -> Result<ModelSpec, String> {
        let layers = r#"{"type":"linear","outputs":3}"#;
        let json = format!(r#"{{"input":[2],"layers":[{layers}],{loss}}}"#);
        serde_json::from_str(&json).map_err(|error| error.to_string())
    }

    fn cross_entropy(class_weights: &[f32], label_smoothing: f32) -> Objective {
        Objective::SoftmaxCrossEntropy { class_weights: class_weights.to_vec(), label_smoothing }
    }

    fn answers(positive_weights: &[f32]) -> Objective {
        Objective::BinaryCrossEntropy { positive_weights: positive_weights.to_vec() }
    }

    #[test]
    fn settings_stand_beside_the_loss_and_the_wire_form_is_what_it_was() {
        let model = "0a010212040a020803"; // input 2, linear: 3
        let softmax = r#""loss":"softmax_cross_entropy""#;
        let binary = r#""loss":"binary_cross_entropy""#;
        for (loss, objective, golden) in [
            (softmax.to_owned(), cross_entropy(&[], 0.0), "1801"),
            (r#""loss":"mean_squared_error""#.to_owned(), Objective::MeanSquaredError, "1802"),
            (binary.to_owned(), answers(&[]), "1803"),
            (
                format!(r#"{binary},"positive_weights":[3,1,0.5]"#),
                answers(&[3.0, 1.0, 0.5]),
                "18034a0c000040400000803f0000003f",
            ),
            (r#""loss":"huber""#.to_owned(), Objective::Huber { delta: 1.0 }, "1804350000803f"),
            (
                r#""loss":"huber","delta":0.5"#.to_owned(),
                Objective::Huber { delta: 0.5 },
                "1804350000003f",
            ),
            (
                format!(r#"{softmax},"class_weights":[1,2,0.5],"label_smoothing":0.25"#),
                cross_entropy(&[1.0, 2.0, 0.5], 0.25),
                "18053a0c0000803f000000400000003f450000803e",
            ),
            (
                format!(r#"{softmax},"label_smoothing":0.25"#),
                cross_entropy(&[], 0.25),
                "1805450000803e",
            ),
        ] {
            let spec = read(&loss).unwrap();
            assert_eq!(spec.objective(), &objective, "{loss}");
            let again = serde_json::to_value(&spec).unwrap();
            assert_eq!(serde_json::from_value::<ModelSpec>(again).unwrap(), spec);
            let bytes = wire::ModelSpec::from(spec.clone()).encode_to_vec();
            assert_eq!(hex::encode(&bytes), format!("{model}{golden}"), "{loss}");
            let decoded = wire::ModelSpec::decode(bytes.as_slice()).unwrap();
            assert_eq!(ModelSpec::try_from(decoded), Ok(spec));
        }
    }

    #[test]
    fn a_setting_out_of_range_or_of_another_loss_is_refused() {
        for (loss, expected) in [
            (r#""loss":"huber","delta":0"#, "loss huber: delta must be above 0; it is 0"),
            (r#""loss":"huber","label_smoothing":0.1"#, "no label_smoothing; leave it out, or use"),
            (
                r#""loss":"softmax_cross_entropy","delta":1"#,
                "it has no delta; leave it out, or use huber",
            ),
            (r#""loss":"binary_cross_entropy","class_weights":[1,1,1]"#, "has no class_weights"),
            (
                r#""loss":"softmax_cross_entropy","positive_weights":[1,1,1]"#,
                "it has no positive_weights; leave it out, or use binary_cross_entropy",
            ),
            (
                r#""loss":"binary_cross_entropy","positive_weights":[1]"#,
                "positive_weights needs a number for each of 3 outputs; it has 1",
            ),
            (r#""loss":"binary_cross_entropy","positive_weights":[]"#, "no number; leave it out"),
            (
                r#""loss":"binary_cross_entropy","positive_weights":[1,-1,1]"#,
                "positive_weights must be above 0; one is -1",
            ),
            (
                r#""loss":"softmax_cross_entropy","class_weights":[1,2]"#,
                "each of 3 classes; it has 2",
            ),
            (r#""loss":"softmax_cross_entropy","class_weights":[]"#, "no number; leave it out"),
            (r#""loss":"softmax_cross_entropy","class_weights":[1,0,1]"#, "above 0; one is 0"),
            (r#""loss":"softmax_cross_entropy","class_weights":[1,1e39,1]"#, "above 0; one is inf"),
            (r#""loss":"softmax_cross_entropy","label_smoothing":1"#, "below 1; it is 1"),
            (r#""loss":"softmax_cross_entropy","label_smoothing":-0.1"#, "below 1; it is -0.1"),
            (r#""loss":"hubber""#, "unknown variant `hubber`"),
        ] {
            let error = read(loss).unwrap_err();
            assert!(error.contains(expected), "{error:?} should say {expected:?}");
        }
    }

    #[test]
    fn settings_under_the_number_of_a_plain_loss_are_refused() {
        let spec = read(r#""loss":"softmax_cross_entropy","label_smoothing":0.25"#).unwrap();
        let adjusted = wire::ModelSpec::from(spec);
        let plain = wire::ModelSpec { loss: 1, ..adjusted.clone() };
        assert!(ModelSpec::try_from(plain).unwrap_err().to_string().contains("adjusted"));
        let later = wire::ModelSpec { loss: 99, ..adjusted };
        let unsupported = DecodeError::Unsupported { what: "the model's loss" };
        assert_eq!(ModelSpec::try_from(later), Err(unsupported));
    }

    #[test]
    fn a_client_that_lacks_the_loss_or_a_setting_is_not_enough() {
        let training = LocalTraining::new(RawLocalTraining::default()).unwrap();
        let missing = |objective: Objective| {
            let layers = vec![Linear { outputs: 3 }.into()];
            let spec = ModelSpec::new(&[2], layers, objective).unwrap();
            let needed = Capabilities::needed(&spec, &training, CodecName::F32, None);
            assert_eq!(Capabilities::all().missing(&needed), None);
            Capabilities::version_1().missing(&needed)
        };
        assert_eq!(missing(Loss::MeanSquaredError.into()), None);
        assert_eq!(missing(cross_entropy(&[], 0.0)), None);
        assert_eq!(missing(Loss::Huber.into()).unwrap(), "the loss huber");
        let both = "the setting of the loss class_weights, the setting of the loss label_smoothing";
        assert_eq!(missing(cross_entropy(&[1.0; 3], 0.5)).unwrap(), both);
        let weighted = "the loss binary_cross_entropy, the setting of the loss positive_weights";
        assert_eq!(missing(answers(&[1.0; 3])).unwrap(), weighted);
    }

    #[test]
    fn an_absent_list_of_losses_means_those_of_the_first_version() {
        let first = wire::Capabilities::from(Capabilities::version_1());
        assert!(first.losses.is_empty());
        assert_eq!(Capabilities::try_from(first), Ok(Capabilities::version_1()));
        let all = wire::Capabilities::from(Capabilities::all());
        assert_eq!(all.losses.len(), Loss::NAMES.len() + Objective::SETTINGS.len());
        assert_eq!(Capabilities::try_from(all), Ok(Capabilities::all()));
    }
}
