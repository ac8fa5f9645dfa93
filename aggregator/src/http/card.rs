//! `/v1/models/{sha256}/card`: what a published model is, as JSON or as Markdown.

use std::collections::BTreeMap;
use std::sync::Arc;

use fedra_aggregation::ServerOptimizer;
use fedra_coordinator::round::{Mode, RoundPlan};
use fedra_coordinator::settings::TaskSettings;
use fedra_coordinator::status::TaskView;
use fedra_coordinator::storage::{RoundRecord, refused_rounds};
use fedra_http_api::{
    CardColumn, CardData, CardFormat, CardLayer, CardModel, CardTokens, CardTraining, ModelCard,
};
use fedra_protocol::data::{Column, Content, TableSpec};
use fedra_protocol::{ClientAlgorithm, DataSpec, Layer, Mechanism, Sha256Hash};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::problem::{not_found, problem};
use super::reading::read;
use super::{models, query, tasks, uncached};
use crate::server::Server;
use crate::task::Task;

pub(super) fn route(server: &Arc<Server>) -> BoxedFilter<(Response,)> {
    let server = Arc::clone(server);
    warp::path!("v1" / "models" / String / "card")
        .and(read())
        .and(query::raw())
        .map(move |name: String, query: String| answer(&server, &name, &query))
        .boxed()
}

fn answer(server: &Server, name: &str, query: &str) -> Response {
    let Ok(sha256) = name.parse::<Sha256Hash>() else {
        return not_found("a model is named by its SHA-256, 64 lower-case hexadecimal digits");
    };
    let format = match query::card(query) {
        Ok(format) => format,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let found = models::owner(server, &sha256).and_then(|task| {
        let view = task.view.borrow().clone();
        Some(card(&task, &view, newest(&view, &sha256)?))
    });
    let Some(card) = found else {
        return not_found(
            "no round that the server remembers has this model; ask for a model of /v1/tasks",
        );
    };
    // The newest round of a model and what its task has spent change.
    uncached(match format {
        CardFormat::Json => warp::reply::json(&card).into_response(),
        CardFormat::Markdown => {
            let mut response = card.markdown().into_response();
            let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
    })
}

/// The newest record of a model; after a roll-back several rounds have one.
fn newest<'a>(view: &'a TaskView, sha256: &Sha256Hash) -> Option<&'a RoundRecord> {
    view.history.iter().rev().find(|record| record.sha256 == *sha256)
}

