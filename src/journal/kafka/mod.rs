//! Apache Kafka: what all its clients have in common, and the topics of a fleet.

mod client;
pub mod topics;
