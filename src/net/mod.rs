//! Outbound HTTP, names and trust roots that stages share.

mod client;
mod error;
mod resolver;

pub use client::{Fetched, client, fetch_bounded};
pub use error::NetError;
pub use resolver::{Resolved, Resolver};
