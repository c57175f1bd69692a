//! Which addresses a cluster has: those written down, and those that names stand for.

mod dns;
mod fixed;

use std::net::SocketAddr;
use std::sync::Arc;

pub use dns::Names;
pub(super) use dns::{Lookup, Name};

use crate::config::model::Endpoint;

/// One address that an entry of the configuration stands for at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The entry's host.
    pub host: Arc<str>,
    /// The address.
    pub address: SocketAddr,
    /// The entry's weight. A name that stands for several addresses gives it to each.
    pub weight: u32,
}

/// Where a cluster's addresses come from.
#[derive(Debug)]
pub(super) struct Discovery {
    sources: Vec<Source>,
}

#[derive(Debug)]
enum Source {
    Fixed(Found),
    Named(Arc<Name>),
}

impl Discovery {
    /// Reads the cluster's entries. A name that `previous` had resolved keeps its addresses until
    /// it is asked for again.
    pub fn new(entries: &[Endpoint], previous: Option<&Self>) -> Self {
        let sources = entries
            .iter()
            .map(|entry| match fixed::address(entry) {
                Some(found) => Source::Fixed(found),
                None => {
                    let known = previous.and_then(|previous| previous.known(&entry.host));
                    Source::Named(Arc::new(Name::new(entry, known.as_deref())))
                }
            })
            .collect();
        Self { sources }
    }

    /// All addresses at the moment, in the configuration's order, none twice under one host.
    pub fn found(&self) -> Vec<Found> {
        let mut all: Vec<Found> = Vec::new();
        for source in &self.sources {
            let addresses = match source {
                Source::Fixed(found) => vec![found.clone()],
                Source::Named(name) => name.found(),
            };
            for found in addresses {
                if !all.iter().any(|it| it.address == found.address && it.host == found.host) {
                    all.push(found);
                }
            }
        }
        all
    }

    /// The names to follow.
    pub fn names(&self) -> impl Iterator<Item = &Arc<Name>> {
        self.sources.iter().filter_map(|source| match source {
            Source::Named(name) => Some(name),
            Source::Fixed(_) => None,
        })
    }

    fn known(&self, host: &str) -> Option<Arc<Name>> {
        self.names().find(|name| name.host() == host).cloned()
    }
}
