//! One request to many backends, one answer.
//!
//! A [`Composer`] runs a route's parts as a graph: those that need nothing start at once, others
//! when what they need has answered. What the parts say is merged in the order of the
//! configuration, so that the answer never depends on who was slowest. The proxy reaches the
//! composer as it reaches a backend, through [`Composer::peer`].
//!
//! What bounds a composition is in its plan: parts, items of a list, calls at once, bytes of each
//! part's answers, deadlines; and the depth of bodies, which is fixed.

mod answer;
mod composer;
mod fetch;
mod graph;
mod merge;
mod path;
mod peer;
mod report;

#[cfg(test)]
mod tests;

use crate::config::model::{Compose, Need};
use crate::request::{Facts, NoTarget};

pub use answer::{ComposedAnswer, X_PARTIAL};
pub use composer::{ComposeInputs, Composer, UnknownCluster};
pub use report::{
    ComposeOutcome, ComposeReport, Fault, PartFailure, PartReport, PartState, Reason,
};

/// Whether a request has what the paths of the required parts are made of: better known before
/// anything is charged or called.
///
/// # Errors
/// It lacks a value, or one would make another path.
pub fn check_values(plan: &Compose, facts: &Facts<'_>) -> Result<(), NoTarget> {
    let mut required = plan.parts.iter().filter(|part| part.need == Need::Required);
    required.try_for_each(|part| path::check(&part.path, facts))
}
