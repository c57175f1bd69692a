//! The topics while a gateway serves: an administrator may change what was right at its start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Finding, PATIENCE, TopicsError, refuse_unsafe, unsafe_text};
use crate::config::model::Config;
use crate::observe::{Event, JournalEvent, Metrics};

/// Between looks. Kafka removes records long after a change that lets it, and each look costs
/// brokers some connections of every gateway.
pub const EVERY: Duration = Duration::from_secs(600);

/// Looks at the topics from time to time, and remembers with what of them counts are not exact.
#[derive(Debug)]
pub struct Watch {
    metrics: Arc<Metrics>,
    findings: Mutex<Vec<Finding>>,
    asked: Notify,
}

impl Watch {
    /// One that has found nothing yet: a gateway does not start on topics that are unsafe.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, findings: Mutex::default(), asked: Notify::new() }
    }

    /// What was unsafe when Kafka was last asked, each with the command that mends it.
    pub fn findings(&self) -> Vec<String> {
        self.last().iter().map(Finding::to_string).collect()
    }

    /// Looks at once, whatever the time: somebody may have mended something.
    pub fn look_soon(&self) {
        self.asked.notify_one();
    }

    /// Looks by the configuration of the moment, until it is dropped.
    pub async fn look_for_ever(&self, every: Duration, config: impl Fn() -> Arc<Config>) {
        loop {
            // An error is the time that is over.
            let _ = timeout(every, self.asked.notified()).await;
            self.look(config()).await;
        }
    }

    async fn look(&self, config: Arc<Config>) {
        let looked = spawn_blocking(move || refuse_unsafe(&config, PATIENCE)).await;
        match looked {
            Ok(Ok(_)) => self.found(Vec::new()),
            Ok(Err(TopicsError::Unsafe(findings))) => self.found(findings),
            // What was found before may still be so.
            Ok(Err(error)) => tracing::warn!(%error, "Kafka's topics can't be looked at"),
            Err(error) => tracing::error!(%error, "the look at Kafka's topics broke off"),
        }
    }

    /// Told once, not at every look.
    fn found(&self, findings: Vec<Finding>) {
        let unsafe_topics = JournalEvent::UnsafeTopics { findings: findings.len() };
        self.metrics.record(Event::Journal(unsafe_topics));
        let mut last = self.last();
        if *last == findings {
            return;
        }
        if findings.is_empty() {
            tracing::info!("Kafka's topics are again such that counts are exact");
        } else {
            tracing::error!("{}", unsafe_text(&findings));
        }
        *last = findings;
    }

    fn last(&self) -> MutexGuard<'_, Vec<Finding>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::kafka::topics::Severity;

    #[test]
    fn what_is_unsafe_is_told_and_counted_until_it_is_mended() {
        let metrics = Arc::<Metrics>::default();
        let watch = Watch::new(metrics.clone());
        let is_counted = |number: usize| {
            let line = format!("tollgate_kafka_unsafe_findings {number}\n");
            assert!(metrics.exposition().contains(&line), "{}", metrics.exposition());
        };
        is_counted(0);
        watch.found(vec![Finding {
            severity: Severity::Unsafe,
            subject: "t.quotas".into(),
            what: "retention.ms".into(),
            found: "3600000".into(),
            needed: "at least 108000000".into(),
            why: "a count that is removed too early is admitted again".into(),
            command: Some("kafka-configs.sh --alter".into()),
        }]);
        is_counted(1);
        let told = watch.findings().join("\n");
        assert!(told.contains("t.quotas: retention.ms is 3600000"), "{told}");
        assert!(told.ends_with("mend: kafka-configs.sh --alter"), "{told}");
        watch.found(Vec::new());
        is_counted(0);
        assert_eq!(watch.findings(), Vec::<String>::new());
    }
}
