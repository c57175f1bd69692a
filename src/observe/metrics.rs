use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::cache_feed::CacheFeedMetrics;
use super::journal_metrics::JournalMetrics;
use super::labels::{
    CallLabels, ClusterLabels, HitLabels, NameLabel, OperationLabels, QuotaLabels, RefusalLabels,
    RequestLabels, RouteLabels, StageLabels, status_class,
};
use super::names::Name;
use super::{Event, Exchange, ForwardOutcome, Moment, Stage};

/// Labels: names from the configuration and fixed words only, so that no caller can make series.
pub(super) type Labels = Vec<(&'static str, String)>;
pub(super) type Counters = Family<Labels, Counter>;

/// The one registry of metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// In the order of [`Stage::ALL`]: looked up for every request, several times.
    stage_seconds: [Histogram; Stage::ALL.len()],
    in_progress: Gauge,
    refusals: Family<RefusalLabels, Counter>,
    key_fetches: Counters,
    token_cache: Family<HitLabels, Counter>,
    ejections: Counters,
    retries: Counters,
    retries_refused: Counters,
    resolutions: Counters,
    upstream_calls: Family<CallLabels, Counter>,
    upstream_seconds: Family<ClusterLabels, Histogram, fn() -> Histogram>,
    parts: Counters,
    quota: Family<QuotaLabels, Counter>,
    journal: JournalMetrics,
    claims: Counters,
    forwarded: Counters,
    forward_seconds: Histogram,
    vault: Family<OperationLabels, Counter>,
    cache_feed: CacheFeedMetrics,
    reloads: Counters,
    last_reload_ok: Gauge,
    upgrades: Counters,
    access_log_dropped: Counter,
    listener_refusals: Counters,
    panics: Counter,
}

/// From a cache hit (tens of microseconds) to a slow backend (tens of seconds).
const REQUEST_BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// From a stage that only looks something up to one that waits for a disk or a backend.
const STAGE_BUCKETS: [f64; 11] =
    [0.000_005, 0.000_02, 0.000_1, 0.000_5, 0.001, 0.005, 0.02, 0.1, 1.0, 5.0, 30.0];

fn request_histogram() -> Histogram {
    Histogram::new(REQUEST_BUCKETS)
}

pub(super) fn stage_histogram() -> Histogram {
    Histogram::new(STAGE_BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let request = request_histogram as fn() -> Histogram;
        let r = &mut registry;
        Self {
            requests: count(r, Name::Requests),
            request_seconds: time(r, Name::RequestSeconds, Family::new_with_constructor(request)),
            stage_seconds: stages(r),
            in_progress: count(r, Name::InProgress),
            refusals: count(r, Name::Refusals),
            key_fetches: count(r, Name::KeyFetches),
            token_cache: count(r, Name::TokenCache),
            ejections: count(r, Name::Ejections),
            retries: count(r, Name::Retries),
            retries_refused: count(r, Name::RetriesRefused),
            resolutions: count(r, Name::Resolutions),
            upstream_calls: count(r, Name::UpstreamCalls),
            upstream_seconds: time(r, Name::UpstreamSeconds, Family::new_with_constructor(request)),
            parts: count(r, Name::Parts),
            quota: count(r, Name::Quota),
            journal: JournalMetrics::register(r),
            claims: count(r, Name::Claims),
            forwarded: count(r, Name::Forwarded),
            forward_seconds: time(r, Name::ForwardSeconds, request_histogram()),
            vault: count(r, Name::Vault),
            cache_feed: CacheFeedMetrics::new(r),
            reloads: count(r, Name::Reloads),
            last_reload_ok: in_use(count(r, Name::LastReloadOk)),
            upgrades: count(r, Name::Upgrades),
            access_log_dropped: count(r, Name::AccessLogDropped),
            listener_refusals: count(r, Name::ListenerRefusals),
            panics: count(r, Name::Panics),
            registry,
        }
    }
}

pub(super) fn count<M: Metric + Clone + Default>(registry: &mut Registry, name: Name) -> M {
    let metric = M::default();
    registry.register(name.text(), name.help(), metric.clone());
    metric
}

pub(super) fn time<M: Metric + Clone>(registry: &mut Registry, name: Name, metric: M) -> M {
    registry.register_with_unit(name.text(), name.help(), Unit::Seconds, metric.clone());
    metric
}

fn stages(registry: &mut Registry) -> [Histogram; Stage::ALL.len()] {
    let make = stage_histogram as fn() -> Histogram;
    let family = time(registry, Name::StageSeconds, Family::new_with_constructor(make));
    Stage::ALL.map(|stage| family.get_or_create_owned(&StageLabels { stage: stage.word() }))
}

/// Until the first reload the configuration of the start is in use: nothing to alert anybody of.
fn in_use(gauge: Gauge) -> Gauge {
    gauge.set(1);
    gauge
}

pub(super) fn yes_no(flag: bool) -> String {
    if flag { "true" } else { "false" }.to_owned()
}

