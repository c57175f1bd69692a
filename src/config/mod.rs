//! Configuration: `raw` is what users write, `check` judges it, `model` is what the program uses.
//!
//! The way of a file: `source` reads YAML and knows where everything stands; `structure` holds it
//! against the schema that is made from `raw`; `check` judges what a schema can't and makes the
//! `model`. All of them report to one list, so that a user sees every problem at once.

pub mod model;

mod excerpt;
mod mask;
mod nearest;
mod problem;
mod raw;
mod report;
mod schema;
mod source;
mod spot;
mod structure;

pub use problem::{Problem, Problems};
pub use schema::{reference_markdown, schema};

/// Problems that are kept; those beyond are only counted.
pub const MAX_PROBLEMS: usize = 1000;
