use std::path::PathBuf;
use std::sync::Arc;

use super::{Offset, RecordError};

/// Why the journal did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another process has the directory.
    #[error(
        "the journal in {} is in use by another process: stop that process, or give this one \
         a state directory of its own", directory.display()
    )]
    Locked {
        /// The journal's directory.
        directory: PathBuf,
    },
    /// The directory was made with another number of partitions. Accounts would be looked for
    /// where they are not.
    #[error(
        "the journal in {} has {stored} partitions and the configuration says {asked}: the number \
         is fixed for the life of a state directory, so set it back to {stored}, or start with an \
         empty directory", directory.display()
    )]
    Partitions {
        /// The journal's directory.
        directory: PathBuf,
        /// Partitions that it has.
        stored: u32,
        /// Partitions that were asked for.
        asked: u32,
    },
    /// What is on disk ends before what was confirmed.
    #[error(
        "the journal in {} ends at commit {found}, but commit {confirmed} was confirmed: counts \
         were lost from this disk. Restore the directory from a copy; or, to go on without those \
         counts, remove the file 'confirmed' in it", directory.display()
    )]
    ConfirmedLost {
        /// The journal's directory.
        directory: PathBuf,
        /// Last commit found on disk.
        found: u64,
        /// Last commit that was confirmed.
        confirmed: u64,
    },
    /// The directory can't be opened or what is in it can't be read.
    #[error(
        "the journal in {} can't be opened: {reason}. Check that the directory may be written, \
         that the disk has room and that nothing else changed the files; restore it from a copy \
         if they are damaged", directory.display()
    )]
    CannotOpen {
        /// The journal's directory.
        directory: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// Kafka did not answer while the journal waited for it at start.
    #[error(
        "no answer from Kafka at {brokers} in {seconds} s: {reason}. Check that a broker listens \
         there, that this machine may reach it, and `tls` and `sasl` in the configuration"
    )]
    Unreachable {
        /// The brokers that were asked.
        brokers: String,
        /// How long it waited.
        seconds: u64,
        /// What the clients complained of.
        reason: String,
    },
    /// The quota topic is not there.
    #[error(
        "Kafka has no topic {topic}: `tollgate kafka init` makes it, with {partitions} partitions"
    )]
    NoTopic {
        /// Its name.
        topic: String,
        /// Partitions that it should have.
        partitions: u32,
    },
    /// The quota topic has another number of partitions. Accounts would be looked for where they
    /// are not.
    #[error(
        "topic {topic} has {found} partitions and the configuration says {asked}: the number is \
         fixed for the life of a topic, so set `partitions` to {found} in every gateway, or give \
         another `topic_prefix` and make new topics with `tollgate kafka init`"
    )]
    TopicPartitions {
        /// Its name.
        topic: String,
        /// Partitions that it has.
        found: usize,
        /// Partitions that were asked for.
        asked: u32,
    },
    /// Kafka's access control.
    #[error(
        "Kafka does not let this gateway use topic {topic}: `tollgate kafka check` names the \
         permissions that it needs"
    )]
    Forbidden {
        /// The topic.
        topic: String,
    },
    /// A Kafka client could not be made: a setting or a file that it can't use.
    #[error("a Kafka client can't be made: {0}. Check `kafka` in the configuration")]
    KafkaClient(String),
    /// The partition no longer has the offset that was asked for: its topic was deleted or made
    /// again, or records were removed before they were read. What was read so far no longer tells
    /// what is in the journal; begin anew at 0.
    #[error(
        "partition {partition} has no offset {offset} any more: its topic was made again or its \
         records were removed. All of it is read anew"
    )]
    Restarted {
        /// The partition.
        partition: u32,
        /// The offset.
        offset: Offset,
    },
    /// There is no such partition.
    #[error("there is no partition {0}")]
    NoSuchPartition(u32),
    /// The record is certainly not in the journal.
    #[error("the record was not written: {0}")]
    NotWritten(String),
    /// The record may be in the journal, or come to be in it later, or not.
    #[error("it is not known whether the record was written: {0}")]
    Unsure(String),
    /// Stored records can't be read.
    #[error("partition {partition} can't be read: {reason}")]
    CannotRead {
        /// The partition.
        partition: u32,
        /// What went wrong.
        reason: String,
    },
    /// A stored record is of an unknown version or damaged. Its meaning is not guessed: the
    /// partition stops here.
    #[error("the record at offset {offset} of partition {partition} can't be understood: {reason}")]
    Corrupt {
        /// The partition.
        partition: u32,
        /// Where it stands.
        offset: Offset,
        /// What is wrong with it.
        reason: RecordError,
    },
    /// A gateway with another account key has claimed the partition. The two would look for the
    /// counts of an account in different places, and each would allow all of its uses.
    #[error(
        "{owner} claimed partition {partition} (offset {offset}) with another account key than this \
         gateway's: `state.account_key` must be the same in all gateways of a fleet. To begin new \
         counts under a new key, give all of them another `kafka.topic_prefix`"
    )]
    AnotherAccountKey {
        /// The partition.
        partition: u32,
        /// Where the claim stands.
        offset: Offset,
        /// Who made it.
        owner: Arc<str>,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// Whether an append that failed so may still come to be in the journal.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Unsure(_) => true,
            Self::Locked { .. }
            | Self::Partitions { .. }
            | Self::ConfirmedLost { .. }
            | Self::CannotOpen { .. }
            | Self::Unreachable { .. }
            | Self::NoTopic { .. }
            | Self::TopicPartitions { .. }
            | Self::Forbidden { .. }
            | Self::KafkaClient(_)
            | Self::Restarted { .. }
            | Self::NoSuchPartition(_)
            | Self::NotWritten(_)
            | Self::CannotRead { .. }
            | Self::Corrupt { .. }
            | Self::AnotherAccountKey { .. }
            | Self::Closed => false,
        }
    }
}
