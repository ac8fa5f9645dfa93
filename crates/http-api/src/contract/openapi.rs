//! `docs/openapi.json`: the API as an OpenAPI 3.1 document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::compare;
use super::operations::{Operation, Parameter, operations};
use super::schemas::schemas;

/// Errors of every address for operators: no token, no admin API, too many calls.
const OF_OPERATORS: [u16; 3] = [401, 404, 429];

/// Statuses of errors.
const ERRORS: [(u16, &str); 13] = [
    (400, "The request cannot be read"),
    (401, "The operator's token is missing or wrong"),
    (404, "There is no such thing"),
    (408, "The body did not come in time"),
    (409, "The state of the task does not allow it"),
    (412, "A precondition does not hold"),
    (413, "The body is too large"),
    (415, "The body has another content type"),
    (416, "There is no such range"),
    (422, "The config has mistakes"),
    (429, "Too many calls with a wrong token"),
    (500, "The server failed"),
    (503, "The server stops, or the task could not start"),
];

#[test]
fn the_document_is_what_the_types_say() {
    compare("docs/openapi.json", &(pretty(&document()) + "\n"));
}

#[test]
fn everything_that_is_referred_to_is_there() {
    let document = document();
    let text = document.to_string();
    let referred = text.split("\"#").skip(1).filter_map(|rest| rest.split('"').next());
    let pointers: BTreeSet<&str> = referred.collect();
    assert!(pointers.len() > 30, "{pointers:?}");
    for pointer in pointers {
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

fn document() -> Value {
    let mut paths = BTreeMap::<&str, Map<String, Value>>::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_default();
        path.insert(operation.method.to_owned(), described(&operation));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fedra aggregator",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "HTTP API of the aggregator. HEAD works wherever GET does, OPTIONS \
                names the methods of an address in Allow, and another method gets 405. Clients \
                train over the WebSocket at /v1/connect, which docs/PROTOCOL.md describes.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "responses": ERRORS.map(|(status, what)| (status.to_string(), problem(what)))
                .into_iter().collect::<BTreeMap<_, _>>(),
            "schemas": schemas(),
            "securitySchemes": { "operator": {
                "type": "http",
                "scheme": "bearer",
                "description": "The operator's token, server.admin in the config",
            } },
        },
    })
}

fn described(operation: &Operation) -> Value {
    let (status, kind, schema) = &operation.success;
    let mut responses = BTreeMap::new();
    let success = json!({ "description": "Success", "content": { *kind: { "schema": schema } } });
    responses.insert(status.to_string(), success);
    let errors = BTreeSet::from_iter(operation.errors).into_iter();
    let errors = errors.chain(OF_OPERATORS.iter().filter(|_| operation.for_operators));
    for error in errors {
        let reference = format!("#/components/responses/{error}");
        responses.insert(error.to_string(), json!({ "$ref": reference }));
    }
    let mut described = Map::new();
    described.insert("summary".to_owned(), operation.summary.into());
    let parameters = parameters(operation);
    if !parameters.is_empty() {
        described.insert("parameters".to_owned(), parameters.into());
    }
    if let Some((kind, schema)) = &operation.body {
        let content = json!({ *kind: { "schema": schema } });
        let body = json!({ "required": true, "content": content });
        described.insert("requestBody".to_owned(), body);
    }
    if operation.for_operators {
        described.insert("security".to_owned(), json!([{ "operator": [] }]));
    }
    described.insert("responses".to_owned(), json!(responses));
    Value::Object(described)
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let in_path = operation.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
        }))
    });
    let in_query = operation.query.iter().map(|Parameter { name, meaning, schema }| {
        json!({ "name": name, "in": "query", "description": meaning, "schema": schema })
    });
    in_path.chain(in_query).collect()
}

fn problem(description: &str) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    json!({
        "description": description,
        "content": { "application/problem+json": { "schema": schema } },
    })
}

/// JSON with sorted keys, so that it does not depend on features of `serde_json`.
fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(&sorted(value)).expect("JSON")
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<_, _> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(map.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(values) => values.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
