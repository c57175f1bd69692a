use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::statistics::Statistics;
use crate::observe::{Event, JournalEvent, Metrics};

/// How long a write that was not confirmed counts as trouble, if none is confirmed meanwhile.
const UNCONFIRMED: Duration = Duration::from_secs(30);

/// How Kafka is doing, as its clients see it.
pub(crate) struct Health {
    brokers: String,
    topic: String,
    metrics: Arc<Metrics>,
    troubled: AtomicBool,
    state: Mutex<State>,
    clock_ahead: AtomicI64,
}

#[derive(Default)]
struct State {
    unreachable: bool,
    /// When a write was last not confirmed, and why.
    unconfirmed: Option<(Instant, String)>,
    /// When that was last said in the log.
    told: Option<Instant>,
    /// What a client last complained of.
    reason: Option<String>,
}

impl Health {
    pub fn new(brokers: String, topic: String, metrics: Arc<Metrics>) -> Arc<Self> {
        let (troubled, state, clock_ahead) = Default::default();
        Arc::new(Self { brokers, topic, metrics, troubled, state, clock_ahead })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client complained; the words go into what an operator is told.
    pub fn note(&self, reason: &str) {
        tracing::debug!(reason, "a Kafka client complained");
        self.state().reason = Some(reason.to_owned());
    }

    /// What a client last complained of.
    pub fn reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    /// No broker can be reached.
    pub fn all_down(&self) {
        let news = !std::mem::replace(&mut self.state().unreachable, true);
        self.troubled.store(true, Ordering::Release);
        if news && let Some(trouble) = self.trouble() {
            tracing::error!("{trouble}");
        }
    }

    /// A write was not confirmed.
    pub fn unconfirmed(&self, reason: &str) {
        let now = Instant::now();
        let mut state = self.state();
        state.unconfirmed = Some((now, reason.to_owned()));
        self.troubled.store(true, Ordering::Release);
        // Every request may bring one.
        if state.told.is_none_or(|told| now.duration_since(told) >= UNCONFIRMED) {
            state.told = Some(now);
            tracing::error!(topic = self.topic, reason, "a write to Kafka was not confirmed");
        }
    }

    /// A record that was sent and confirmed at these times, by this machine's clock, has this
    /// date by Kafka's; all in milliseconds. It was made in between, so what lies outside of that is
    /// by how much the clocks differ at least.
    pub fn dated(&self, sent: i64, confirmed: i64, date: i64) {
        let ahead = (sent.saturating_sub(date)).max(0) + (confirmed.saturating_sub(date)).min(0);
        self.clock_ahead.store(ahead, Ordering::Relaxed);
        let seconds = ahead as f64 / 1e3;
        self.metrics.record(Event::Journal(JournalEvent::ClockAhead { seconds }));
    }

    /// Milliseconds, at least; negative: behind.
    pub fn clock_ahead(&self) -> i64 {
        self.clock_ahead.load(Ordering::Relaxed)
    }

    /// A write was confirmed.
    pub fn confirmed(&self) {
        if self.troubled.load(Ordering::Acquire) {
            self.state().unconfirmed = None;
            self.reached();
        }
    }

    /// A broker answered.
    pub fn reached(&self) {
        if !self.troubled.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.state();
        let was = std::mem::replace(&mut state.unreachable, false);
        if state.unconfirmed.is_none() {
            self.troubled.store(false, Ordering::Release);
        }
        if was {
            state.reason = None;
            tracing::info!(brokers = self.brokers, "Kafka can be reached again");
        }
    }

    /// What is wrong, in words for an operator.
    pub fn trouble(&self) -> Option<String> {
        if !self.troubled.load(Ordering::Acquire) {
            return None;
        }
        let state = self.state();
        let reason =
            state.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        if state.unreachable {
            return Some(format!("no Kafka broker of {} can be reached{reason}", self.brokers));
        }
        let recent = state.unconfirmed.as_ref().filter(|(since, _)| since.elapsed() < UNCONFIRMED);
        recent.map(|(_, why)| {
            format!("Kafka does not confirm writes to topic {}: {why}{reason}", self.topic)
        })
    }

    /// Takes what is wanted out of a client's statistics: whether it is connected, and how far it
    /// is behind.
    pub fn statistics(&self, json: &[u8]) {
        let statistics = match Statistics::read(json) {
            Ok(statistics) => statistics,
            Err(error) => {
                tracing::debug!(%error, "a Kafka client's statistics can't be read");
                return;
            }
        };
        if statistics.is_connected() {
            self.reached();
        }
        for (partition, numbers) in statistics.partitions(&self.topic) {
            if let Ok(records) = u64::try_from(numbers.consumer_lag) {
                self.metrics.record(Event::Journal(JournalEvent::Lag { partition, records }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Arc<Health> {
        Health::new("one:9092".into(), "t.quotas".into(), Arc::default())
    }

    #[test]
    fn an_outage_is_told_with_its_reason_until_a_broker_answers() {
        let health = health();
        assert_eq!(health.trouble(), None);
        health.note("Connection refused");
        health.all_down();
        let trouble = health.trouble().unwrap();
        assert_eq!(trouble, "no Kafka broker of one:9092 can be reached (Connection refused)");
        health.statistics(br#"{"brokers":{"a":{"state":"DOWN"}},"topics":{}}"#);
        assert!(health.trouble().is_some());
        health.statistics(br#"{"brokers":{"a":{"state":"UP"}},"topics":{}}"#);
        assert_eq!(health.trouble(), None);
    }

    #[test]
    fn a_connection_is_no_proof_that_writes_are_confirmed() {
        let health = health();
        health.unconfirmed("too slow");
        health.reached();
        let trouble = health.trouble().unwrap();
        assert_eq!(trouble, "Kafka does not confirm writes to topic t.quotas: too slow");
        health.confirmed();
        assert_eq!(health.trouble(), None);
    }

    #[test]
    fn clocks_differ_by_what_no_delay_explains() {
        let health = health();
        let ahead = |sent, confirmed, date| {
            health.dated(sent, confirmed, date);
            health.clock_ahead()
        };
        assert_eq!(ahead(100, 900, 500), 0);
        assert_eq!(ahead(700, 900, 500), 200);
        assert_eq!(ahead(100, 200, 500), -300);
        let text = health.metrics.exposition();
        assert!(text.contains("tollgate_clock_ahead_seconds -0.3"), "{text}");
    }

    #[test]
    fn lag_is_shown_by_partition() {
        let health = health();
        health.statistics(
            br#"{"brokers":{},"topics":{"t.quotas":{"partitions":{
                "3":{"consumer_lag":17},"-1":{"consumer_lag":-1}}}}}"#,
        );
        let text = health.metrics.exposition();
        assert!(text.contains(r#"tollgate_journal_lag{partition="3"} 17"#), "{text}");
    }
}
