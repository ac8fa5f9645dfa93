//! Card of a model: what it is, how it was trained, and what is known of its quality.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::evaluation::{Headline, Metrics};
use crate::task::Privacy;

/// Card of a published model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ModelCard {
    /// Name of the task.
    pub task: String,
    /// Title of the task for a person.
    pub title: String,
    /// The model itself.
    pub model: CardModel,
    /// Description of the task's data, as it is now; null if clients give arrays that fit
    /// the model.
    pub data: Option<CardData>,
    /// The way it was trained.
    pub training: CardTraining,
    /// The privacy policy of the task and what it has cost so far; null without one.
    pub privacy: Option<Privacy>,
    /// The metric that is shown first.
    pub headline: Headline,
    /// Metrics on the server's held-out examples; null if it was not evaluated.
    pub metrics: Option<Metrics>,
    /// Metrics on examples that the clients held out; null if they did not evaluate it.
    pub metrics_by_clients: Option<Metrics>,
    /// Software that the model comes from, with its version.
    pub software: String,
}

/// Architecture and file of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CardModel {
    /// SHA-256 of the safetensors file, in hexadecimal digits.
    pub sha256: String,
    /// Size of the safetensors file.
    pub bytes: u64,
    /// Number of parameters that are trained.
    pub parameters: u64,
    /// Number of those of frozen layers, which are in a file of their own.
    #[serde(default)]
    pub frozen_parameters: u64,
    /// Newest round that has this model; 0 is the initial one.
    pub round: u64,
    /// Shape of one example: features, channels with height and width, or positions.
    pub input: Vec<u32>,
    /// Number of tokens, of a model that takes token ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<u32>,
    /// The layers in order.
    pub layers: Vec<CardLayer>,
    /// Loss that training minimises.
    pub loss: String,
    /// True if the task's gate has refused it.
    #[serde(default)]
    pub refused: bool,
}

/// Layer of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CardLayer {
    /// Its type, as in a config.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its settings, as in a config.
    #[serde(flatten)]
    pub settings: BTreeMap<String, String>,
}

/// Description of a task's data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CardData {
    /// Kind: `table`, `image`, `text` or `array`.
    pub kind: String,
    /// Shape of one example: features, channels with height and width, or positions.
    pub shape: Vec<u32>,
    /// Targets of one example, as a phrase.
    pub targets: String,
    /// Columns of a table, those of the targets included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<CardColumn>,
    /// Classes of images in the order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Tokens of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<CardTokens>,
    /// Type of the numbers in a file of an array, by NumPy's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// The whole description, in the form of `[task.data]`: scales, fills, encodings and all
    /// else that makes an example of a file. Who runs the model elsewhere prepares by it.
    #[serde(default)]
    pub preparation: serde_json::Value,
}

/// Column of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CardColumn {
    /// Its name in the header.
    pub name: String,
    /// Its type: `number`, `category`, `boolean` or `date`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Values of a category in the order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// True if the model predicts it.
    pub target: bool,
}

/// Tokens of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CardTokens {
    /// Characters that are tokens, in the order of their ids; absent if tokens are bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alphabet: Option<String>,
    /// True if the last id stands for every other character.
    pub other: bool,
}

/// Training plan of a task, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CardTraining {
    /// Algorithm of local training.
    pub algorithm: String,
    /// Passes over a client's examples in a round; 0 where `steps` count.
    pub epochs: u32,
    /// Steps of a client in a round; 0 where `epochs` count.
    pub steps: u32,
    /// Examples of a step.
    pub batch_size: u32,
    /// Learning rate in full.
    pub learning_rate: f32,
    /// Course of the learning rate over the rounds.
    pub learning_rate_schedule: String,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Further settings of local training that have an effect, by their keys in a config.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// Most examples of a client that are used; 0 is no limit.
    pub max_examples: u32,
    /// Step of the server along the mean update.
    pub server_optimizer: String,
    /// Rule by which a model is refused for its held-out loss, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// Form in which updates travel.
    pub codec: String,
    /// Most newer models that there may be when an update arrives; 0 in synchronous rounds.
    pub max_staleness: u32,
    /// Updates at which a round closes.
    pub report_goal: u64,
    /// Fewest updates of a round that completes.
    pub minimum_reports: u64,
    /// Updates in the model's own round.
    pub reports: u32,
    /// True if the server sees sums of masked updates only.
    pub secure_aggregation: bool,
}

/// Form in which a card is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CardFormat {
    /// For programs.
    #[default]
    Json,
    /// For people.
    Markdown,
}

