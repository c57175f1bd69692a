//! Files -> one tree of YAML values, each of which knows where it stands.

mod complaint;
mod include;
mod node;
mod read;
mod secret;
mod shown;
mod yaml;

use std::path::Path;

pub use node::{Entry, Item, Node, NodeValue, Span, Text};
pub use read::{MAX_SECRET, plain, read_bytes};
pub use secret::Environment;

use super::report::Report;

/// Reads a configuration with all that it includes, and puts secrets in place. `None` if the main
/// file can't be read as YAML; other errors leave out what they concern.
pub fn load(path: &Path, environment: &Environment<'_>, report: &mut Report) -> Option<Tree> {
    let text = read::read_text(path, report)?;
    load_text(path, &text, environment, report)
}

/// Like [`load`], with the main file's text from elsewhere.
pub fn load_text(
    path: &Path,
    text: &str,
    environment: &Environment<'_>,
    report: &mut Report,
) -> Option<Tree> {
    report.depends_on(path);
    let main = read::parse(path, text, read::MAIN, report)?;
    let mut root = include::merge(main, report);
    let shown = shown::written(&root);
    secret::put_in(&mut root, environment, report);
    Some(Tree { root, shown })
}

/// A configuration as it was read.
#[derive(Debug)]
pub struct Tree {
    /// The values, secrets in place.
    pub root: Node,
    /// The values as written, secrets in clear hidden.
    pub shown: serde_json::Value,
}
