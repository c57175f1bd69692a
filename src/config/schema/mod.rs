//! The JSON Schema of what users write, and the reference made from it.

mod reference;
mod tidy;
mod written;

pub use reference::reference_markdown;

use std::sync::LazyLock;

use jsonschema::Validator;
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

/// [`schema`], ready to be held against configurations.
pub struct Form {
    /// The schema.
    pub schema: Value,
    /// Its validator, or why there is none.
    pub validator: Result<Validator, String>,
}

/// The form of a configuration. It follows from the program alone, so it is made once: making it
/// takes longer than checking a usual file.
pub fn form() -> &'static Form {
    static FORM: LazyLock<Form> = LazyLock::new(|| {
        let schema = schema();
        let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string());
        Form { schema, validator }
    });
    &FORM
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
