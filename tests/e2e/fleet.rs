//! Several gateways on a real Kafka: what clients see, whichever gateway they ask.

mod away;
mod cache;
mod certificates;
mod cut;
mod errands;
mod figures;
mod forward;
mod names;
mod ownership;
mod slow;
mod story;
mod topics;
mod trouble;
mod unreached;
mod versions;
