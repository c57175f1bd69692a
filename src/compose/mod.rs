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

pub use answer::{ComposedAnswer, X_PARTIAL};
pub use composer::{ComposeInputs, Composer, UnknownCluster};
pub use report::{
    ComposeOutcome, ComposeReport, Fault, PartFailure, PartReport, PartState, Reason,
};
