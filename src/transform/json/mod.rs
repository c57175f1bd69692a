//! Edits of JSON bodies.

mod edit;
mod mask;
mod parse;
mod walk;

pub use edit::{apply, edit_body};
pub use parse::{JsonError, MAX_JSON_DEPTH, parse};

#[cfg(test)]
mod properties;
