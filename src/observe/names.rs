/// Every metric, in one place: dashboards and alerts are written against these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Requests by route, method class, status and source.
    Requests,
    /// Time from the request's head to the last byte of the answer.
    RequestSeconds,
    /// Time spent in a stage.
    StageSeconds,
    /// Requests in progress.
    InProgress,
    /// Refusals by their problem type.
    Refusals,
    /// Fetches of identity providers' keys.
    KeyFetches,
    /// Look-ups in the cache of verified tokens.
    TokenCache,
    /// Whether an endpoint takes requests.
    EndpointHealthy,
    /// Endpoints taken out for failures that requests saw.
    Ejections,
    /// Backend calls that were tried again.
    Retries,
    /// Retries that the budget forbade.
    RetriesRefused,
    /// Name resolutions.
    Resolutions,
    /// Backend calls by cluster and status class.
    UpstreamCalls,
    /// Time of backend calls.
    UpstreamSeconds,
    /// Parts of composite routes.
    Parts,
    /// Reservations by rule and outcome.
    Quota,
    /// Records made durable.
    JournalRecords,
    /// Time of a durable write, shared by all records in it.
    JournalCommitSeconds,
    /// Quota partitions claimed, by reason.
    Claims,
    /// What came of passing requests to the gateways that own their accounts.
    Forwarded,
    /// Time until an owner answered.
    ForwardSeconds,
    /// Records that did not become durable.
    JournalAppendFailures,
    /// Time from an append to reading the record back.
    JournalReadBackSeconds,
    /// Records not read yet, by partition.
    JournalLag,
    /// Records read before the journal was caught up with, by where they came from.
    JournalReplayed,
    /// Whether a local copy of the journal is kept.
    JournalMirror,
    /// What of Kafka's topics makes counts inexact.
    KafkaUnsafeFindings,
    /// Records that were not understood, by partition.
    JournalCorrupt,
    /// How far the clock is ahead of the journal's.
    ClockAhead,
    /// What was done with the vault.
    Vault,
    /// Records read from the account cache's topics.
    CacheFeedRecords,
    /// Records sent to the account cache's topic.
    CacheFeedSent,
    /// Records that the account cache has yet to read.
    CacheFeedLag,
    /// Whether the account cache is connected to Kafka.
    CacheFeedConnected,
    /// Purges that Kafka has not taken yet.
    CacheFeedOwed,
    /// Times at which the account cache was thrown away to be filled anew.
    CacheFeedStartsOver,
    /// Change events that were no good.
    BadChangeEvents,
    /// Reloads tried.
    Reloads,
    /// Whether the last reload took effect.
    LastReloadOk,
    /// Upgrades: what this process has taken over, and what failed to take over from it.
    Upgrades,
    /// Access log lines dropped because the disk could not keep up.
    AccessLogDropped,
    /// Requests that the listener refused before any route.
    ListenerRefusals,
    /// Panics caught.
    Panics,
    /// Version and commit of the program.
    BuildInfo,
    /// Whether the gateway should get requests.
    Ready,
    /// Whether something is wrong, though it serves.
    Degraded,
    /// Room on the disk of the state directory.
    StateDisk,
    /// Connections of clients, by port.
    OpenConnections,
    /// When a certificate in use ends.
    CertificateEnds,
    /// Size of the account cache, by tier.
    CacheBytes,
    /// Answers in the account cache, by tier.
    CacheEntries,
    /// Processor time of this process.
    ProcessCpu,
    /// Memory of this process.
    ProcessMemory,
    /// When this process started.
    ProcessStart,
    /// Files and sockets that this process has open.
    ProcessOpenFiles,
    /// How many it may have.
    ProcessMostFiles,
}

