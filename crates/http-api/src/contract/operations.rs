//! Operations of the API: addresses, methods, answers.

use serde_json::{Value, json};

use crate::{CardFormat, ModelFormat};

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const TEXT: &str = "text/plain";

/// Request that the server answers.
pub(super) struct Operation {
    pub path: &'static str,
    pub method: &'static str,
    pub summary: &'static str,
    pub query: Vec<Parameter>,
    /// Content type and schema of the body.
    pub body: Option<(&'static str, Value)>,
    /// Status, content type and schema of a success.
    pub success: (u16, &'static str, Value),
    /// Statuses of the errors beside those that every address has.
    pub errors: &'static [u16],
    /// True if it needs the operator's token.
    pub for_operators: bool,
}

/// Parameter of a query, which may be left out.
pub(super) struct Parameter {
    pub name: &'static str,
    pub meaning: &'static str,
    pub schema: Value,
}

impl Operation {
    fn get(path: &'static str, summary: &'static str, kind: &'static str, schema: Value) -> Self {
        Self {
            path,
            method: "get",
            summary,
            query: Vec::new(),
            body: None,
            success: (200, kind, schema),
            errors: &[],
            for_operators: path.starts_with("/v1/admin"),
        }
    }

    fn post(path: &'static str, summary: &'static str, schema: Value) -> Self {
        Self { method: "post", ..Self::get(path, summary, JSON, schema) }
    }

    /// A parameter that is a whole number.
    fn query(self, name: &'static str, meaning: &'static str) -> Self {
        self.parameter(name, meaning, json!({ "type": "integer", "minimum": 0 }))
    }

    /// The parameter that names the format of a model.
    fn in_format(self) -> Self {
        let default = ModelFormat::default().name();
        let schema = json!({ "type": "string", "enum": ModelFormat::NAMES, "default": default });
        self.parameter("format", "The format of the file", schema)
    }

    fn parameter(mut self, name: &'static str, meaning: &'static str, schema: Value) -> Self {
        self.query.push(Parameter { name, meaning, schema });
        self
    }

    fn body(self, kind: &'static str, schema: Value) -> Self {
        Self { body: Some((kind, schema)), ..self }
    }

    fn created(self) -> Self {
        let (_, kind, schema) = self.success;
        Self { success: (201, kind, schema), ..self }
    }

    fn errors(self, errors: &'static [u16]) -> Self {
        Self { errors, ..self }
    }
}

/// Reference to the schema of a type.
fn of(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn card_forms() -> Value {
    json!({ "type": "string", "enum": CardFormat::NAMES, "default": "json" })
}

/// All operations, the public ones first.
pub(super) fn operations() -> Vec<Operation> {
    let mut operations = public();
    operations.extend(for_operators());
    operations
}

fn public() -> Vec<Operation> {
    let list = json!({ "type": "array", "items": of("TaskSummary") });
    vec![
        Operation::get("/v1/tasks", "Every task in short", JSON, list),
        Operation::get("/v1/tasks/{id}", "A task with its rounds", JSON, of("Task"))
            .query("rounds", "The last so many rounds instead of all that are kept")
            .errors(&[400, 404, 503]),
        Operation::get(
            "/v1/tasks/{id}/privacy/ledger",
            "The privacy debits of a task, an object a line",
            "application/jsonl",
            of("LedgerEntry"),
        )
        .errors(&[404, 500, 503]),
        Operation::get(
            "/v1/models/{sha256}",
            "A model as a file, whole or a range (206) or not modified (304)",
            BYTES,
            json!({}),
        )
        .in_format()
        .errors(&[400, 404, 412, 416, 500]),
        Operation::get(
            "/v1/models/{sha256}/card",
            "What a published model is; with format=markdown as text/markdown",
            JSON,
            of("ModelCard"),
        )
        .parameter("format", "The form of the card", card_forms())
        .errors(&[400, 404]),
        Operation::get(
            "/v1/steps/{sha256}",
            "The difference of a model to the one before, whole or a range (206) or not modified (304)",
            BYTES,
            json!({}),
        )
        .errors(&[404, 412, 416, 500]),
        Operation::get("/healthz", "The process answers", TEXT, text()),
        Operation::get("/readyz", "The server takes clients", TEXT, text()).errors(&[503]),
        Operation::get("/metrics", "Metrics in Prometheus' text format", TEXT, text()),
    ]
}

fn for_operators() -> Vec<Operation> {
    let toml = json!({ "type": "string", "maxLength": 256 << 10 });
    let order = |path, summary| {
        Operation::post(path, summary, of("Operated")).errors(&[404, 409, 500, 503])
    };
    vec![
        Operation::get("/v1/admin/status", "The server and its tasks", JSON, of("ServerStatus"))
            .errors(&[500, 503]),
        Operation::post(
            "/v1/admin/tasks",
            "Adds a task from its section of a config",
            of("Created"),
        )
        .created()
        .body("application/toml", toml)
        .errors(&[400, 408, 409, 413, 415, 422, 500, 503]),
        Operation::get(
            "/v1/admin/tasks/{id}",
            "A task with what only operators see",
            JSON,
            of("OperatedTask"),
        )
        .query("rounds", "The last so many rounds instead of all that are kept")
        .errors(&[400, 404, 409, 500, 503]),
        order("/v1/admin/tasks/{id}/pause", "Begins no new round"),
        order("/v1/admin/tasks/{id}/resume", "Lets rounds begin again"),
        order("/v1/admin/tasks/{id}/stop", "Ends the task for good"),
        Operation::post(
            "/v1/admin/tasks/{id}/rollback",
            "Makes an earlier model the newest again, as one more round",
            of("RolledBack"),
        )
        .body(JSON, of("RollBack"))
        .errors(&[400, 404, 408, 409, 413, 500, 503]),
        Operation::get(
            "/v1/admin/tasks/{id}/export",
            "A model as a file; the file's hash is the entity tag",
            BYTES,
            json!({}),
        )
        .query("round", "The round of the model instead of the newest")
        .in_format()
        .errors(&[400, 404, 409, 500, 503]),
    ]
}
