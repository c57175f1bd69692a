//! A connection to Kafka with a user who waits for the answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::found::{Found, Present, Settings};
use super::wanted::Wanted;
use super::{Made, TopicsError, is_denied};
use crate::config::model::{Kafka, Topic};
use crate::journal::kafka::client::{client_config, reader_config};

/// One question.
const ASK: Duration = Duration::from_secs(10);
/// One attempt to connect, after which the client is asked what it complained of.
const ATTEMPT: Duration = Duration::from_millis(1000);
/// Between attempts.
const RETRY: Duration = Duration::from_millis(100);
/// Until all brokers have heard of a new topic.
const NEWS: Duration = Duration::from_secs(2);
/// Until a new topic is led.
const NEW_TOPIC: Duration = Duration::from_secs(30);
/// How long to listen for reports of a client.
const LISTEN: Duration = Duration::from_millis(10);

/// Clients that are connected.
pub(super) struct Session {
    consumer: BaseConsumer<Notes>,
    admin: AdminClient<DefaultClientContext>,
}

/// What a client last complained of.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Option<Complaint>>>);

type Complaint = (Option<RDKafkaErrorCode>, String);

impl Notes {
    fn note(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        let complaint = (code, reason.to_owned());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(complaint);
    }

    fn last(&self) -> Option<Complaint> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Notes {
    /// A connection that ends without a word is only logged, with what may be the reason.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
        if facility == "FAIL" && self.last().is_none_or(|(code, _)| code.is_none()) {
            // The name of a thread stands first.
            self.note(None, message.split_once("]: ").map_or(message, |(_, said)| said));
        }
    }

    /// "All brokers down" says less than what came before it.
    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.note(code, reason);
        }
    }
}

impl ConsumerContext for Notes {}

/// A consumer that reports to its notes.
pub(super) fn consumer(kafka: &Kafka) -> Result<(BaseConsumer<Notes>, Notes), TopicsError> {
    let notes = Notes::default();
    let consumer = reader_config(kafka, "check").create_with_context(notes.clone());
    Ok((consumer.map_err(client_error)?, notes))
}

/// What a producer's settings are beside those of all clients.
pub(super) fn producer_config(kafka: &Kafka, idempotent: bool) -> ClientConfig {
    let mut config = client_config(kafka, "check");
    config
        .set("acks", "all")
        .set("enable.idempotence", idempotent.to_string())
        .set("linger.ms", "0")
        .set("message.timeout.ms", ASK.as_millis().to_string());
    config
}

pub(super) fn client_error(error: KafkaError) -> TopicsError {
    TopicsError::Client(error.to_string())
}

impl Session {
    /// Connects. A login that is refused ends it at once, anything else when the patience does.
    pub fn open(kafka: &Kafka, patience: Duration) -> Result<Self, TopicsError> {
        let (consumer, notes) = consumer(kafka)?;
        let topic = kafka.topic(Topic::Quotas);
        let started = Instant::now();
        loop {
            let left = patience.saturating_sub(started.elapsed()).max(LISTEN);
            let asked = consumer.fetch_metadata(Some(&topic), ATTEMPT.min(left));
            let Err(error) = asked else { break };
            // Reasons come by polling.
            while consumer.poll(LISTEN).is_some() {}
            let brokers = kafka.brokers.join(",");
            let (code, reason) = notes.last().unwrap_or_else(|| (None, error.to_string()));
            if code == Some(RDKafkaErrorCode::Authentication) {
                return Err(TopicsError::Login { brokers, reason });
            }
            if started.elapsed() >= patience {
                let seconds = patience.as_secs();
                return Err(TopicsError::Unreachable { brokers, seconds, reason });
            }
            std::thread::sleep(RETRY);
        }
        let admin = client_config(kafka, "admin").create().map_err(client_error)?;
        Ok(Self { consumer, admin })
    }

    fn metadata(&self, topic: &str) -> Result<Metadata, TopicsError> {
        self.consumer.fetch_metadata(Some(topic), ASK).map_err(|error| TopicsError::Unanswered {
            what: format!("topic {topic}"),
            reason: error.to_string(),
        })
    }

    /// Looks at a topic. A broker may hear of a new one a little later than others.
    pub fn look(&self, wanted: &Wanted) -> Result<Found, TopicsError> {
        let started = Instant::now();
        loop {
            let found = self.glance(wanted)?;
            if !matches!(found, Found::Missing) || started.elapsed() > NEWS {
                return Ok(found);
            }
            std::thread::sleep(RETRY);
        }
    }

