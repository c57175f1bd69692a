//! Several gateways on a real Kafka: what clients see, whichever gateway they ask.

mod away;
mod cache;
mod errands;
mod figures;
mod forward;
mod ownership;
mod story;
mod versions;
