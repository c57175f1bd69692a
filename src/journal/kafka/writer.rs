//! Writing: one idempotent producer for all partitions, so that all that waits for one broker
//! goes in one request.

use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders, Timestamp};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::ACCOUNT_KEY;
use super::client::{Context, client_config, millis, partition_number, watermarks, words};
use super::health::Health;
use super::read_back::ReadBack;
use super::reader;
use crate::config::model;
use crate::journal::{JournalError, Offset, Record};
use crate::observe::{Event, JournalEvent, Metrics};
use crate::request::{Clock as _, SystemClock, UnixMillis};

/// Records that may wait to be sent or confirmed. More at once than any machine serves requests;
/// beyond it an append fails at once rather than late.
pub(super) const QUEUE: usize = 16_384;
/// How long a question about offsets may take.
const ASK: Duration = Duration::from_secs(5);

pub(super) struct Writer {
    topic: String,
    config: ClientConfig,
    account_key: Arc<str>,
    producer: RwLock<Arc<Producer>>,
    health: Arc<Health>,
    read_back: Arc<ReadBack>,
    metrics: Arc<Metrics>,
}

/// Dropped on a thread of its own: librdkafka waits for its threads.
struct Producer(Option<FutureProducer<Context>>);

impl Writer {
    pub fn new(
        settings: &model::Kafka,
        queue: usize,
        account_key: &Arc<str>,
        health: &Arc<Health>,
        read_back: &Arc<ReadBack>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, KafkaError> {
        let config = producer_config(settings, queue);
        let producer = Producer::new(&config, health)?;
        Ok(Self {
            topic: settings.topic(model::Topic::Quotas),
            config,
            account_key: Arc::clone(account_key),
            producer: RwLock::new(Arc::new(producer)),
            health: Arc::clone(health),
            read_back: Arc::clone(read_back),
            metrics: Arc::clone(metrics),
        })
    }

    pub async fn append(&self, partition: u32, record: &Record) -> Result<Offset, JournalError> {
        let started = Instant::now();
        let appended = self.send(partition, record, started).await;
        match &appended {
            Ok(_) => {
                self.health.confirmed();
                let seconds = started.elapsed().as_secs_f64();
                self.metrics
                    .record(Event::Journal(JournalEvent::Committed { records: 1, seconds }));
            }
            Err(error) => {
                let ambiguous = error.is_ambiguous();
                if ambiguous {
                    self.health.unconfirmed(&error.to_string());
                }
                self.metrics.record(Event::Journal(JournalEvent::AppendFailed { ambiguous }));
            }
        }
        appended
    }

    /// A partition's first offset and one past its last. Blocks. Asked here because the reader's
    /// connections are busy waiting for records.
    pub fn watermarks(&self, partition: u32) -> Result<(Offset, Offset), JournalError> {
        let number = partition_number(partition);
        let producer = self.producer();
        let (first, end) = watermarks(producer.get()?.client(), &self.topic, number, ASK)
            .map_err(|error| reader::cannot_read(partition, &error))?;
        let offset = |number| Offset::try_from(number).unwrap_or_default();
        Ok((offset(first), offset(end)))
    }

    async fn send(
        &self,
        partition: u32,
        record: &Record,
        started: Instant,
    ) -> Result<Offset, JournalError> {
        let number = partition_number(partition);
        let (key, bytes) = (record.key(), record.encode());
        let headers = self.headers(record);
        let probe = self.read_back.expect(partition, &key, started);
        let mut renewed = false;
        let sent = SystemClock.now();
        loop {
            let producer = self.producer();
            let mut record = FutureRecord::to(&self.topic)
                .partition(number)
                .key(key.as_bytes())
                .payload(bytes.as_slice());
            record.headers = headers.clone();
            let delivery = producer.get()?.send_result(record).map_err(|(error, _)| error);
            match delivery {
                Ok(delivery) => {
                    let delivered = delivery.await;
                    if !matches!(delivered, Ok(Ok(_))) {
                        self.renew_if_fatal(&producer);
                    }
                    return match delivered {
                        Ok(Ok(delivery)) => {
                            self.note_date(sent, delivery.timestamp);
                            offset(delivery.offset)
                        }
                        // It may have reached a broker in an earlier attempt, whatever the last
                        // one says.
                        Ok(Err((error, _))) => Err(JournalError::Unsure(self.reason(&error))),
                        Err(_) => Err(JournalError::Unsure("the producer was closed".to_owned())),
                    };
                }
                // It never left: a producer that failed for good takes nothing.
                Err(error) if !renewed && self.renew_if_fatal(&producer) => {
                    tracing::debug!(%error, "sent again by a new producer");
                    renewed = true;
                }
                Err(error) => {
                    self.read_back.forget(partition, probe);
                    return Err(JournalError::NotWritten(self.reason(&error)));
                }
            }
        }
    }

    /// Claims name the account key, so that no gateway with another one counts beside this fleet.
    /// Uses, which are many, have none.
    fn headers(&self, record: &Record) -> Option<OwnedHeaders> {
        let account_key = Header { key: ACCOUNT_KEY, value: Some(&*self.account_key) };
        matches!(record, Record::Claim(_)).then(|| OwnedHeaders::new().insert(account_key))
    }

    /// The topic dates records as they are appended ([`topics`](super::topics) sees to it).
    fn note_date(&self, sent: UnixMillis, date: Timestamp) {
        let Timestamp::LogAppendTime(date) = date else { return };
        let millis = |time: UnixMillis| i64::try_from(time.0).unwrap_or(i64::MAX);
        self.health.dated(millis(sent), millis(SystemClock.now()), date);
    }

    /// Why a record was not written, with what mends it.
    fn reason(&self, error: &KafkaError) -> String {
        let remedy = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => {
                return "too many writes to Kafka are waiting already".into();
            }
            Some(RDKafkaErrorCode::MessageTimedOut) => {
                return "Kafka did not confirm it in time".into();
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed,
            ) => format!("this gateway's user may not write to topic {}", self.topic),
            Some(
                RDKafkaErrorCode::NotEnoughReplicas
                | RDKafkaErrorCode::NotEnoughReplicasAfterAppend,
            ) => format!("too few brokers have topic {} in sync", self.topic),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition,
            ) => format!("topic {} is gone, or has fewer partitions than it had", self.topic),
            _ => return words(error),
        };
        format!("{remedy} ({}); `tollgate kafka check` says how to mend it", words(error))
    }

    fn producer(&self) -> Arc<Producer> {
        Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// After a fatal error (a sequence or an epoch that the brokers refuse) a producer never works
    /// again. What it had on its way is in doubt, and is reported so.
    fn renew_if_fatal(&self, failed: &Arc<Producer>) -> bool {
        let Ok(client) = failed.get() else { return false };
        let Some((code, text)) = client.client().fatal_error() else { return false };
        let mut current = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current, failed) {
            return true;
        }
        tracing::error!(%code, reason = text, "the Kafka producer failed for good; a new one takes over");
        match Producer::new(&self.config, &self.health) {
            Ok(producer) => {
                *current = Arc::new(producer);
                true
            }
            Err(error) => {
                tracing::error!(%error, "no new Kafka producer could be made");
                false
            }
        }
    }
}

fn producer_config(settings: &model::Kafka, queue: usize) -> ClientConfig {
    let mut config = client_config(settings, "journal-writer");
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // Requests in progress gather what comes meanwhile; waiting for more adds only delay.
        .set("linger.ms", "0")
        .set("message.timeout.ms", millis(settings.delivery_timeout))
        .set("request.timeout.ms", millis(settings.delivery_timeout))
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "500")
        .set("queue.buffering.max.messages", queue.to_string())
        .set("queue.buffering.max.kbytes", "65536");
    config
}

impl Producer {
    fn new(config: &ClientConfig, health: &Arc<Health>) -> Result<Self, KafkaError> {
        Ok(Self(Some(config.create_with_context(Context::new(health))?)))
    }

    fn get(&self) -> Result<&FutureProducer<Context>, JournalError> {
        self.0.as_ref().ok_or(JournalError::Closed)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let producer = self.0.take();
        // Without a thread it is dropped here.
        let _ = thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(producer));
    }
}

fn offset(number: i64) -> Result<Offset, JournalError> {
    u64::try_from(number)
        .map_err(|_| JournalError::Unsure("Kafka confirmed it without an offset".to_owned()))
}