impl Metrics {
    /// Counts something that happened.
    pub fn record(&self, event: Event<'_>) {
        match event {
            Event::KeysFetched { provider, ok } => {
                let labels = vec![("provider", provider.to_owned()), ("ok", yes_no(ok))];
                self.key_fetches.get_or_create(&labels).inc();
            }
            Event::TokenCache { hit } => {
                let hit = if hit { "true" } else { "false" };
                self.token_cache.get_or_create(&HitLabels { hit }).inc();
            }
            Event::Ejected { cluster, endpoint } => {
                self.ejections.get_or_create(&endpoint_labels(cluster, endpoint)).inc();
            }
            Event::Retried { cluster } => {
                self.retries.get_or_create(&cluster_label(cluster)).inc();
            }
            Event::RetryBudgetSpent { cluster } => {
                self.retries_refused.get_or_create(&cluster_label(cluster)).inc();
            }
            Event::Resolved { cluster, ok } => {
                let labels = vec![("cluster", cluster.to_owned()), ("ok", yes_no(ok))];
                self.resolutions.get_or_create(&labels).inc();
            }
            Event::UpstreamCall { cluster, status, seconds } => {
                let cluster = NameLabel(Arc::clone(cluster));
                let labels = CallLabels { cluster: cluster.clone(), status: status_class(status) };
                self.upstream_calls.get_or_create(&labels).inc();
                self.upstream_seconds.get_or_create(&ClusterLabels { cluster }).observe(seconds);
            }
            Event::Part { route, part, ok } => {
                let labels = vec![
                    ("route", route.to_owned()),
                    ("part", part.to_owned()),
                    ("ok", yes_no(ok)),
                ];
                self.parts.get_or_create(&labels).inc();
            }
            Event::Quota { rule, outcome } => {
                let rule = NameLabel(Arc::clone(rule));
                self.quota.get_or_create(&QuotaLabels { rule, outcome: outcome.word() }).inc();
            }
            Event::Journal(event) => self.journal.record(event),
            Event::Claimed { reason } => {
                let labels = vec![("reason", reason.word().to_owned())];
                self.claims.get_or_create(&labels).inc();
            }
            Event::Forwarded { outcome } => self.forwarded(outcome),
            Event::ForwardAnswered { seconds } => {
                self.forwarded(ForwardOutcome::Answered);
                self.forward_seconds.observe(seconds);
            }
            Event::Vault { operation } => {
                let operation = operation.word();
                self.vault.get_or_create(&OperationLabels { operation }).inc();
            }
            Event::CacheFeed(event) => self.cache_feed.record(event),
            Event::Reload { ok } => {
                self.reloads.get_or_create(&vec![("ok", yes_no(ok))]).inc();
                self.last_reload_ok.set(ok.into());
            }
            Event::Upgrade { ok } => {
                self.upgrades.get_or_create(&vec![("ok", yes_no(ok))]).inc();
            }
            Event::AccessLogDropped => {
                self.access_log_dropped.inc();
            }
            Event::ListenerRefused { reason } => {
                let labels = vec![("reason", reason.to_owned())];
                self.listener_refusals.get_or_create(&labels).inc();
            }
            Event::Panicked => {
                self.panics.inc();
            }
        }
    }

    fn forwarded(&self, outcome: ForwardOutcome) {
        let labels = vec![("outcome", outcome.word().to_owned())];
        self.forwarded.get_or_create(&labels).inc();
    }

    /// A request began; it is in progress until the guard is dropped, however it ends.
    pub fn request_started(&self) -> InProgress {
        self.in_progress.inc();
        InProgress(self.in_progress.clone())
    }

    /// Requests in progress.
    pub fn in_progress(&self) -> i64 {
        self.in_progress.get()
    }

    /// A request ended.
    pub fn request_finished(&self, exchange: &Exchange<'_>) {
        self.requests.get_or_create(&RequestLabels::of(exchange)).inc();
        self.request_seconds.get_or_create(&RouteLabels::of(exchange)).observe(exchange.seconds);
        if let Some(problem) = exchange.problem {
            self.refusals.get_or_create(&RefusalLabels { r#type: problem }).inc();
        }
        for (stage, seconds) in exchange.stages.iter() {
            if let Some(histogram) = self.stage_seconds.get(stage as usize) {
                histogram.observe(seconds);
            }
        }
    }

    /// All that was counted, in OpenMetrics text format.
    pub fn exposition(&self) -> String {
        self.exposition_with(&Moment::default())
    }

    /// The same with what was looked up just now.
    pub fn exposition_with(&self, moment: &Moment) -> String {
        let mut text = String::new();
        // Writing into a String can't fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &moment.registry());
        let _ = encode_eof(&mut text);
        text
    }
}

/// A request in progress.
#[derive(Debug)]
#[must_use = "the request counts as ended when this is dropped"]
pub struct InProgress(Gauge);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn cluster_label(cluster: &str) -> Labels {
    vec![("cluster", cluster.to_owned())]
}

fn endpoint_labels(cluster: &str, endpoint: &str) -> Labels {
    vec![("cluster", cluster.to_owned()), ("endpoint", endpoint.to_owned())]
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Source;
    use crate::observe::stage::times;
    use crate::request::RouteId;

    fn exchange(method: &'static str) -> Exchange<'static> {
        let route: &'static RouteId = Box::leak(Box::new(RouteId::new("summary")));
        Exchange {
            method,
            route: Some(route),
            status: 429,
            source: Source::Gateway,
            problem: Some("quota-exceeded"),
            seconds: 0.002,
            stages: times(Stage::Quota, 0.001),
            ..Exchange::default()
        }
    }

    #[test]
    fn a_finished_request_is_counted_under_its_route_and_refusal() {
        let metrics = Metrics::default();
        drop(metrics.request_started());
        metrics.request_finished(&exchange("GET"));
        let text = metrics.exposition();
        for line in [
            r#"tollgate_requests_total{route="summary",method="GET",status="429",source="gateway",arrival="client"} 1"#,
            r#"tollgate_refusals_total{type="quota-exceeded"} 1"#,
            "tollgate_requests_in_progress 0",
        ] {
            assert!(text.contains(line), "{line} is missing from\n{text}");
        }
    }

    #[test]
    fn a_made_up_method_makes_no_series_of_its_own() {
        let metrics = Metrics::default();
        metrics.request_finished(&exchange("BREW"));
        assert!(!metrics.exposition().contains("BREW"));
    }
}
