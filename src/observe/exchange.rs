use std::net::IpAddr;

use super::StageTimes;
use crate::request::{RouteId, UnixMillis};

/// Where an answer came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// One backend.
    Backend,
    /// Several backends.
    Composed,
    /// The account cache.
    Cache,
    /// The account cache, after its time, because the backend failed.
    StaleCache,
    /// The gateway that owns the account, to which the request was passed.
    Owner,
    /// The gateway itself: a refusal, a redirect, a fixed answer.
    #[default]
    Gateway,
}

impl Source {
    /// The word in logs, metrics and the `x-tollgate-source` header.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Composed => "backends",
            Self::Cache => "cache",
            Self::StaleCache => "stale-cache",
            Self::Owner => "owner",
            Self::Gateway => "gateway",
        }
    }

    /// Whether no backend was needed.
    pub const fn is_cache(self) -> bool {
        matches!(self, Self::Cache | Self::StaleCache)
    }
}

/// What is known of a request when it has ended: one line of the access log and one set of
/// metrics are made from it.
#[derive(Clone, Debug, Default)]
pub struct Exchange<'a> {
    /// When it began.
    pub started: UnixMillis,
    /// From its head to the last byte of the answer.
    pub seconds: f64,
    /// Its number.
    pub request_id: &'a str,
    /// Trace id (W3C Trace Context), 32 hexadecimal digits.
    pub trace_id: &'a str,
    /// Who asked from where.
    pub address: Option<IpAddr>,
    /// Whether another gateway passed it on to this one.
    pub passed_on: bool,
    /// HTTP version: `1.1`, `2`.
    pub version: &'a str,
    /// Method.
    pub method: &'a str,
    /// Host.
    pub host: &'a str,
    /// Path; what stood for the account in it is replaced by `{account}`.
    pub path: &'a str,
    /// The route's id.
    pub route: Option<&'a RouteId>,
    /// The client.
    pub client: Option<&'a str>,
    /// Keyed hash of the account.
    pub account: Option<&'a str>,
    /// Status sent; 0 if the client was gone first.
    pub status: u16,
    /// Body bytes sent.
    pub bytes_sent: usize,
    /// Body bytes received.
    pub bytes_received: usize,
    /// Where the answer came from.
    pub source: Source,
    /// Type of the problem answered.
    pub problem: Option<&'static str>,
    /// What the operator should know beyond that.
    pub detail: Option<&'a str>,
    /// Backend address of the last try.
    pub endpoint: Option<&'a str>,
    /// Tries that reached for a backend; of a composition the calls of its parts, once each.
    pub tries: u32,
    /// Parts of a composite answer that are missing.
    pub missing_parts: &'a [String],
    /// Least quota left after this request.
    pub quota_remaining: Option<u64>,
    /// Whether a rule could not be asked and was passed over.
    pub unaccounted: bool,
    /// Seconds spent in each stage.
    pub stages: StageTimes,
}
