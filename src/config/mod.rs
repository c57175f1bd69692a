//! Configuration: `raw` is what users write, `check` judges it, `model` is what the program uses.
//!
//! The way of a file: `source` reads YAML and knows where everything stands; `structure` holds it
//! against the schema that is made from `raw`; `check` judges what a schema can't and makes the
//! `model`. All of them report to one list, so that a user sees every problem at once.

pub mod expiry;
pub mod model;

mod check;
mod excerpt;
mod load;
mod mask;
mod nearest;
mod problem;
mod raw;
mod report;
mod restart;
mod schema;
mod source;
mod spot;
mod structure;
mod watch;

pub use load::{load, load_many, load_text};
pub use problem::{Problem, Problems};
pub use restart::restart_needed;
pub use schema::{reference_markdown, written_schema};
pub use watch::Watcher;

/// Problems that are kept; those beyond are only counted.
pub const MAX_PROBLEMS: usize = 1000;

#[cfg(test)]
use schema::schema;
#[cfg(test)]
mod tests;
