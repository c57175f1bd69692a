//! Opening the mirror, and finding out whether Kafka still says what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::keeper::{self, Keeper};
use super::{Mirror, Shared, State};
use crate::config::model;
use crate::journal::kafka::client::{Context, partition_number, reader_config, watermarks};
use crate::journal::kafka::health::Health;
use crate::journal::store::Store;
use crate::journal::{Claim, JournalError, Offset, Record};
use crate::observe::{Event, JournalEvent, Metrics};

/// The note that says whose copy this is.
const SOURCE: &str = "source";
/// fjall's own log at most, as little as fjall allows: the mirror is there for a quick start.
const WRITE_AHEAD: u64 = 64 << 20;
/// Time for one question to Kafka.
const ASK: Duration = Duration::from_secs(5);
/// Time for Kafka to show all claims that were asked for.
const SHOW: Duration = Duration::from_secs(10);

/// Kafka, to compare with.
pub(in super::super) struct Origin<'a> {
    pub settings: &'a model::Kafka,
    pub consumer: &'a BaseConsumer<Context>,
    pub health: &'a Arc<Health>,
}

/// Opens the mirror in a directory, without what Kafka no longer says. `None`: there can't be one.
///
/// # Errors
/// [`JournalError::Locked`].
pub(in super::super) fn open(
    directory: &Path,
    origin: &Origin<'_>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Mirror>, JournalError> {
    match try_open(directory, origin, metrics) {
        Ok(mirror) => {
            metrics.record(Event::Journal(JournalEvent::Mirror { kept: true }));
            Ok(Some(mirror))
        }
        Err(locked @ JournalError::Locked { .. }) => Err(locked),
        Err(error) => {
            tracing::error!(%error, "no local copy of the journal is kept; the next start will take longer");
            metrics.record(Event::Journal(JournalEvent::Mirror { kept: false }));
            Ok(None)
        }
    }
}

fn try_open(
    directory: &Path,
    origin: &Origin<'_>,
    metrics: &Arc<Metrics>,
) -> Result<Mirror, JournalError> {
    let failed = |reason: String| JournalError::CannotOpen { directory: directory.into(), reason };
    let fjall = |error: fjall::Error| failed(error.to_string());
    let source = origin.name().ok_or_else(|| failed("Kafka does not name itself".to_owned()))?;
    let store = open_store(directory, &source).map_err(|error| match error {
        fjall::Error::Locked => JournalError::Locked { directory: directory.into() },
        other => fjall(other),
    })?;
    let held = held(&store, origin.settings.partitions).map_err(fjall)?;
    let standing = origin.standing(&held);
    for partition in held.keys().filter(|partition| !standing.contains(partition)) {
        tracing::warn!(
            partition,
            "the local copy of this partition is thrown away: Kafka does not show the claim that \
             stands in it"
        );
        keeper::clear(&store, *partition).map_err(fjall)?;
    }
    let mut partitions = Vec::new();
    let mut group = store.loose_group();
    for partition in 0..origin.settings.partitions {
        // Nobody reads it now.
        group.remove_replaced(partition).map_err(fjall)?;
        let next = AtomicU64::new(store.next_offset(partition).map_err(fjall)?);
        partitions.push(State { next, ..State::default() });
    }
    group.write().map_err(fjall)?;
    let shared = Arc::new(Shared {
        directory: directory.to_owned(),
        store,
        partitions,
        waiting: AtomicUsize::new(0),
        given_up: AtomicBool::new(false),
        metrics: Arc::clone(metrics),
    });
    let (commands, inbox) = channel();
    let keeper = Keeper::new(Arc::clone(&shared), inbox);
    let keeper = thread::Builder::new()
        .name("journal-mirror".to_owned())
        .spawn(move || keeper.run())
        .map_err(|error| failed(error.to_string()))?;
    Ok(Mirror { shared, commands, keeper: Mutex::new(Some(keeper)) })
}

/// The store, if it is a copy of this very journal; else an empty one.
fn open_store(directory: &Path, source: &str) -> Result<Store, fjall::Error> {
    fs::create_dir_all(directory)?;
    let path = directory.join("store");
    let found =
        Store::open_with(&path, WRITE_AHEAD).and_then(|store| Ok((store.note(SOURCE)?, store)));
    let reason = match found {
        Ok((Some(note), store)) if note == source => return Ok(store),
        Err(fjall::Error::Locked) => return Err(fjall::Error::Locked),
        Ok((None, _)) => None,
        Ok((Some(note), _)) => Some(format!("it is a copy of {note}, not of {source}")),
        Err(error) => Some(error.to_string()),
    };
    if let Some(reason) = reason {
        let directory = directory.display();
        tracing::warn!(%directory, reason, "the local copy of the journal is thrown away");
    }
    fs::remove_dir_all(&path)?;
    let store = Store::open_with(&path, WRITE_AHEAD)?;
    let mut group = store.group();
    group.set_note(SOURCE, source);
    group.write()?;
    Ok(store)
}