impl CardFormat {
    /// The forms as a query names them.
    pub const NAMES: [&str; 2] = ["json", "markdown"];

    /// The form of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "markdown" => Some(Self::Markdown),
            _ => None,
        }
    }
}

impl ModelCard {
    /// The card as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}, round {}\n\n", one_line(&self.title), self.model.round);
        // A string takes everything.
        self.write(&mut text).unwrap_or_default();
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { task, model, training, software, .. } = self;
        writeln!(text, "A model of the task `{task}`, trained with federated learning.\n")?;
        writeln!(text, "- SHA-256 of the safetensors file: `{}`", model.sha256)?;
        writeln!(text, "- Size: {} parameters, {} bytes", model.parameters, model.bytes)?;
        if model.frozen_parameters > 0 {
            writeln!(text, "- Frozen: {} parameters beside them", model.frozen_parameters)?;
        }
        writeln!(text, "- Software: {software}")?;
        if model.refused {
            writeln!(text, "- **Refused**: by the gate of the task, for its held-out loss")?;
        }
        writeln!(text, "\n## Metrics\n")?;
        let places = [
            (&self.metrics, "On the held-out examples of the server:"),
            (&self.metrics_by_clients, "On examples that the clients held out:"),
        ];
        let measured: Vec<_> = places
            .into_iter()
            .filter_map(|(metrics, place)| Some((metrics.as_ref()?, place)))
            .collect();
        if measured.is_empty() {
            writeln!(text, "This model was not evaluated on held-out examples.")?;
        }
        for (number, (metrics, place)) in measured.into_iter().enumerate() {
            writeln!(text, "{}{place}\n", if number > 0 { "\n" } else { "" })?;
            for (name, value) in metrics.named() {
                let mark = if name == self.headline.title() { "**" } else { "" };
                writeln!(text, "- {mark}{name}: {value:.4}{mark}")?;
            }
        }
        model.write(text)?;
        writeln!(text, "\n## Data\n")?;
        match &self.data {
            None => writeln!(text, "Arrays that fit the model; the task describes no files.")?,
            Some(data) => data.write(text)?,
        }
        training.write(text)?;
        writeln!(text, "\n## Privacy\n")?;
        match &self.privacy {
            None => writeln!(text, "None: the server sees each update.")?,
            Some(privacy) => privacy.write(text)?,
        }
        Ok(())
    }
}

impl CardModel {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n## Architecture\n\n- Input: {}", sides(&self.input))?;
        if let Some(vocabulary) = self.vocabulary {
            writeln!(text, "- Vocabulary: {vocabulary} tokens")?;
        }
        writeln!(text, "- Loss: {}\n", self.loss)?;
        for (number, CardLayer { kind, settings }) in self.layers.iter().enumerate() {
            let settings: Vec<_> =
                settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
            let colon = if settings.is_empty() { "" } else { ": " };
            writeln!(text, "{}. {kind}{colon}{}", number + 1, settings.join(", "))?;
        }
        Ok(())
    }
}

impl CardData {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { kind, shape, targets, .. } = self;
        writeln!(text, "- Kind: {kind}\n- Shape of an example: {}", sides(shape))?;
        writeln!(text, "- Targets: {targets}")?;
        if !self.columns.is_empty() {
            writeln!(text, "- Columns:")?;
        }
        for CardColumn { name, kind, values, target } in &self.columns {
            let values = if values.is_empty() { String::new() } else { listed(values) };
            let colon = if values.is_empty() { "" } else { ": " };
            let target = if *target { ", the target" } else { "" };
            writeln!(text, "  - {} ({kind}{target}){colon}{values}", one_line(name))?;
        }
        if !self.classes.is_empty() {
            writeln!(text, "- Classes: {}", listed(&self.classes))?;
        }
        match &self.tokens {
            None => {}
            Some(CardTokens { alphabet: None, .. }) => writeln!(text, "- Tokens: bytes")?,
            Some(CardTokens { alphabet: Some(alphabet), other }) => {
                let other = if *other { ", and one for every other" } else { "" };
                writeln!(text, "- Tokens: the characters {alphabet:?}{other}")?;
            }
        }
        match &self.dtype {
            None => Ok(()),
            Some(dtype) => writeln!(text, "- Numbers in a file: {dtype}"),
        }
    }
}

