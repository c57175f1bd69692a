//! Sharing partitions out among gateways by Kafka's group membership. It only proposes: the claims
//! in the journal decide who owns a partition. The member reads nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::{oneshot, watch};

use super::client::{Context, client_config, millis};
use super::health::Health;
use crate::config::model;
use crate::journal::{JournalError, Share};

/// Between looks at commands and at what the group says.
const POLL: Duration = Duration::from_millis(50);
/// Between lines that say that the group does not work.
const REPORT: Duration = Duration::from_secs(30);
/// How long the member may not be polled before librdkafka leaves the group for it. Only a process
/// that stands still doesn't poll, and the group's session ends before that.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// This process's membership. Dropped, it leaves the group.
pub(super) struct Balance {
    share: Arc<watch::Sender<Share>>,
    commands: Sender<Command>,
    session: Duration,
}

enum Command {
    /// Leave, then say so.
    Resign(oneshot::Sender<()>),
}

struct Member {
    context: Context,
    share: Arc<watch::Sender<Share>>,
}

type Group = BaseConsumer<Member>;

impl Balance {
    pub fn start(settings: &model::Kafka, health: &Arc<Health>) -> Result<Self, JournalError> {
        let share = Arc::new(watch::Sender::new(Share::default()));
        let member = Member { context: Context::new(health), share: Arc::clone(&share) };
        let topic = settings.topic(model::Topic::Quotas);
        let failed = |error: KafkaError| JournalError::KafkaClient(error.to_string());
        let group =
            Group::from_config_and_context(&member_config(settings), member).map_err(failed)?;
        group.subscribe(&[&topic]).map_err(failed)?;
        let (commands, inbox) = channel();
        thread::Builder::new()
            .name("journal-balance".to_owned())
            .spawn(move || run(group, &inbox))
            .map_err(|error| JournalError::KafkaClient(error.to_string()))?;
        Ok(Self { share, commands, session: settings.session_timeout })
    }

    pub fn share(&self) -> watch::Receiver<Share> {
        self.share.subscribe()
    }

    /// Leaves the group for good and waits until it has, or until the group has missed it for so
    /// long that it holds it for gone.
    pub async fn resign(&self) {
        let (done, left) = oneshot::channel();
        if self.commands.send(Command::Resign(done)).is_ok() {
            // The channel's own error means that it has left.
            if tokio::time::timeout(self.session, left).await.is_err() {
                tracing::warn!("Kafka did not confirm that this gateway left the group");
            }
        }
    }
}

fn member_config(settings: &model::Kafka) -> ClientConfig {
    let session = settings.session_timeout;
    let heartbeat = (session / 10).clamp(Duration::from_millis(100), Duration::from_secs(1));
    let mut config = client_config(settings, "journal-balance");
    config
        .set("group.id", settings.group())
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", millis(session))
        .set("heartbeat.interval.ms", millis(heartbeat))
        .set("max.poll.interval.ms", millis(session.max(LONGEST_PAUSE)))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "latest");
    config
}

fn run(group: Group, inbox: &Receiver<Command>) {
    let mut reported: Option<Instant> = None;
    let resigned = loop {
        // Nothing is ever fetched: what comes are the group's errors.
        if let Some(Err(error)) = group.poll(POLL)
            && !is_outage(&error)
            && reported.is_none_or(|at| at.elapsed() >= REPORT)
        {
            reported = Some(Instant::now());
            tracing::warn!(
                %error,
                "Kafka's group does not propose partitions to this gateway; `tollgate kafka check` \
                 names the permissions that it needs"
            );
        }
        match inbox.recv_timeout(Duration::ZERO) {
            Ok(Command::Resign(done)) => break Some(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break None,
        }
    };
    // Leaves the group, and waits until its coordinator was told.
    drop(group);
    if let Some(done) = resigned {
        let _ = done.send(());
    }
}

/// Whether it is for want of a broker, which is told elsewhere.
fn is_outage(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL
        )
    )
}

impl Member {
    fn change(&self, change: impl FnOnce(&mut BTreeSet<u32>)) {
        self.share.send_modify(|share| change(Arc::make_mut(share)));
        tracing::info!(partitions = ?**self.share.borrow(), "the group's proposal changed");
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn post_rebalance(&self, group: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                if let Err(error) = group.pause(list) {
                    tracing::warn!(%error, "a proposed partition is read, although nobody wants it");
                }
                let added = numbers(list);
                self.change(|share| share.extend(added));
            }
            Rebalance::Revoke(list) => {
                let removed: BTreeSet<u32> = numbers(list).collect();
                self.change(|share| share.retain(|partition| !removed.contains(partition)));
            }
            Rebalance::Error(error) => {
                tracing::warn!(%error, "Kafka could not share partitions out")
            }
        }
    }
}

fn numbers(list: &TopicPartitionList) -> impl Iterator<Item = u32> {
    let elements = list.elements();
    elements
        .into_iter()
        .filter_map(|element| u32::try_from(element.partition()).ok())
        .collect::<Vec<_>>()
        .into_iter()
}