/// What a partition of the mirror rests on.
struct Held {
    next: Offset,
    /// The newest claim in it and where it stands. Claims have keys of their own, so that Kafka
    /// removes one only together with everything before it.
    claim: Option<(Offset, Claim)>,
}

fn held(store: &Store, partitions: u32) -> Result<BTreeMap<u32, Held>, fjall::Error> {
    let mut held = BTreeMap::new();
    for partition in 0..partitions {
        let next = store.next_offset(partition)?;
        if next > 0 || !store.some(partition, 1)?.is_empty() {
            // A claim that can't be read is none.
            let claim = store.newest_claim(partition).ok().flatten();
            held.insert(partition, Held { next, claim });
        }
    }
    Ok(held)
}

impl Origin<'_> {
    /// Cluster, topic and number of partitions.
    fn name(&self) -> Option<String> {
        let cluster = self.consumer.client().fetch_cluster_id(ASK)?;
        let topic = self.settings.topic(model::Topic::Quotas);
        Some(format!("cluster {cluster}, topic {topic}, {} partitions", self.settings.partitions))
    }

    /// Partitions of which Kafka still says what the mirror says: it is neither shorter nor
    /// without what the mirror begins with, and the newest claim stands where it stood. A topic
    /// that was made again has other claims.
    fn standing(&self, held: &BTreeMap<u32, Held>) -> BTreeSet<u32> {
        let topic = self.settings.topic(model::Topic::Quotas);
        let mut asked = BTreeMap::new();
        for (partition, held) in held {
            let Some((offset, claim)) = &held.claim else { continue };
            if *offset >= held.next {
                continue;
            }
            let number = partition_number(*partition);
            let there = watermarks(self.consumer.client(), &topic, number, ASK).is_ok_and(
                |(first, end)| {
                    let within = |offset: Offset| {
                        i64::try_from(offset).is_ok_and(|at| at >= first && at < end)
                    };
                    within(*offset) && (within(held.next) || i64::try_from(held.next) == Ok(end))
                },
            );
            if there {
                asked.insert(*partition, (*offset, claim));
            }
        }
        self.show(&topic, &asked).unwrap_or_else(|error| {
            tracing::warn!(%error, "the local copy of the journal can't be compared with Kafka");
            BTreeSet::new()
        })
    }

    /// Of these claims, those that Kafka has at these offsets.
    fn show(
        &self,
        topic: &str,
        asked: &BTreeMap<u32, (Offset, &Claim)>,
    ) -> Result<BTreeSet<u32>, KafkaError> {
        let mut standing = BTreeSet::new();
        if asked.is_empty() {
            return Ok(standing);
        }
        let mut config = reader_config(self.settings, "journal-mirror");
        config.set("queued.min.messages", "1").set("fetch.message.max.bytes", "1024");
        let context = Context::new(self.health);
        let consumer = BaseConsumer::<Context>::from_config_and_context(&config, context)?;
        let mut list = TopicPartitionList::new();
        for (partition, (offset, _)) in asked {
            let number = |wide: u64| i64::try_from(wide).unwrap_or(i64::MAX);
            let partition = partition_number(*partition);
            list.add_partition_offset(topic, partition, KafkaOffset::Offset(number(*offset)))?;
        }
        consumer.assign(&list)?;
        let (deadline, mut seen) = (Instant::now() + SHOW, BTreeSet::new());
        while seen.len() < asked.len() && Instant::now() < deadline {
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
            let partition = u32::try_from(message.partition()).unwrap_or(u32::MAX);
            let Some((offset, claim)) = asked.get(&partition) else { continue };
            // Only the first record of each is of interest.
            if seen.insert(partition) && is_claim(&message, *offset, claim) {
                standing.insert(partition);
            }
        }
        Ok(standing)
    }
}

fn is_claim(message: &impl Message, offset: Offset, claim: &Claim) -> bool {
    let record = message.payload().map(Record::decode);
    u64::try_from(message.offset()) == Ok(offset)
        && matches!(record, Some(Ok(Record::Claim(found))) if found == *claim)
}
