//! What rests on Apache Kafka, against a real one: topics, journal, account cache.

mod broker;
mod brokers;
mod copies;
mod feed;
mod hints;
mod journal;
mod secure;
#[path = "../shared/mod.rs"]
mod shared;
mod site;
mod topics;
mod watch;
