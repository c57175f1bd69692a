//! What operators see: metrics, the access log.

mod access_line;
mod access_log;
mod cache_feed;
mod certificate;
mod event;
mod exchange;
mod journal_metrics;
mod labels;
mod metrics;
mod moment;
mod names;
mod stage;

pub use access_log::AccessLog;
pub use cache_feed::{CacheFeedEvent, CacheFeedRecord, CacheFeedSent};
pub use certificate::{Certificate, Shown};
pub use event::{ClaimReason, Event, ForwardOutcome, QuotaOutcome, VaultOperation};
pub use exchange::{Exchange, Source};
pub use journal_metrics::JournalEvent;
pub use metrics::{InProgress, Metrics};
pub use moment::{Moment, Size};
pub use stage::{Stage, StageTimes, Stopwatch};
