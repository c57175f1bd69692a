use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::Found;
use crate::config::model::Endpoint;
use crate::net::{NetError, Resolved, Resolver};

/// A name is asked for again at the earliest after this, whatever its TTL says.
const SOONEST: Duration = Duration::from_secs(1);
/// A name is asked for again at the latest after this: a TTL of a day would outlast a move.
const LATEST: Duration = Duration::from_secs(5 * 60);
/// After a failure, the time to the next try doubles up to this.
const LATEST_AFTER_FAILURE: Duration = Duration::from_secs(30);
/// One lookup, whatever the resolver does.
const ALLOWED: Duration = Duration::from_secs(15);
/// Most addresses taken from one answer: a name server must not fill the memory.
const MOST_ADDRESSES: usize = 256;

/// Turns host names into addresses.
#[async_trait]
pub trait Names: Send + Sync + fmt::Debug {
    /// The addresses of a host and how long they may be used.
    async fn addresses(&self, host: &str) -> Result<Resolved, NetError>;
}

#[async_trait]
impl Names for Resolver {
    async fn addresses(&self, host: &str) -> Result<Resolved, NetError> {
        self.lookup(host).await
    }
}

/// An entry of the configuration that is a name, and the addresses it stood for when it was last
/// resolved.
#[derive(Debug)]
pub(in crate::upstream) struct Name {
    host: Arc<str>,
    port: u16,
    weight: u32,
    last: ArcSwap<Last>,
}

/// What the last lookup left behind.
#[derive(Clone, Debug, Default)]
struct Last {
    /// Sorted, so that a name server that turns its answers around changes nothing.
    addresses: Vec<IpAddr>,
    /// When to ask again, from then on.
    wait: Duration,
    failures: u32,
}

/// What a lookup brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Lookup {
    /// The same addresses as before.
    Same,
    /// Other addresses.
    Changed,
    /// None: those known stay in use.
    Failed(NetError),
}

impl Name {
    /// A name, not resolved yet unless `known` is the same name.
    pub fn new(entry: &Endpoint, known: Option<&Self>) -> Self {
        let addresses = known.map(|known| known.last.load().addresses.clone()).unwrap_or_default();
        Self {
            host: entry.host.clone(),
            port: entry.port,
            weight: entry.weight,
            last: ArcSwap::from_pointee(Last { addresses, ..Last::default() }),
        }
    }

    /// The name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its addresses at the moment.
    pub fn found(&self) -> Vec<Found> {
        let found = |address: &IpAddr| Found {
            host: self.host.clone(),
            address: SocketAddr::new(*address, self.port),
            weight: self.weight,
        };
        self.last.load().addresses.iter().map(found).collect()
    }

    /// How long to wait until it is asked for again; zero before the first time.
    pub fn wait(&self) -> Duration {
        self.last.load().wait
    }

    /// Asks for it. Only its own follower does, so that answers don't overtake each other.
    pub async fn look_up(&self, names: &dyn Names) -> Lookup {
        let answer = tokio::time::timeout(ALLOWED, names.addresses(&self.host)).await;
        let timed_out =
            || NetError::ResolverTimedOut { host: self.host.to_string(), allowed: ALLOWED };
        match answer.unwrap_or_else(|_| Err(timed_out())) {
            Ok(resolved) if !resolved.addresses.is_empty() => self.keep(resolved),
            Ok(_) => self.fail(NetError::Unresolved {
                host: self.host.to_string(),
                why: "the answer is empty".into(),
            }),
            Err(error) => self.fail(error),
        }
    }

    fn keep(&self, resolved: Resolved) -> Lookup {
        let mut addresses = resolved.addresses;
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MOST_ADDRESSES);
        let same = self.last.load().addresses == addresses;
        let wait = resolved.valid_for.clamp(SOONEST, LATEST);
        self.last.store(Arc::new(Last { addresses, wait, failures: 0 }));
        if same { Lookup::Same } else { Lookup::Changed }
    }

    fn fail(&self, error: NetError) -> Lookup {
        let last = self.last.load_full();
        let doubled = SOONEST.saturating_mul(1 << last.failures.min(5));
        self.last.store(Arc::new(Last {
            addresses: last.addresses.clone(),
            wait: doubled.min(LATEST_AFTER_FAILURE),
            failures: last.failures.saturating_add(1),
        }));
        Lookup::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Gives the answers it was told to give, one after the other.
    #[derive(Debug)]
    struct Script(Mutex<Vec<Result<Resolved, NetError>>>);

    #[async_trait]
    impl Names for Script {
        async fn addresses(&self, _: &str) -> Result<Resolved, NetError> {
            self.0.lock().unwrap().remove(0)
        }
    }

    fn answer(addresses: &[[u8; 4]], seconds: u64) -> Result<Resolved, NetError> {
        let addresses = addresses.iter().map(|octets| IpAddr::from(*octets)).collect();
        Ok(Resolved { addresses, valid_for: Duration::from_secs(seconds) })
    }

    fn failure() -> Result<Resolved, NetError> {
        Err(NetError::Unresolved { host: "api".into(), why: "SERVFAIL".into() })
    }

    fn name() -> Name {
        Name::new(&Endpoint { host: "api".into(), port: 80, weight: 2 }, None)
    }

    #[tokio::test]
    async fn the_ttl_is_kept_between_a_second_and_five_minutes() {
        let name = name();
        let script = Script(Mutex::new(vec![
            answer(&[[10, 0, 0, 1]], 0),
            answer(&[[10, 0, 0, 1]], 60),
            answer(&[[10, 0, 0, 1]], 86_400),
        ]));
        let mut waits = Vec::new();
        for _ in 0..3 {
            name.look_up(&script).await;
            waits.push(name.wait().as_secs());
        }
        assert_eq!(waits, [1, 60, 300]);
    }

    #[tokio::test]
    async fn answers_in_another_order_are_no_change() {
        let name = name();
        let script = Script(Mutex::new(vec![
            answer(&[[10, 0, 0, 2], [10, 0, 0, 1]], 5),
            answer(&[[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 1]], 5),
            answer(&[[10, 0, 0, 1]], 5),
        ]));
        assert_eq!(name.look_up(&script).await, Lookup::Changed);
        assert_eq!(name.look_up(&script).await, Lookup::Same);
        assert_eq!(name.look_up(&script).await, Lookup::Changed);
        assert_eq!(name.found().len(), 1);
    }

    #[tokio::test]
    async fn a_failure_keeps_the_addresses_and_is_tried_again_ever_more_rarely() {
        let name = name();
        let mut script = vec![answer(&[[10, 0, 0, 1]], 60)];
        script.extend(std::iter::repeat_with(failure).take(7));
        script.push(answer(&[], 60));
        let script = Script(Mutex::new(script));
        name.look_up(&script).await;
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(matches!(name.look_up(&script).await, Lookup::Failed(_)));
            waits.push(name.wait().as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(name.found().len(), 1);
    }

    #[tokio::test]
    async fn a_huge_answer_is_cut() {
        let name = name();
        let many: Vec<[u8; 4]> = (0..2000u16).map(|n| [10, 0, (n >> 8) as u8, n as u8]).collect();
        name.look_up(&Script(Mutex::new(vec![answer(&many, 60)]))).await;
        assert_eq!(name.found().len(), MOST_ADDRESSES);
    }
}
