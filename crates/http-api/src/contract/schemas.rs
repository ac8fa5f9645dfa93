//! JSON schemas of all types, by name.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::{
    Created, LedgerEntry, ModelCard, Operated, OperatedTask, Problem, RollBack, RolledBack,
    ServerStatus, Task,
};

/// Schemas of what the server sends and takes, and of all that is in it. A reference
/// begins with `#/components/schemas/`.
pub(super) fn schemas() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    generator.subschema_for::<Task>();
    generator.subschema_for::<crate::TaskSummary>();
    generator.subschema_for::<ModelCard>();
    generator.subschema_for::<LedgerEntry>();
    generator.subschema_for::<ServerStatus>();
    generator.subschema_for::<OperatedTask>();
    generator.subschema_for::<Created>();
    generator.subschema_for::<Operated>();
    generator.subschema_for::<RollBack>();
    generator.subschema_for::<RolledBack>();
    generator.subschema_for::<Problem>();
    generator.take_definitions(true)
}
