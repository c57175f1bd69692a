//! Opening: waits for Kafka, and looks whether the topic is what the configuration says.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::Context;
use super::health::Health;
use crate::config::model;
use crate::journal::JournalError;

/// Between attempts to ask.
const RETRY: Duration = Duration::from_millis(250);
/// How long to listen for reasons.
const LISTEN: Duration = Duration::from_millis(10);
/// One question.
const ASK: Duration = Duration::from_secs(3);
/// How long a topic may be missing.
const SETTLE: Duration = Duration::from_secs(3);
/// Between lines that say that it waits.
const REPORT: Duration = Duration::from_secs(5);

/// Looks whether the files of certificates can be read: librdkafka's errors don't name them.
pub(super) fn look_for_files(settings: &model::Kafka) -> Result<(), JournalError> {
    let Some(tls) = &settings.tls else { return Ok(()) };
    let client = tls.client.iter().flat_map(|(certificate, key)| [certificate, key]);
    for path in tls.authorities.iter().chain(client) {
        File::open(path).map_err(|error| {
            JournalError::KafkaClient(format!("{} can't be read: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// Waits until Kafka answers, as long as the patience lasts, and looks at the quota topic. A
/// gateway and its Kafka are often started together, in any order.
pub(super) fn wait_for_topic(
    settings: &model::Kafka,
    consumer: &BaseConsumer<Context>,
    health: &Arc<Health>,
    patience: Duration,
) -> Result<(), JournalError> {
    let topic = settings.topic(model::Topic::Quotas);
    let started = Instant::now();
    let mut reported = started;
    loop {
        let problem = match consumer.fetch_metadata(Some(&topic), ASK) {
            Ok(metadata) => match metadata.topics().first() {
                Some(found) => match found.error().map(RDKafkaErrorCode::from) {
                    None => return count(settings, topic, found.partitions().len()),
                    Some(code) => match about_topic(settings, &topic, code) {
                        // A topic that was made just now may not be known everywhere.
                        Err(JournalError::NoTopic { .. }) if started.elapsed() < SETTLE => {
                            code.to_string()
                        }
                        other => other?,
                    },
                },
                None => "Kafka said nothing about the topic".to_owned(),
            },
            Err(error) => about_brokers(&error),
        };
        // Reasons and logs come by polling.
        while consumer.poll(LISTEN).is_some() {}
        let problem = health.reason().unwrap_or(problem);
        if started.elapsed() >= patience {
            return Err(JournalError::Unreachable {
                brokers: settings.brokers.join(","),
                seconds: started.elapsed().as_secs(),
                reason: problem,
            });
        }
        if reported.elapsed() >= REPORT || reported == started {
            reported = Instant::now();
            let brokers = settings.brokers.join(",");
            tracing::warn!(brokers, topic, problem, "waiting for Kafka");
        }
        std::thread::sleep(RETRY);
    }
}

fn count(settings: &model::Kafka, topic: String, found: usize) -> Result<(), JournalError> {
    let asked = settings.partitions;
    if u32::try_from(found) == Ok(asked) {
        return Ok(());
    }
    Err(JournalError::TopicPartitions { topic, found, asked })
}

/// What is not as it should be for now. An error is one that waiting doesn't mend.
fn about_topic(
    settings: &model::Kafka,
    topic: &str,
    code: RDKafkaErrorCode,
) -> Result<String, JournalError> {
    let topic = topic.to_owned();
    match code {
        RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
            Err(JournalError::NoTopic { topic, partitions: settings.partitions })
        }
        RDKafkaErrorCode::TopicAuthorizationFailed => Err(JournalError::Forbidden { topic }),
        other => Ok(other.to_string()),
    }
}

fn about_brokers(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
