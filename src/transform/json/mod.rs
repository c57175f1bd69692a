//! Edits of JSON bodies.

mod edit;
mod mask;
mod numbers;
mod walk;

pub use edit::{EditError, apply, edit_body};
pub use numbers::keeps_numbers;

#[cfg(test)]
mod properties;