    fn glance(&self, wanted: &Wanted) -> Result<Found, TopicsError> {
        let name = wanted.name.as_str();
        let metadata = self.metadata(name)?;
        let Some(topic) = metadata.topics().first() else { return Ok(Found::Missing) };
        match topic.error().map(RDKafkaErrorCode::from) {
            None | Some(RDKafkaErrorCode::LeaderNotAvailable) => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Ok(Found::Missing);
            }
            Some(code) if is_denied(code) => {
                let settings = self.settings(name);
                let settings_too = settings.is_ok_and(|found| matches!(found, Settings::Denied));
                return Ok(Found::Denied { settings_too });
            }
            Some(code) => {
                let what = format!("topic {name}");
                return Err(TopicsError::Unanswered { what, reason: code.to_string() });
            }
        }
        let mut partitions: Vec<_> = topic.partitions().iter().collect();
        partitions.sort_by_key(|partition| partition.id());
        let mut present = Present {
            brokers: metadata.brokers().iter().map(|broker| broker.id()).collect(),
            leaders: partitions.iter().map(|partition| partition.leader()).collect(),
            copies: partitions.iter().map(|partition| partition.replicas().to_vec()).collect(),
            settings: self.settings(name)?,
            is_empty: false,
        };
        present.brokers.sort_unstable();
        // Only a wrong number of partitions makes it worth to ask each of them.
        let count = present.leaders.len();
        if count != wanted.partitions as usize {
            present.is_empty = (0..count).all(|number| self.is_empty(name, number));
        }
        Ok(Found::There(present))
    }

    fn is_empty(&self, topic: &str, partition: usize) -> bool {
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        let ends = self.consumer.fetch_watermarks(topic, number, ASK);
        ends.is_ok_and(|(_, end)| end == 0)
    }

    fn settings(&self, topic: &str) -> Result<Settings, TopicsError> {
        let what = || format!("the settings of topic {topic}");
        let unanswered = |reason| TopicsError::Unanswered { what: what(), reason };
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = block_on(self.admin.describe_configs(&asked, &options()))
            .map_err(|error| unanswered(error.to_string()))?;
        match answers.into_iter().next() {
            // The client hides that it is denied. No topic is without settings.
            Some(Ok(resource)) if resource.entries.is_empty() => Ok(Settings::Denied),
            Some(Ok(resource)) => {
                let entries = resource.entries.into_iter();
                let known = entries.filter_map(|entry| Some((entry.name, entry.value?)));
                Ok(Settings::Known(known.collect()))
            }
            Some(Err(code)) => Err(unanswered(code.to_string())),
            None => Err(unanswered("an empty answer".into())),
        }
    }

    /// Makes a topic, and waits until it is known and led.
    pub fn create(&self, wanted: &Wanted) -> Result<Made, TopicsError> {
        let partitions = i32::try_from(wanted.partitions).unwrap_or(i32::MAX);
        let replication = TopicReplication::Fixed(wanted.replication.into());
        let mut topic = NewTopic::new(&wanted.name, partitions, replication);
        for setting in &wanted.settings {
            topic = topic.set(setting.name, &setting.value);
        }
        let made = block_on(self.admin.create_topics([&topic], &options()));
        let unanswered = |reason| {
            let what = format!("a new topic {}", wanted.name);
            TopicsError::Unanswered { what, reason }
        };
        let outcome = made.map_err(|error| unanswered(error.to_string()))?.into_iter().next();
        match outcome {
            Some(Ok(_)) => {
                self.wait_for(wanted)?;
                Ok(Made::Created)
            }
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(Made::AlreadyThere),
            Some(Err((_, code))) => Ok(Made::Failed(reason(code, wanted.replication))),
            None => Err(unanswered("an empty answer".into())),
        }
    }

    fn wait_for(&self, wanted: &Wanted) -> Result<(), TopicsError> {
        let started = Instant::now();
        loop {
            let metadata = self.metadata(&wanted.name)?;
            let led = metadata.topics().first().is_some_and(|topic| {
                topic.partitions().iter().filter(|one| one.leader() >= 0).count()
                    == wanted.partitions as usize
            });
            if led {
                return Ok(());
            }
            if started.elapsed() > NEW_TOPIC {
                let what = format!("the new topic {}", wanted.name);
                let reason = "its partitions have no leaders yet".into();
                return Err(TopicsError::Unanswered { what, reason });
            }
            std::thread::sleep(RETRY);
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ASK)).operation_timeout(Some(ASK))
}

fn reason(code: RDKafkaErrorCode, replication: u16) -> String {
    match code {
        RDKafkaErrorCode::InvalidReplicationFactor => {
            format!("there are fewer than {replication} brokers (`kafka.replication`)")
        }
        code if is_denied(code) => "this user may not create topics; an administrator can".into(),
        other => other.to_string(),
    }
}
