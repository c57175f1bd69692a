use std::sync::Arc;

use super::CacheFeedEvent;
use super::journal_metrics::JournalEvent;

/// Something that happened and is counted. Stages report it; `Metrics` alone knows the names and
/// labels under which operators see it. Labels are bounded: names from the configuration, never
/// values from requests.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// An identity provider's keys were fetched, or were not.
    KeysFetched {
        /// Name of the provider.
        provider: &'a str,
        /// Whether usable keys came.
        ok: bool,
    },
    /// A token was looked up in the cache of verified tokens.
    TokenCache {
        /// Whether it was there.
        hit: bool,
    },
    /// An endpoint was taken out for failures that requests saw.
    Ejected {
        /// Name of the cluster.
        cluster: &'a str,
        /// Address of the endpoint.
        endpoint: &'a str,
    },
    /// A backend call was tried again.
    Retried {
        /// Name of the cluster.
        cluster: &'a str,
    },
    /// A retry was wanted and the budget forbade it.
    RetryBudgetSpent {
        /// Name of the cluster.
        cluster: &'a str,
    },
    /// A cluster's names were resolved, or were not.
    Resolved {
        /// Name of the cluster.
        cluster: &'a str,
        /// Whether addresses came.
        ok: bool,
    },
    /// A backend answered a call.
    UpstreamCall {
        /// Name of the cluster.
        cluster: &'a Arc<str>,
        /// Status, or `None` if there was no answer.
        status: Option<u16>,
        /// Time from start to the last byte.
        seconds: f64,
    },
    /// A part of a composite route ended.
    Part {
        /// Name of the route.
        route: &'a str,
        /// Name of the part.
        part: &'a str,
        /// Whether it gave its answer.
        ok: bool,
    },
    /// A quota rule was asked.
    Quota {
        /// Name of the rule.
        rule: &'a Arc<str>,
        /// What became of it.
        outcome: QuotaOutcome,
    },
    /// Something happened to the journal.
    Journal(JournalEvent),
    /// The vault was read, written or purged.
    Vault {
        /// What was done.
        operation: VaultOperation,
    },
    /// This gateway claimed a quota partition.
    Claimed {
        /// Why.
        reason: ClaimReason,
    },
    /// Something came of passing a request to the gateway that owns its account.
    Forwarded {
        /// What.
        outcome: ForwardOutcome,
    },
    /// An owner answered a request that was passed to it.
    ForwardAnswered {
        /// Time from its passing on to the head of its answer.
        seconds: f64,
    },
    /// Something happened between the account cache and the topics that feed it.
    CacheFeed(CacheFeedEvent),
    /// A reload was tried.
    Reload {
        /// Whether the new configuration is in use.
        ok: bool,
    },
    /// Another process was to take over, or this one has taken over.
    Upgrade {
        /// Whether it serves now.
        ok: bool,
    },
    /// The access log could not keep up and a line was dropped.
    AccessLogDropped,
    /// A request reached no route because the listener refused it.
    ListenerRefused {
        /// Why, in a word.
        reason: &'static str,
    },
    /// A panic was caught; the request was answered with 500.
    Panicked,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaOutcome {
    /// Admitted and counted.
    Admitted,
    /// Refused: used up.
    Exceeded,
    /// Given back: the answer was no use.
    Refunded,
    /// The ledger could not be asked.
    Unavailable,
}

impl QuotaOutcome {
    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Exceeded => "exceeded",
            Self::Refunded => "refunded",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why a gateway claims a quota partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClaimReason {
    /// It is its share.
    Shared,
    /// It was its own by the log, and it had stumbled or was started again.
    Resumed,
    /// Its owner can't be reached.
    OwnerUnreachable,
    /// It is its own, and the journal doesn't keep a claim for good.
    Renewed,
}

impl ClaimReason {
    /// The word in logs, metrics and views.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Resumed => "resumed",
            Self::OwnerUnreachable => "owner_unreachable",
            Self::Renewed => "renewed",
        }
    }
}

/// What came of passing a request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardOutcome {
    /// The owner answered it.
    Answered,
    /// The owner could not be reached, or broke off.
    Failed,
    /// Another gateway was the owner by then.
    Moved,
    /// This gateway took the partition over.
    TakenOver,
    /// Nobody became the owner in time: the rules' `unavailable` decided.
    WithoutOwner,
}

impl ForwardOutcome {
    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Moved => "moved",
            Self::TakenOver => "taken_over",
            Self::WithoutOwner => "without_owner",
        }
    }
}

/// What was done with the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VaultOperation {
    /// Found in memory.
    MemoryHit,
    /// Found on disk.
    DiskHit,
    /// Found nowhere.
    Miss,
    /// Written.
    Stored,
    /// Not written: larger than the largest entry allowed.
    TooLarge,
    /// Removed by a purge.
    Purged,
    /// Removed for room.
    Evicted,
    /// The disk failed; the request went on as a miss.
    Fault,
}

impl VaultOperation {
    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::MemoryHit => "memory_hit",
            Self::DiskHit => "disk_hit",
            Self::Miss => "miss",
            Self::Stored => "stored",
            Self::TooLarge => "too_large",
            Self::Purged => "purged",
            Self::Evicted => "evicted",
            Self::Fault => "fault",
        }
    }
}
