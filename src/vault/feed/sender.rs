use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext,
    ThreadedProducer,
};
use rdkafka::{ClientContext, Message as _};

use super::Feed;
use super::codec::{AROUND_ANSWER, answer_key, answer_value, purge_value};
use super::owed::{Owed, Sending};
use super::position::Source;
use super::reader::ANSWER;
use crate::config::model::Kafka;
use crate::journal::kafka::client::{client_config, log, millis, partition_number, words};
use crate::observe::{CacheFeedEvent, CacheFeedSent, Event, Metrics};
use crate::vault::key::Place;

/// Bytes that wait for Kafka at most, so that memory is bounded however long it is away. What does
/// not fit is not sent.
const QUEUE_BYTES: usize = 32 << 20;
/// What Kafka writes around a record in a batch, at most.
const AROUND_RECORD: usize = 128;

/// Sends what this gateway filled and purged to the topic, without anybody waiting for it.
pub(super) struct Sender {
    /// Taken only when it is dropped.
    producer: Option<ThreadedProducer<Deliveries>>,
    topic: String,
    bound: usize,
    deliveries: Deliveries,
}

/// What becomes of records on their way.
#[derive(Clone)]
struct Deliveries {
    owed: Arc<Mutex<Owed>>,
    metrics: Arc<Metrics>,
}

/// What a record on its way is; a purge is reported to those who wait for it.
enum Sent {
    Answer,
    Purge(Sending),
}

impl Sender {
    /// `bound` is the largest record that the topic takes, in bytes.
    pub(super) fn new(
        kafka: &Kafka,
        topic: String,
        bound: usize,
        owed: Arc<Mutex<Owed>>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, KafkaError> {
        let deliveries = Deliveries { owed, metrics };
        let config = config(kafka, bound);
        let producer = Some(config.create_with_context(deliveries.clone())?);
        Ok(Self { producer, topic, bound, deliveries })
    }

    /// After such an error a producer never works again.
    pub(super) fn has_failed(&self) -> bool {
        self.producer.as_ref().is_some_and(|producer| producer.client().fatal_error().is_some())
    }

    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    pub(super) fn answer(&self, partition: u32, place: &Place, base: u64, record: &[u8]) {
        if record.len() + AROUND_ANSWER + AROUND_RECORD > self.bound {
            return self.deliveries.count(CacheFeedSent::Oversized);
        }
        let (key, value) = (answer_key(place), answer_value(base, record));
        if let Err(error) = self.send(partition, &key, &value, Sent::Answer) {
            self.deliveries.count(outcome(&error));
        }
    }

    pub(super) fn purge(&self, sending: Sending) {
        let (partition, key) = (sending.partition, sending.key.clone());
        let value = purge_value(&sending.number);
        let sent = Sent::Purge(sending.clone());
        if let Err(error) = self.send(partition, &key, &value, sent) {
            self.deliveries.count(outcome(&error));
            self.deliveries.owed().late(&sending);
        }
    }

    fn send(&self, partition: u32, key: &[u8], value: &[u8], sent: Sent) -> Result<(), KafkaError> {
        let Some(producer) = &self.producer else { return Err(KafkaError::Canceled) };
        let partition = partition_number(partition);
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(sent));
        let record = record.partition(partition).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error)
    }

    /// Waits until all that was sent is delivered or given up, but not long.
    pub(super) fn flush(&self, patience: Duration) {
        if let Some(producer) = &self.producer
            && let Err(error) = producer.flush(patience)
        {
            tracing::warn!(%error, "Kafka did not take all that the account cache has to send");
        }
    }
}

fn config(kafka: &Kafka, bound: usize) -> ClientConfig {
    let mut config = client_config(kafka, "cache-writer");
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "1")
        // What is sealed can't be made smaller.
        .set("compression.type", "none")
        .set("message.max.bytes", bound.to_string())
        .set("message.timeout.ms", millis(kafka.delivery_timeout))
        .set("queue.buffering.max.kbytes", (QUEUE_BYTES.max(2 * bound) / 1024).to_string());
    config
}

/// The library waits for its threads, which must not hold up the one that drops it.
impl Drop for Sender {
    fn drop(&mut self) {
        let producer = self.producer.take();
        // Without a thread it is dropped here.
        let _ = thread::Builder::new().name("kafka-close".into()).spawn(move || drop(producer));
    }
}

fn outcome(error: &KafkaError) -> CacheFeedSent {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => CacheFeedSent::QueueFull,
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => CacheFeedSent::Oversized,
        _ => CacheFeedSent::Undelivered,
    }
}

impl Deliveries {
    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, outcome: CacheFeedSent) {
        self.metrics.record(Event::CacheFeed(CacheFeedEvent::Sent(outcome)));
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the account cache's producer complained");
    }
}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        match (result, *sent) {
            (Ok(delivered), Sent::Purge(sending)) => {
                self.count(CacheFeedSent::Delivered);
                let offset = u64::try_from(delivered.offset()).unwrap_or_default();
                let at = (sending.partition, offset);
                self.owed().written(sending.target, sending.number, at);
            }
            (Ok(_), Sent::Answer) => {
                self.count(CacheFeedSent::Delivered);
                self.owed().set_away(false);
            }
            (Err((error, _)), Sent::Purge(sending)) => {
                self.count(outcome(error));
                tracing::debug!(%error, "Kafka did not take a purge");
                self.owed().late(&sending);
            }
            (Err((error, _)), Sent::Answer) => {
                self.count(outcome(error));
                tracing::debug!(%error, "Kafka did not take an answer");
                // One that is too large says nothing about others.
                if outcome(error) == CacheFeedSent::Undelivered {
                    self.owed().set_away(true);
                }
            }
        }
    }
}

/// What Kafka's own default lets through, where the topic's bound can't be asked for.
const USUAL_BOUND: usize = 1_048_588;

impl Feed {
    /// What is to be sent needs a bound that only the topic knows.
    pub(super) fn provide_sender(&self) {
        if self.sender.load().is_some() {
            return;
        }
        let topic = self.topic(Source::Answers);
        let bound = self.bound(&topic).unwrap_or_else(|error| {
            tracing::warn!(
                topic, %error,
                "the largest record that the topic takes can't be asked for; assuming Kafka's default"
            );
            USUAL_BOUND
        });
        self.renew_sender(bound);
    }

    fn bound(&self, topic: &str) -> Result<usize, String> {
        let client: AdminClient<DefaultClientContext> =
            client_config(&self.kafka, "cache-admin").create().map_err(|e| words(&e))?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = block_on(client.describe_configs(&asked, &options)).map_err(|e| words(&e))?;
        let answer = answers.into_iter().next().ok_or("there is no answer")?;
        let settings = answer.map_err(|code| code.to_string())?;
        let bound = settings.get("max.message.bytes").and_then(|entry| entry.value.as_ref());
        bound.and_then(|bound| bound.parse().ok()).ok_or_else(|| "it is not told".to_owned())
    }

    /// Makes a producer, in place of one that failed for good.
    pub(super) fn renew_sender(&self, bound: usize) {
        let topic = self.topic(Source::Answers);
        let (owed, metrics) = (self.owed.clone(), self.metrics.clone());
        match Sender::new(&self.kafka, topic, bound, owed, metrics) {
            Ok(sender) => self.sender.store(Some(Arc::new(sender))),
            Err(error) => self.standing.failed(Source::Answers, words(&error)),
        }
    }
}
