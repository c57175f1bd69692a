//! What this gateway may do. Kafka has no question for that which every user may ask, so it is
//! tried, in ways that leave nothing behind: reading at a topic's end, writing what a compacted
//! topic refuses only after it has looked at permissions, storing an offset that nobody uses.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};

use super::found::{Found, Present};
use super::mend::Tools;
use super::session::{Notes, client_error, consumer, producer_config};
use super::wanted::Wanted;
use super::{Finding, Severity, TopicsError, is_denied};
use crate::config::model::{Kafka, Topic};

/// One try.
const TRY: Duration = Duration::from_secs(10);
/// One question within a try.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Between looks at what came.
const LOOK: Duration = Duration::from_millis(50);

/// What a try came to.
enum Tried {
    Allowed,
    Denied,
    /// Something else went wrong.
    Unclear(String),
}

/// Tries what a gateway does with a topic.
pub(super) fn topic(
    kafka: &Kafka,
    wanted: &Wanted,
    found: &Found,
    tools: &Tools,
) -> Result<Vec<Finding>, TopicsError> {
    let writes = wanted.topic != Topic::AccountChanges;
    let mut findings = Vec::new();
    let mut note = |operation: &str, tried: &Tried| {
        let resource = format!("--topic {}", wanted.name);
        findings.extend(finding(&wanted.name, operation, &resource, tried, tools));
    };
    match found {
        Found::Missing => {}
        // Who may write may also see that the topic is there.
        Found::Denied { .. } if writes => note("Write", &Tried::Denied),
        Found::Denied { .. } => {}
        Found::There(present) => {
            note("Read", &read(kafka, &wanted.name)?);
            if writes && refuses_records_without_key(present) {
                let tried = write(&producer_config(kafka, false), &wanted.name)?;
                note("Write", &tried);
                if matches!(tried, Tried::Allowed) && wanted.topic == Topic::Quotas {
                    let tried = write(&producer_config(kafka, true), &wanted.name)?;
                    let cluster = "the cluster";
                    findings.extend(finding(
                        cluster,
                        "IdempotentWrite",
                        "--cluster",
                        &tried,
                        tools,
                    ));
                }
            }
        }
    }
    Ok(findings)
}

/// Tries what a gateway does with the fleet's group.
pub(super) fn group(kafka: &Kafka, tools: &Tools) -> Result<Option<Finding>, TopicsError> {
    let tried = store_offset(kafka)?;
    let group = kafka.group();
    Ok(finding(&format!("group {group}"), "Read", &format!("--group {group}"), &tried, tools))
}

fn finding(
    subject: &str,
    operation: &str,
    resource: &str,
    tried: &Tried,
    tools: &Tools,
) -> Option<Finding> {
    let (found, why) = match tried {
        Tried::Allowed => return None,
        Tried::Denied => ("denied".to_owned(), "gateways can't do without".to_owned()),
        Tried::Unclear(reason) => (format!("not known ({reason})"), "it could not be tried".into()),
    };
    let denied = matches!(tried, Tried::Denied);
    Some(Finding {
        severity: Severity::Difference,
        subject: subject.to_owned(),
        what: operation.to_owned(),
        found,
        needed: "allowed".into(),
        why,
        command: denied.then(|| tools.allow(operation, resource)),
    })
}

fn tried(error: &KafkaError) -> Tried {
    match error.rdkafka_error_code() {
        Some(code) if is_denied(code) => Tried::Denied,
        _ => Tried::Unclear(error.to_string()),
    }
}

/// Reads at the end of the first partition: there is nothing, but a broker says so only to those
/// who may read.
fn read(kafka: &Kafka, topic: &str) -> Result<Tried, TopicsError> {
    let (consumer, _) = consumer(kafka)?;
    let mut place = TopicPartitionList::new();
    let assigned =
        place.add_partition_offset(topic, 0, Offset::End).and_then(|()| consumer.assign(&place));
    assigned.map_err(client_error)?;
    let until = Instant::now() + TRY;
    let mut last = Tried::Unclear("no answer".into());
    while Instant::now() < until {
        match consumer.poll(LOOK) {
            None => {}
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(Tried::Allowed),
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::TopicAuthorizationFailed) => return Ok(Tried::Denied),
                // Its turn comes later; a reader needs no group.
                Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {}
                _ => last = Tried::Unclear(error.to_string()),
            },
        }
    }
    Ok(last)
}

/// Whether what [`write`] sends is refused for certain. On any other topic it would stay.
fn refuses_records_without_key(present: &Present) -> bool {
    let policy = present.setting("cleanup.policy").unwrap_or_default();
    policy.split(',').any(|word| word.trim() == "compact")
}

/// Writes a record without a key, which a compacted topic never takes: `InvalidRecord` comes from
/// a broker that would have taken a right one.
fn write(config: &ClientConfig, topic: &str) -> Result<Tried, TopicsError> {
    let producer: FutureProducer = config.create().map_err(client_error)?;
    let record = FutureRecord::<(), [u8]>::to(topic).partition(0).payload(&[]);
    Ok(match block_on(producer.send(record, Timeout::After(TRY))) {
        Ok(_) => Tried::Allowed,
        Err((error, _)) => match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::InvalidRecord) => Tried::Allowed,
            _ => tried(&error),
        },
    })
}

/// Stores an offset for the group. While gateways are in it the broker refuses that too, after it
/// has looked at permissions; otherwise nobody asks for it, since gateways keep their own.
fn store_offset(kafka: &Kafka) -> Result<Tried, TopicsError> {
    let (consumer, _) = consumer(kafka)?;
    let mut place = TopicPartitionList::new();
    let topic = kafka.topic(Topic::AccountChanges);
    place.add_partition_offset(&topic, 0, Offset::Offset(0)).map_err(client_error)?;
    // Storing waits without end for a group that can't be found; so it is found first.
    let found = find_group(&consumer, &place);
    if !matches!(found, Tried::Allowed) {
        return Ok(found);
    }
    let Err(error) = consumer.commit(&place, CommitMode::Sync) else { return Ok(Tried::Allowed) };
    Ok(match error.rdkafka_error_code() {
        // The group was looked at before any of these.
        Some(
            RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::RebalanceInProgress
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopicOrPartition,
        ) => Tried::Allowed,
        _ => tried(&error),
    })
}

/// Asks for what the group has stored. Only members may know, or those who may describe it.
fn find_group(consumer: &BaseConsumer<Notes>, place: &TopicPartitionList) -> Tried {
    let until = Instant::now() + TRY;
    loop {
        let error = match consumer.committed_offsets(place.clone(), ATTEMPT) {
            Ok(_) => return Tried::Allowed,
            Err(error) => error,
        };
        let outcome = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Tried::Allowed,
            _ => tried(&error),
        };
        // That the group is denied comes as a report, and the answer not at all.
        let mut reports = std::iter::from_fn(|| consumer.poll(Duration::ZERO));
        let is_denied =
            reports.any(|report| report.is_err_and(|error| matches!(tried(&error), Tried::Denied)));
        match outcome {
            _ if is_denied => return Tried::Denied,
            Tried::Unclear(_) if Instant::now() < until => {}
            other => return other,
        }
    }
}
