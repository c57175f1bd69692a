//! Does a configuration have the form that the schema states? Says all that is wrong, in words,
//! and takes out what is broken so that the rest can be checked further.

mod advice;
mod broken;
mod expected;
mod translate;

pub use broken::Broken;

use serde_json::Value;

use super::report::Report;
use super::source::Node;

/// Checks the form. What is broken is removed from the tree and noted.
pub fn check(root: &mut Node, schema: &Value, report: &mut Report) -> Broken {
    let instance = root.json();
    let mut broken = Broken::default();
    match jsonschema::validator_for(schema) {
        Ok(validator) => {
            for error in validator.iter_errors(&instance) {
                translate::Translate { schema, root, report }.error(&error);
                broken.note(&error);
            }
        }
        Err(error) => {
            let message = format!("the schema itself is wrong: {error}");
            report.error_at(root.span, "", message);
        }
    }
    broken.remove_from(root);
    broken
}
