//! Edits of JSON bodies.

mod edit;
mod mask;
mod walk;

pub use edit::{apply, edit_body};

#[cfg(test)]
mod properties;