impl Name {
    /// The name without the unit and `_total` that the exposition format adds.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Requests => "tollgate_requests",
            Self::RequestSeconds => "tollgate_request_duration",
            Self::StageSeconds => "tollgate_stage_duration",
            Self::InProgress => "tollgate_requests_in_progress",
            Self::Refusals => "tollgate_refusals",
            Self::KeyFetches => "tollgate_identity_key_fetches",
            Self::TokenCache => "tollgate_token_cache_lookups",
            Self::EndpointHealthy => "tollgate_endpoint_healthy",
            Self::Ejections => "tollgate_endpoint_ejections",
            Self::Retries => "tollgate_upstream_retries",
            Self::RetriesRefused => "tollgate_upstream_retries_over_budget",
            Self::Resolutions => "tollgate_name_resolutions",
            Self::UpstreamCalls => "tollgate_upstream_calls",
            Self::UpstreamSeconds => "tollgate_upstream_call_duration",
            Self::Parts => "tollgate_compose_parts",
            Self::Quota => "tollgate_quota_reservations",
            Self::JournalRecords => "tollgate_journal_records",
            Self::JournalCommitSeconds => "tollgate_journal_commit_duration",
            Self::Claims => "tollgate_claims",
            Self::Forwarded => "tollgate_forwarded",
            Self::ForwardSeconds => "tollgate_forward_duration",
            Self::JournalAppendFailures => "tollgate_journal_append_failures",
            Self::JournalReadBackSeconds => "tollgate_journal_read_back",
            Self::JournalLag => "tollgate_journal_lag",
            Self::JournalReplayed => "tollgate_journal_replayed_records",
            Self::JournalMirror => "tollgate_journal_mirror_kept",
            Self::KafkaUnsafeFindings => "tollgate_kafka_unsafe_findings",
            Self::JournalCorrupt => "tollgate_journal_corrupt_records",
            Self::ClockAhead => "tollgate_clock_ahead",
            Self::Vault => "tollgate_cache_operations",
            Self::CacheFeedRecords => "tollgate_cache_feed_records",
            Self::CacheFeedSent => "tollgate_cache_feed_sent",
            Self::CacheFeedLag => "tollgate_cache_feed_lag",
            Self::CacheFeedConnected => "tollgate_cache_feed_connected",
            Self::CacheFeedOwed => "tollgate_cache_feed_owed_purges",
            Self::CacheFeedStartsOver => "tollgate_cache_feed_starts_over",
            Self::BadChangeEvents => "tollgate_change_events_bad",
            Self::Reloads => "tollgate_reloads",
            Self::LastReloadOk => "tollgate_last_reload_ok",
            Self::Upgrades => "tollgate_upgrades",
            Self::AccessLogDropped => "tollgate_access_log_dropped",
            Self::ListenerRefusals => "tollgate_listener_refusals",
            Self::Panics => "tollgate_panics",
            Self::BuildInfo => "tollgate_build_info",
            Self::Ready => "tollgate_ready",
            Self::Degraded => "tollgate_degraded",
            Self::StateDisk => "tollgate_state_disk_available_bytes",
            Self::OpenConnections => "tollgate_open_connections",
            Self::CertificateEnds => "tollgate_certificate_not_after_timestamp_seconds",
            Self::CacheBytes => "tollgate_cache_bytes",
            Self::CacheEntries => "tollgate_cache_entries",
            Self::ProcessCpu => "process_cpu_seconds",
            Self::ProcessMemory => "process_resident_memory_bytes",
            Self::ProcessStart => "process_start_time_seconds",
            Self::ProcessOpenFiles => "process_open_fds",
            Self::ProcessMostFiles => "process_max_fds",
        }
    }

    /// What it means, for the `# HELP` line.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Requests => "Requests by route, method, status and source of the answer",
            Self::RequestSeconds => "Time from the head of a request to the end of its answer",
            Self::StageSeconds => "Time spent in a stage",
            Self::InProgress => "Requests in progress",
            Self::Refusals => "Requests refused by the gateway itself, by problem type",
            Self::KeyFetches => "Fetches of an identity provider's keys",
            Self::TokenCache => "Look-ups in the cache of verified tokens",
            Self::EndpointHealthy => {
                "Whether requests go to an endpoint (1), or it is down or taken out (0)"
            }
            Self::Ejections => "Endpoints taken out for failures that requests saw",
            Self::Retries => "Backend calls that were tried again",
            Self::RetriesRefused => "Retries wanted that the budget forbade",
            Self::Resolutions => "Resolutions of a cluster's host names",
            Self::UpstreamCalls => "Backend calls by cluster and class of status",
            Self::UpstreamSeconds => "Time of a backend call to its last byte",
            Self::Parts => "Parts of composite routes, by whether they gave their answer",
            Self::Quota => "Reservations in the ledger, by rule and outcome",
            Self::JournalRecords => "Records made durable in the journal",
            Self::JournalCommitSeconds => "Time of one durable write of the journal",
            Self::Claims => "Quota partitions that this gateway claimed, by reason",
            Self::Forwarded => "What came of passing requests to the owners of their accounts",
            Self::ForwardSeconds => "Time until an account's owner answered",
            Self::JournalAppendFailures => "Records that did not become durable",
            Self::JournalReadBackSeconds => {
                "Time from writing a record to reading it back, of some records"
            }
            Self::JournalLag => "Records of a journal partition that were not read yet",
            Self::JournalReplayed => {
                "Records read to catch up with the journal, by where they came from"
            }
            Self::JournalMirror => {
                "Whether a copy of the journal is kept on this disk (1) or not (0)"
            }
            Self::KafkaUnsafeFindings => "What of Kafka's topics is such that counts are not exact",
            Self::JournalCorrupt => "Records not understood; their partition is not read on",
            Self::ClockAhead => {
                "How far this machine's clock is ahead of Kafka's, at least; negative: behind"
            }
            Self::Vault => "Operations of the account cache",
            Self::CacheFeedRecords => "Records read from the account cache's topics, by outcome",
            Self::CacheFeedSent => {
                "Answers and purges sent to the account cache's topic, by outcome"
            }
            Self::CacheFeedLag => "Records of the account cache's topics not read yet",
            Self::CacheFeedConnected => {
                "Whether the account cache is connected to Kafka (1) or not (0)"
            }
            Self::CacheFeedOwed => "Purges that Kafka has not taken yet",
            Self::CacheFeedStartsOver => {
                "Times the account cache was thrown away to be filled anew"
            }
            Self::BadChangeEvents => "Change events that were no good and were skipped, by reason",
            Self::Reloads => "Reloads of the configuration tried",
            Self::LastReloadOk => "Whether the last reload took effect (1) or was refused (0)",
            Self::Upgrades => {
                "Upgrades that this process has taken over in, or that left it serving"
            }
            Self::AccessLogDropped => "Access log lines dropped because writing fell behind",
            Self::ListenerRefusals => "Requests refused before a route was looked for",
            Self::Panics => "Panics caught; each was answered with 500",
            Self::BuildInfo => "Version and commit of the program; always 1",
            Self::Ready => {
                "Whether the gateway should get requests (1) or not (0); /ready says why"
            }
            Self::Degraded => {
                "Whether something is wrong though the gateway serves (1); /ready says what"
            }
            Self::StateDisk => "Bytes that may still be written where the state directory is",
            Self::OpenConnections => "Open connections of clients, by listener",
            Self::CertificateEnds => "When a certificate in use ends, in seconds since 1970",
            Self::CacheBytes => "Bytes of answers in the account cache, by tier",
            Self::CacheEntries => "Answers in the account cache, by tier",
            Self::ProcessCpu => "Processor time spent, in seconds",
            Self::ProcessMemory => "Resident memory in bytes",
            Self::ProcessStart => "Start time of the process in seconds since 1970",
            Self::ProcessOpenFiles => "Open files and sockets",
            Self::ProcessMostFiles => "How many files and sockets may be open",
        }
    }
}

#[cfg(test)]
mod tests {
    /// Words that begin as metrics do.
    fn names(text: &str) -> Vec<&str> {
        text.split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|word| word.starts_with("tollgate_") || word.starts_with("process_"))
            .collect()
    }

    #[test]
    fn the_reference_has_every_metric_and_no_other() {
        let (source, _) = include_str!("names.rs").split_once("pub const fn help").unwrap();
        let (here, there) = (names(source), names(include_str!("../../docs/metrics.md")));
        let is_named = |name: &&&str| there.iter().any(|told| told.starts_with(*name));
        let missing: Vec<_> = here.iter().filter(|name| !is_named(name)).collect();
        assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
        let is_known = |told: &&&str| {
            let bare = ["_total", "_seconds", ""].map(|unit| told.strip_suffix(unit));
            bare.iter().flatten().any(|bare| here.contains(bare))
        };
        let made_up: Vec<_> = there.iter().filter(|told| !is_known(told)).collect();
        assert!(made_up.is_empty(), "no metrics: {made_up:?}");
    }
}