fn card(task: &Task, view: &TaskView, record: &RoundRecord) -> ModelCard {
    let settings = &*task.settings;
    let summary = tasks::summary(task, view, "../../");
    let is_refused = refused_rounds(view.history.iter()).contains(&record.round);
    ModelCard {
        task: summary.id,
        title: summary.title,
        model: model(settings, record, is_refused),
        data: settings.data.as_ref().map(data),
        training: training(settings, record),
        privacy: summary.privacy,
        headline: summary.headline,
        metrics: record.quality.as_ref().map(tasks::metrics),
        metrics_by_clients: record.client_quality.as_ref().map(tasks::metrics),
        software: concat!("fedra-aggregator ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

fn model(settings: &TaskSettings, record: &RoundRecord, is_refused: bool) -> CardModel {
    let spec = &settings.model;
    CardModel {
        sha256: record.sha256.to_string(),
        bytes: record.model_bytes,
        parameters: spec.parameters() as u64,
        frozen_parameters: spec.frozen_parameters() as u64,
        round: record.round,
        input: spec.input().dims(),
        vocabulary: tasks::vocabulary(spec),
        layers: (0..)
            .zip(spec.layers())
            .map(|(index, of)| layer(of, spec.is_frozen(index)))
            .collect(),
        loss: json(&spec.loss()),
        refused: is_refused,
    }
}

fn layer(layer: &Layer, is_frozen: bool) -> CardLayer {
    let fields: Option<BTreeMap<String, serde_json::Value>> =
        serde_json::to_string(layer).ok().and_then(|text| serde_json::from_str(&text).ok());
    let settings = fields.into_iter().flatten().filter(|(name, _)| name != "type");
    let trainable = is_frozen.then(|| ("trainable".to_owned(), "false".to_owned()));
    CardLayer {
        kind: layer.type_name().to_owned(),
        settings: settings.map(|(name, value)| (name, json(&value))).chain(trainable).collect(),
    }
}

fn data(spec: &DataSpec) -> CardData {
    let mut card = CardData {
        kind: spec.kind().to_owned(),
        shape: spec.shape().dims(),
        targets: spec.targets().to_string(),
        preparation: tasks::description(spec),
        ..CardData::default()
    };
    match spec {
        DataSpec::Table(table) => card.columns = columns(table),
        DataSpec::Image(image) => card.classes = image.classes().to_vec(),
        DataSpec::Text(text) => {
            let alphabet = text.alphabet().map(str::to_owned);
            card.tokens = Some(CardTokens { alphabet, other: text.has_other() });
        }
        DataSpec::Array(array) => card.dtype = Some(array.dtype().name().to_owned()),
    }
    card
}

fn columns(table: &TableSpec) -> Vec<CardColumn> {
    let column = |column: &Column| CardColumn {
        name: column.name.clone(),
        kind: column.content.column_type().name().to_owned(),
        values: match &column.content {
            Content::Category { values, .. } => values.clone(),
            _ => Vec::new(),
        },
        target: table.targets().any(|target| target.name == column.name),
    };
    table.columns().iter().map(column).collect()
}

/// A plain value as in JSON, text without its quotation marks.
fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    text.trim_matches('"').to_owned()
}

fn training(settings: &TaskSettings, record: &RoundRecord) -> CardTraining {
    let TaskSettings { training, plan, codec, .. } = settings;
    let RoundPlan { report_goal, minimum_reports, .. } = *plan;
    let mechanism = settings.policy().map(|policy| policy.mechanism);
    CardTraining {
        algorithm: training.algorithm().name().to_owned(),
        epochs: training.epochs(),
        steps: training.steps(),
        batch_size: training.batch_size(),
        learning_rate: training.learning_rate(),
        learning_rate_schedule: settings.training_schedule.to_string(),
        momentum: training.momentum(),
        weight_decay: training.weight_decay(),
        settings: training_settings(settings),
        max_examples: training.max_examples(),
        server_optimizer: server_optimizer(settings),
        gate: settings.gate.map(|gate| gate.to_string()),
        codec: codec.name().name().to_owned(),
        max_staleness: match plan.mode {
            Mode::Synchronous => 0,
            Mode::Buffered { max_staleness, .. } => max_staleness,
        },
        report_goal: report_goal as u64,
        minimum_reports: minimum_reports as u64,
        reports: record.reports,
        secure_aggregation: mechanism == Some(Mechanism::Distributed),
    }
}

/// The server's step, as text.
fn server_optimizer(settings: &TaskSettings) -> String {
    let mean = settings.estimator;
    let method = match settings.optimizer {
        ServerOptimizer::Averaging { .. } => mean.to_string(),
        ServerOptimizer::Momentum { momentum, .. } => {
            format!("{mean} with momentum {momentum}")
        }
        ServerOptimizer::Adagrad { momentum, tau, .. } => {
            format!("{mean}, by FedAdagrad, momentum {momentum}, tau {tau}")
        }
        ServerOptimizer::Adam { momentum, beta2, tau, .. } => {
            format!("{mean}, by FedAdam, momentum {momentum}, beta2 {beta2}, tau {tau}")
        }
        ServerOptimizer::Yogi { momentum, beta2, tau, .. } => {
            format!("{mean}, by FedYogi, momentum {momentum}, beta2 {beta2}, tau {tau}")
        }
    };
    let (rate, schedule) = (settings.optimizer.learning_rate(), settings.server_schedule);
    format!("{method}, learning rate {rate} ({schedule})")
}

/// Further settings of local training that have an effect, by their keys in a config.
fn training_settings(settings: &TaskSettings) -> BTreeMap<String, String> {
    let training = &settings.training;
    let adam = match training.algorithm() {
        ClientAlgorithm::Sgd | ClientAlgorithm::Nesterov | ClientAlgorithm::Scaffold => [None; 3],
        ClientAlgorithm::Adam { beta1, beta2, epsilon } => [beta1, beta2, epsilon].map(Some),
    };
    let [beta1, beta2, epsilon] = adam;
    let numbers = [
        ("beta1", beta1),
        ("beta2", beta2),
        ("epsilon", epsilon),
        ("proximal", Some(training.proximal()).filter(|&proximal| proximal > 0.0)),
        ("clip_gradient_norm", training.clip_gradient_norm()),
    ];
    let numbers = numbers.into_iter().filter_map(|(key, value)| Some((key, value?.to_string())));
    let limit = training.time_limit().map(|limit| humantime::format_duration(limit).to_string());
    let limit = limit.map(|limit| ("time_limit", limit));
    let population = settings.population.map(|clients| ("population", clients.to_string()));
    numbers.chain(limit).chain(population).map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_card_has_each_kind_of_data() {
        for (described, on_the_card) in [
            (
                json!({ "kind": "table", "target": "income", "columns": [
                    { "name": "age", "type": "number", "mean": 40, "deviation": 15 },
                    { "name": "job", "type": "category", "values": ["nurse", "clerk"],
                      "other": true },
                    { "name": "income", "type": "category", "values": ["low", "high"] },
                ] }),
                json!({ "kind": "table", "shape": [4], "targets": "one of 2 classes an example",
                    "columns": [
                        { "name": "age", "type": "number", "target": false },
                        { "name": "job", "type": "category", "values": ["nurse", "clerk"],
                          "target": false },
                        { "name": "income", "type": "category", "values": ["low", "high"],
                          "target": true },
                    ] }),
            ),
            (
                json!({ "kind": "image", "height": 32, "width": 24, "classes": ["cat", "dog"] }),
                json!({ "kind": "image", "shape": [3, 32, 24],
                    "targets": "one of 2 classes an example", "classes": ["cat", "dog"] }),
            ),
            (
                json!({ "kind": "text", "context": 80, "alphabet": "ab", "other": true }),
                json!({ "kind": "text", "shape": [80], "targets": "one of 3 tokens that come next",
                    "tokens": { "alphabet": "ab", "other": true } }),
            ),
            (
                json!({ "kind": "text", "context": 8 }),
                json!({ "kind": "text", "shape": [8], "targets": "one of 256 tokens that come next",
                    "tokens": { "other": false } }),
            ),
            (
                json!({ "kind": "array", "shape": [28, 28], "dtype": "uint8" }),
                json!({ "kind": "array", "shape": [1, 28, 28],
                    "targets": "the targets of the file", "dtype": "uint8" }),
            ),
        ] {
            let spec: DataSpec = serde_json::from_value(described).expect("a description");
            let mut card = serde_json::to_value(data(&spec)).expect("JSON");
            let preparation = card.as_object_mut().and_then(|card| card.remove("preparation"));
            assert_eq!(card, on_the_card);
            let again: DataSpec =
                serde_json::from_value(preparation.expect("it is there")).expect("a description");
            assert_eq!(again, spec, "whoever has the card prepares alike");
        }
    }
}
