//! The JSON Schema of what users write, and the reference made from it.

mod reference;
mod tidy;
mod written;

pub use reference::reference_markdown;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw;

/// The JSON Schema of a configuration for those who see it as it is written: editors. Where a text
/// must have a certain form, a reference to a secret may stand as well.
pub fn written_schema() -> Value {
    let mut schema = schema();
    written::allow_references(&mut schema);
    schema
}

/// The JSON Schema (draft 2020-12) of a configuration with its secrets in place: for the
/// structural part of the check.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<raw::Config>().to_value();
    tidy::tidy(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "Tollgate configuration".into());
    }
    schema
}

/// The schema to which a schema refers, or itself.
pub(super) fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let target = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer));
    target.unwrap_or(schema)
}
