//! Does a configuration have the form that the schema states? Says all that is wrong, in words,
//! and mends or takes out what is broken, so that the rest can be checked further.

mod advice;
mod broken;
mod expected;
mod repair;
mod translate;

pub use broken::Broken;

use super::report::Report;
use super::schema::Form;
use super::source::Node;
use repair::Repair;

/// Checks the form. What is broken is mended or taken out of the tree, and noted.
pub fn check(root: &mut Node, form: &Form, report: &mut Report) -> Broken {
    let mut broken = Broken::default();
    let validator = match &form.validator {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("the schema itself is wrong: {error}");
            report.error_at(root.span, "", message);
            return broken;
        }
    };
    let mut repair = Repair::default();
    for error in validator.iter_errors(&root.json()) {
        // Nobody mends a thousand places one by one: of what goes beyond, whole items are taken out.
        match report.is_full() {
            true => broken.note(&error, root),
            false => repair.add(&error),
        }
        translate::Translate { schema: &form.schema, root, report }.error(&error);
    }
    if !repair.is_empty() {
        repair.apply(&form.schema, root, &mut broken);
        for error in validator.iter_errors(&root.json()) {
            broken.note(&error, root);
        }
    }
    broken.remove_from(root);
    broken
}