impl CardTraining {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { algorithm, epochs, steps, batch_size, learning_rate, settings, .. } = self;
        let Self { momentum, weight_decay, report_goal, minimum_reports, .. } = self;
        let schedule = &self.learning_rate_schedule;
        writeln!(text, "\n## Training\n")?;
        let work = match steps {
            0 => format!("{epochs} epochs of batches of {batch_size}"),
            steps => format!("{steps} steps on batches of {batch_size}"),
        };
        writeln!(
            text,
            "- On each client: {algorithm}, {work}, learning rate {learning_rate} ({schedule}), \
             momentum {momentum}, weight decay {weight_decay}"
        )?;
        if !settings.is_empty() {
            let all: Vec<_> =
                settings.iter().map(|(key, value)| format!("{key} {value}")).collect();
            writeln!(text, "- Beside these: {}", all.join(", "))?;
        }
        if self.max_examples > 0 {
            writeln!(text, "- At most {} examples of a client", self.max_examples)?;
        }
        writeln!(text, "- On the server: {}", self.server_optimizer)?;
        if let Some(gate) = &self.gate {
            writeln!(text, "- Gate: {gate}")?;
        }
        writeln!(
            text,
            "- A round closes at {report_goal} updates and needs {minimum_reports}; this model's \
             has {}",
            self.reports
        )?;
        if self.max_staleness > 0 {
            writeln!(text, "- Updates may be {} models old", self.max_staleness)?;
        }
        writeln!(text, "- Updates travel as {}", self.codec)?;
        let seen = if self.secure_aggregation { "sums of masked updates" } else { "each update" };
        writeln!(text, "- The server receives {seen}")
    }
}

impl Privacy {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let counted =
            if self.counts_subjects { "the subject that spent most" } else { "everybody" };
        writeln!(text, "- Policy: {}", self.policy.name())?;
        writeln!(
            text,
            "- Spent by the task so far: epsilon {:.4} at delta {:e}, of {}; the budget is {}",
            self.spent_epsilon, self.delta, counted, self.epsilon
        )?;
        writeln!(text, "- Noise multiplier: {}", self.noise_multiplier)?;
        writeln!(text, "- Clipping norm of the next round: {}", self.clipping_norm)
    }
}

/// Sides of a shape.
fn sides(shape: &[u32]) -> String {
    shape.iter().map(u32::to_string).collect::<Vec<_>>().join(" x ")
}

