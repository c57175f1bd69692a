use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use super::change::{Changed, Scope};
use super::key::Place;
use crate::account::AccountKey;
use crate::request::RouteId;

const ACCOUNT_STRIPES: u16 = 4096;
const ROUTE_STRIPES: u16 = 256;

/// What makes a purge final: counters that a purge turns and every answer remembers.
///
/// An answer carries the epoch of the lookup that led to it. When a purge has turned one of the
/// counters since, the answer no longer counts, wherever it stands: in memory, on its way to the
/// disk, or still on its way from the backend. Accounts share counters by their hash, so memory
/// stays bounded however many are purged; the price is that a purge now and then makes an answer
/// of another account be fetched again.
#[derive(Debug)]
pub(super) struct Epochs {
    all: AtomicU64,
    accounts: Box<[AtomicU64]>,
    routes: Box<[AtomicU64]>,
}

/// Which counters an answer hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stripes {
    account: u16,
    route: u16,
}

impl Stripes {
    pub(super) fn of(account: Option<&AccountKey>, route: &RouteId) -> Self {
        Self { account: account_stripe(account), route: route_stripe(route) }
    }
}

fn account_stripe(account: Option<&AccountKey>) -> u16 {
    account.map_or(0, |key| {
        let [first, second, ..] = *key.as_bytes();
        u16::from_be_bytes([first, second]) % ACCOUNT_STRIPES
    })
}

fn route_stripe(route: &RouteId) -> u16 {
    let mut hasher = DefaultHasher::new();
    route.hash(&mut hasher);
    u16::try_from(hasher.finish() % u64::from(ROUTE_STRIPES)).unwrap_or_default()
}

impl Epochs {
    pub(super) fn new() -> Self {
        let counters = |count: u16| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            all: AtomicU64::new(0),
            accounts: counters(ACCOUNT_STRIPES),
            routes: counters(ROUTE_STRIPES),
        }
    }

    /// The epoch now. The counters only grow, so their sum is the same as before exactly when
    /// none of them was turned.
    pub(super) fn now(&self, stripes: Stripes) -> u64 {
        let read = |counters: &[AtomicU64], at: u16| {
            counters.get(usize::from(at)).map_or(0, |counter| counter.load(Ordering::SeqCst))
        };
        self.all.load(Ordering::SeqCst)
            + read(&self.accounts, stripes.account)
            + read(&self.routes, stripes.route)
    }

    /// Turns what hangs on the answers that a scope names.
    pub(super) fn turn(&self, scope: &Scope) {
        match scope {
            Scope::Entry(Place { account, .. })
            | Scope::Account(account)
            | Scope::Changed(Changed { account, .. }) => {
                self.turn_account(Some(&AccountKey::from_bytes(*account)));
            }
            Scope::Route(route) | Scope::Part(Some(route), _) => self.turn_route(route),
            Scope::All | Scope::Part(None, _) => self.turn_all(),
        }
    }

    pub(super) fn turn_account(&self, account: Option<&AccountKey>) {
        turn(&self.accounts, account_stripe(account));
    }

    pub(super) fn turn_route(&self, route: &RouteId) {
        turn(&self.routes, route_stripe(route));
    }

    pub(super) fn turn_all(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }
}

fn turn(counters: &[AtomicU64], at: u16) {
    if let Some(counter) = counters.get(usize::from(at)) {
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_turns_the_epoch_of_what_it_names_and_of_nothing_else() {
        let epochs = Epochs::new();
        let account = AccountKey::from_bytes([7; 16]);
        let other = AccountKey::from_bytes([8; 16]);
        let route = RouteId::new("summary");
        let mine = Stripes::of(Some(&account), &route);
        let theirs = Stripes::of(Some(&other), &RouteId::new("cards"));
        let before = (epochs.now(mine), epochs.now(theirs));

        epochs.turn_account(Some(&account));
        assert_ne!(epochs.now(mine), before.0);
        assert_eq!(epochs.now(theirs), before.1);

        let before = (epochs.now(mine), epochs.now(theirs));
        epochs.turn_route(&route);
        assert_ne!(epochs.now(mine), before.0);
        assert_eq!(epochs.now(theirs), before.1);

        let before = (epochs.now(mine), epochs.now(theirs));
        epochs.turn_all();
        assert_ne!(epochs.now(mine), before.0);
        assert_ne!(epochs.now(theirs), before.1);
    }
}
