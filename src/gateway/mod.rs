//! The spine: Pingora's hooks, the order of the stages, the one writer of answers, and the
//! configuration in force.

mod admit;
mod answer;
mod caching;
mod call;
mod certificates;
mod context;
mod control;
mod detail;
mod dialect;
mod early;
mod edited;
mod errands;
mod explain;
mod finish;
mod forward;
mod framing;
mod head;
mod keyed;
mod keyfile;
mod keys;
mod problem;
mod proxy;
mod reload;
mod respond;
mod serve;
mod serve_error;
mod shared;
mod shown;
mod signals;
mod snapshot;
mod standing;
mod starting;
mod state;
mod supervisor;
mod upgrade;
mod views;

pub use context::Context;
pub use control::{Control, Purge, Readiness};
pub use explain::{Explanation, Finding, Question, QuestionError, explain};
pub use keyfile::KeyFileError;
pub use problem::{Problem, describe};
pub use proxy::Gateway;
pub use reload::{LastReload, Reloaded, Reloader};
pub use serve::{Started, start};
pub use serve_error::ServeError;
pub use shared::{Ground, Parts, Shared};
pub use snapshot::{Snapshot, SnapshotError};
pub use upgrade::{
    AdminGate, AdminRound, Origin, OriginError, Predecessor, Program, Successor, Upgraded, Upgrader,
};

pub use crate::journal::topics;