/// The first names of a list, and the number of the others.
fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    let first: Vec<_> = names.iter().take(MOST).map(|name| one_line(name)).collect();
    match names.len().saturating_sub(MOST) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A title or a name without what Markdown would take for another line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        let linear = CardLayer {
            kind: "linear".to_owned(),
            settings: BTreeMap::from([("outputs".to_owned(), "10".to_owned())]),
        };
        ModelCard {
            task: "digits".to_owned(),
            title: "Handwritten\n# digits".to_owned(),
            model: CardModel {
                sha256: "ab".to_owned(),
                bytes: 31_400,
                parameters: 7_850,
                frozen_parameters: 0,
                round: 12,
                input: vec![784],
                vocabulary: None,
                layers: vec![
                    linear,
                    CardLayer { kind: "relu".to_owned(), settings: BTreeMap::new() },
                ],
                loss: "softmax_cross_entropy".to_owned(),
                refused: false,
            },
            data: None,
            training: CardTraining {
                algorithm: "sgd".to_owned(),
                epochs: 1,
                steps: 0,
                batch_size: 10,
                learning_rate: 0.1,
                learning_rate_schedule: "constant".to_owned(),
                momentum: 0.0,
                weight_decay: 0.0,
                settings: BTreeMap::new(),
                max_examples: 0,
                server_optimizer: "the mean of the updates, learning rate 1 (constant)".to_owned(),
                gate: None,
                codec: "f32".to_owned(),
                max_staleness: 0,
                report_goal: 8,
                minimum_reports: 4,
                reports: 7,
                secure_aggregation: false,
            },
            privacy: None,
            headline: Headline::Accuracy,
            metrics: Some(Metrics { accuracy: Some(0.5), loss: Some(1.25), ..Metrics::default() }),
            metrics_by_clients: None,
            software: "fedra-aggregator 0.1.0".to_owned(),
        }
    }

    #[test]
    fn a_plan_of_steps_with_settings_and_a_refusal_in_markdown() {
        let mut card = card();
        card.model.refused = true;
        card.training.gate = Some("refuses a loss above 2".to_owned());
        card.training.algorithm = "adam".to_owned();
        (card.training.epochs, card.training.steps) = (0, 50);
        let settings = [("beta1", "0.9"), ("proximal", "0.5")];
        card.training.settings =
            settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let text = card.markdown();
        let plan = "\n- On each client: adam, 50 steps on batches of 10, learning rate 0.1 (constant), \
                    momentum 0, weight decay 0\n- Beside these: beta1 0.9, proximal 0.5\n";
        assert!(text.contains(plan), "{text}");
        for line in ["- **Refused**: by the gate of the task", "\n- Gate: refuses a loss above 2\n"]
        {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn a_card_in_markdown() {
        let expected = "\
# Handwritten # digits, round 12

A model of the task `digits`, trained with federated learning.

- SHA-256 of the safetensors file: `ab`
- Size: 7850 parameters, 31400 bytes
- Software: fedra-aggregator 0.1.0

## Metrics

On the held-out examples of the server:

- **accuracy: 0.5000**
- loss: 1.2500

## Architecture

- Input: 784
- Loss: softmax_cross_entropy

1. linear: outputs 10
2. relu

## Data

Arrays that fit the model; the task describes no files.

## Training

- On each client: sgd, 1 epochs of batches of 10, learning rate 0.1 (constant), momentum 0, weight decay 0
- On the server: the mean of the updates, learning rate 1 (constant)
- A round closes at 8 updates and needs 4; this model's has 7
- Updates travel as f32
- The server receives each update

## Privacy

None: the server sees each update.
";
        assert_eq!(card().markdown(), expected);
    }

    #[test]
    fn each_place_of_an_evaluation_is_named() {
        let metrics = |accuracy| Some(Metrics { accuracy: Some(accuracy), ..Metrics::default() });
        let of = |metrics, metrics_by_clients| {
            let text = ModelCard { metrics, metrics_by_clients, ..card() }.markdown();
            let (_, text) = text.split_once("## Metrics\n\n").expect("a heading");
            text.split_once("\n## ").expect("another").0.to_owned()
        };
        let clients = "On examples that the clients held out:\n\n- **accuracy: 0.7500**\n";
        let server = "On the held-out examples of the server:\n\n- **accuracy: 0.5000**\n";
        assert_eq!(of(None, metrics(0.75)), clients);
        assert_eq!(of(metrics(0.5), metrics(0.75)), format!("{server}\n{clients}"));
        assert_eq!(of(None, None), "This model was not evaluated on held-out examples.\n");
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_table_in_markdown_has_its_columns() {
        let column = |name: &str, kind: &str, values: &[&str], target| CardColumn {
            name: name.to_owned(),
            kind: kind.to_owned(),
            values: names(values),
            target,
        };
        let data = CardData {
            kind: "table".to_owned(),
            shape: vec![1],
            targets: "one of 2 classes an example".to_owned(),
            columns: vec![
                column("age", "number", &[], false),
                column("income", "category", &["low", "high\n- er"], true),
            ],
            ..CardData::default()
        };
        let expected = "
## Data

- Kind: table
- Shape of an example: 1
- Targets: one of 2 classes an example
- Columns:
  - age (number)
  - income (category, the target): low, high - er

## Training
";
        let text = ModelCard { data: Some(data), ..card() }.markdown();
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn images_texts_and_arrays_in_markdown() {
        let tokens = |alphabet: Option<&str>, other| CardData {
            tokens: Some(CardTokens { alphabet: alphabet.map(str::to_owned), other }),
            ..CardData::default()
        };
        let many: Vec<String> = (0..22).map(|class| class.to_string()).collect();
        for (data, expected) in [
            (
                CardData {
                    shape: vec![3, 32, 24],
                    classes: names(&["cat", "dog"]),
                    ..CardData::default()
                },
                "- Shape of an example: 3 x 32 x 24\n- Targets: \n- Classes: cat, dog\n",
            ),
            (CardData { classes: many, ..CardData::default() }, ", 18, 19 and 2 more\n"),
            (tokens(None, false), "- Tokens: bytes\n"),
            (tokens(Some("ab\n"), false), "- Tokens: the characters \"ab\\n\"\n"),
            (tokens(Some("ab"), true), "the characters \"ab\", and one for every other\n"),
            (
                CardData { dtype: Some("uint8".to_owned()), ..CardData::default() },
                "- Numbers in a file: uint8\n",
            ),
        ] {
            let text = ModelCard { data: Some(data), ..card() }.markdown();
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn a_layer_has_its_settings_beside_its_type() {
        let json = serde_json::to_value(card()).expect("JSON");
        assert_eq!(
            json["model"]["layers"][0],
            serde_json::json!({ "type": "linear", "outputs": "10" })
        );
        assert_eq!(serde_json::from_value::<ModelCard>(json).expect("a card"), card());
    }
}
