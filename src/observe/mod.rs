//! What operators see: metrics, the access log, trace identifiers.

mod event;
mod metrics;

pub use event::{Event, QuotaOutcome, VaultOperation};
pub use metrics::Metrics;
