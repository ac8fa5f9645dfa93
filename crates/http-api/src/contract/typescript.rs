//! `web/demo/src/generated/http-api.ts`: the types for the pages, and what a page
//! checks an answer by.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;
use ts_rs::{Config, TS};

use super::compare;
use super::schemas::schemas;
use crate::*;

const HEAD: &str = "\
// Generated from crates/http-api. FEDRA_BLESS=1 cargo test -p fedra-http-api writes it anew.
";

#[test]
fn the_types_of_the_pages_are_those_of_the_server() {
    let mut text = HEAD.to_owned();
    text += &tidy(&types());
    text += &shapes();
    compare("web/demo/src/generated/http-api.ts", &text);
}

fn declaration<T: TS>(config: &Config) -> String {
    let docs = T::docs().unwrap_or_default();
    format!("\n{docs}export {}\n", T::decl(config))
}

fn types() -> String {
    // Counts stay far below 2^53.
    let config = Config::new().with_large_int("number");
    [
        declaration::<TaskState>,
        declaration::<Phase>,
        declaration::<HealthState>,
        declaration::<FailureKind>,
        declaration::<FailureCause>,
        declaration::<Failure>,
        declaration::<Health>,
        declaration::<Cohort>,
        declaration::<FrozenPart>,
        declaration::<Model>,
        declaration::<Headline>,
        declaration::<Metrics>,
        declaration::<Quality>,
        declaration::<ClassMetrics>,
        declaration::<Classes>,
        declaration::<Policy>,
        declaration::<Privacy>,
        declaration::<Round>,
        declaration::<GateRefusal>,
        declaration::<Gate>,
        declaration::<TaskSummary>,
        declaration::<Task>,
        declaration::<OperatorAction>,
        declaration::<Decision>,
        declaration::<OperatedRound>,
        declaration::<OperatedSummary>,
        declaration::<OperatedTask>,
        declaration::<SetAsideTask>,
        declaration::<ServerStatus>,
        declaration::<Created>,
        declaration::<Operated>,
        declaration::<RollBack>,
        declaration::<RolledBack>,
        declaration::<Mistake>,
        declaration::<Problem>,
    ]
    .map(|declaration| declaration(&config))
    .concat()
}

/// The declarations with indented fields, and remarks of one line on one line.
fn tidy(text: &str) -> String {
    let mut tidy = String::new();
    let mut indent = "";
    let mut lines = text.lines().map(str::trim_end).peekable();
    while let Some(line) = lines.next() {
        if line == "/**" {
            let remark: Vec<&str> = lines.by_ref().take_while(|line| *line != " */").collect();
            let remark = remark.iter().map(|line| line.trim_start_matches(" * "));
            let remark = remark.collect::<Vec<_>>().join(" ");
            writeln!(tidy, "{indent}/** {remark} */").expect("a string takes it");
            continue;
        }
        if let Some(field) = line.strip_suffix(" };") {
            let field = field.trim_end_matches(',');
            writeln!(tidy, "{indent}{field};\n}};").expect("a string takes it");
            indent = "";
            continue;
        }
        let line =
            line.strip_suffix(',').map(|field| format!("{field};")).unwrap_or(line.to_owned());
        writeln!(tidy, "{}{line}", if line.is_empty() { "" } else { indent })
            .expect("a string takes it");
        if line.ends_with('{') {
            indent = "  ";
        }
    }
    tidy
}

/// The types that a page reads, by name, and a shape for each.
///
/// A shape is `'string'`, `'time'` (RFC 3339), `'integer'`, `'number'`, `'boolean'`, the
/// name of another one, or an object with `words`, with `list` or `maybe` (null too) of a shape, or with `fields`. A field
/// whose name ends in `?` may be absent. An object of any fields has none to check.
fn shapes() -> String {
    // What a page sends, and what it reads with more tolerance.
    const UNREAD: [&str; 10] = [
        "CardColumn",
        "CardData",
        "CardLayer",
        "CardModel",
        "CardTokens",
        "CardTraining",
        "LedgerEntry",
        "ModelCard",
        "Problem",
        "RollBack",
    ];
    let schemas = schemas();
    let read: BTreeMap<&String, &Value> =
        schemas.iter().filter(|(name, _)| !UNREAD.contains(&name.as_str())).collect();
    let mut text =
        "\n/** Answers that a page may read, by name. */\nexport interface Shapes {\n".to_owned();
    for name in read.keys() {
        writeln!(text, "  {name}: {name};").expect("a string takes it");
    }
    text +=
        "}\n\n/** The same for a check at run time: `check` in json.ts says how to read it. */\n";
    text += "export const SHAPES = {\n";
    for (name, schema) in read {
        writeln!(text, "  {name}: {},", shape(schema)).expect("a string takes it");
    }
    text + "} as const;\n"
}

/// The shape of what has this schema.
fn shape(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("'{name}'");
    }
    if let Some(words) = words(schema) {
        let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        return format!("{{ words: [{}] }}", words.join(", "));
    }
    if let Some(choice) = schema["anyOf"].as_array() {
        let [one, null] = choice.as_slice() else { panic!("{schema}") };
        assert_eq!(null["type"], "null", "{schema}");
        return format!("{{ maybe: {} }}", shape(one));
    }
    match &schema["type"] {
        Value::Array(types) => {
            let [one, Value::String(null)] = types.as_slice() else { panic!("{schema}") };
            assert_eq!(null, "null", "{schema}");
            let mut plain = schema.clone();
            plain["type"] = one.clone();
            format!("{{ maybe: {} }}", shape(&plain))
        }
        Value::String(kind) => match kind.as_str() {
            "string" if schema["format"] == "date-time" => "'time'".to_owned(),
            "string" | "integer" | "number" | "boolean" => format!("'{kind}'"),
            "array" => format!("{{ list: {} }}", shape(&schema["items"])),
            "object" => format!("{{ fields: {{ {} }} }}", fields(schema)),
            _ => panic!("{schema}"),
        },
        _ => panic!("{schema}"),
    }
}

/// The words of an enum.
fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(Value::as_str).collect();
    }
    let words = schema["oneOf"].as_array()?;
    words.iter().map(|word| word["const"].as_str()).collect()
}

fn fields(schema: &Value) -> String {
    let Some(fields) = schema["properties"].as_object() else {
        assert_eq!(schema["additionalProperties"], true, "{schema}");
        return String::new();
    };
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    let fields: BTreeMap<_, _> = fields.iter().collect();
    let field = |(name, schema): (&String, &Value)| {
        if required.iter().any(|required| *required == name) {
            format!("{name}: {}", shape(schema))
        } else {
            format!("'{name}?': {}", shape(schema))
        }
    };
    fields.into_iter().map(field).collect::<Vec<_>>().join(", ")
}
