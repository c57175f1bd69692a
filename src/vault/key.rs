use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use form_urlencoded::parse;
use http::HeaderName;
use pingora_cache::CacheKey;
use pingora_cache::key::{CacheHashKey, CompactCacheKey, HashBinary, hash_key};

use super::epochs::Stripes;
use crate::account::AccountKey;
use crate::config::model::{CachePolicy, Visibility};
use crate::request::{Facts, RouteId, UnixMillis};

/// The key under which an answer is kept: everything that makes two answers differ.
///
/// Route, account, who shares it, method class (GET, which also answers HEAD), host, normalised
/// path, and those query parameters and headers that the policy chooses. Each part stands with
/// its length, so that no two requests can be spelled into one key; the policy's own choices
/// stand in it too, so that an answer kept under one policy is not found under another. The
/// account stands as its keyed hash. Query parameters count as the caller spelled them: decoding
/// could make one of two different texts.
pub fn cache_key(
    policy: &CachePolicy,
    facts: &Facts<'_>,
    account: Option<&AccountKey>,
) -> CacheKey {
    let mut parts = Parts(Vec::with_capacity(256));
    parts.text(b"tollgate 1");
    parts.text(facts.route.as_str().as_bytes());
    parts.optional(account.map(|key| key.as_bytes().as_slice()));
    visibility(&mut parts, policy.visible_to, facts);
    parts.text(b"GET");
    parts.text(facts.head.host.as_bytes());
    parts.text(facts.head.path.encoded.as_bytes());
    query(&mut parts, policy.query.as_deref(), facts.head.query.as_deref().unwrap_or_default());
    headers(&mut parts, &policy.headers, facts);

    let hash = hash_key(&parts.0);
    // The tag is all of the key that pingora hands to a purge besides the hash: it carries the
    // account, by which the table on disk is ordered.
    let mut key = CacheKey::new(parts.0, account.map(ToString::to_string).unwrap_or_default());
    // Pingora would hash the parts again at each use.
    key.set_primary_bin_override(hash);
    let name = EntryName::new(account.copied(), facts.route.clone(), policy.visible_to);
    key.extensions.insert(Arc::new(Ticket::new(name)));
    key
}

/// Texts one after the other, each with its length in front.
struct Parts(Vec<u8>);

impl Parts {
    fn count(&mut self, count: usize) {
        self.0.extend_from_slice(&(count as u64).to_be_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.count(text.len());
        self.0.extend_from_slice(text);
    }

    fn optional(&mut self, text: Option<&[u8]>) {
        match text {
            Some(text) => {
                self.0.push(1);
                self.text(text);
            }
            None => self.0.push(0),
        }
    }
}

fn visibility(parts: &mut Parts, visible_to: Visibility, facts: &Facts<'_>) {
    let caller = facts.caller;
    let provider = caller.map(|caller| caller.provider.as_bytes());
    let client = caller.map(|caller| caller.client.as_bytes());
    match visible_to {
        Visibility::Everyone => parts.text(b"everyone"),
        Visibility::Client => {
            parts.text(b"client");
            parts.optional(provider);
            parts.optional(client);
        }
        Visibility::Subject => {
            parts.text(b"subject");
            parts.optional(provider);
            parts.optional(client);
            parts.optional(caller.and_then(|caller| caller.subject.as_deref()).map(str::as_bytes));
        }
    }
}

fn query(parts: &mut Parts, chosen: Option<&[Arc<str>]>, query: &str) {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    match chosen {
        None => {
            let mut pairs: Vec<&str> = pairs.collect();
            pairs.sort_by_key(|pair| pair.split_once('=').map_or(*pair, |(name, _)| name));
            parts.text(b"all");
            parts.count(pairs.len());
            pairs.iter().for_each(|pair| parts.text(pair.as_bytes()));
        }
        Some(names) => {
            let named: Vec<_> = pairs
                .map(|pair| (parse(pair.as_bytes()).next().map(|(name, _)| name), pair))
                .collect();
            let mut names: Vec<&str> = names.iter().map(|name| &**name).collect();
            names.sort_unstable();
            names.dedup();
            parts.text(b"chosen");
            parts.count(names.len());
            for name in names {
                let values = || named.iter().filter(|(found, _)| found.as_deref() == Some(name));
                parts.text(name.as_bytes());
                parts.count(values().count());
                values().for_each(|(_, pair)| parts.text(pair.as_bytes()));
            }
        }
    }
}

fn headers(parts: &mut Parts, chosen: &[HeaderName], facts: &Facts<'_>) {
    let mut names: Vec<&HeaderName> = chosen.iter().collect();
    names.sort_unstable_by_key(|name| name.as_str());
    names.dedup();
    parts.count(names.len());
    for name in names {
        let values = || facts.headers.get_all(name).iter();
        parts.text(name.as_str().as_bytes());
        parts.count(values().count());
        values().for_each(|value| parts.text(value.as_bytes()));
    }
}

/// What an answer belongs to: how purges and views find it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EntryName {
    pub(super) account: Option<AccountKey>,
    pub(super) route: RouteId,
    pub(super) visible_to: Visibility,
    pub(super) stripes: Stripes,
}

impl EntryName {
    pub(super) fn new(
        account: Option<AccountKey>,
        route: RouteId,
        visible_to: Visibility,
    ) -> Arc<Self> {
        let stripes = Stripes::of(account.as_ref(), &route);
        Arc::new(Self { account, route, visible_to, stripes })
    }
}

/// Goes with a [`CacheKey`] through the proxy: the entry's name, and what the request's last lookup
/// found.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) name: Arc<EntryName>,
    /// Its epoch: a fill must still find the same when it ends.
    epoch: AtomicU64,
    /// When it was.
    asked: AtomicU64,
    /// When the answer that it found was made or last found unchanged; `None`: it found none.
    seen: Mutex<Option<SystemTime>>,
}

/// A lookup, as the answer that it leads to remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lookup {
    pub(super) epoch: u64,
    pub(super) asked: UnixMillis,
}

/// No lookup yet. A fill without one could not tell whether a purge came between.
const NEVER: u64 = u64::MAX;

impl Ticket {
    fn new(name: Arc<EntryName>) -> Self {
        let (asked, seen) = Default::default();
        Self { name, epoch: AtomicU64::new(NEVER), asked, seen }
    }

    /// The ticket of a key that [`cache_key`] made.
    pub(super) fn of(key: &CacheKey) -> Option<&Arc<Self>> {
        key.extensions.get()
    }

    pub(super) fn looked_up(&self, lookup: Lookup) {
        self.asked.store(lookup.asked.0, Ordering::Relaxed);
        self.epoch.store(lookup.epoch, Ordering::Relaxed);
    }

    pub(super) fn saw(&self, answer: Option<SystemTime>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    pub(super) fn seen(&self) -> Option<SystemTime> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lookup(&self) -> Option<Lookup> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let asked = UnixMillis(self.asked.load(Ordering::Relaxed));
        (epoch != NEVER).then_some(Lookup { epoch, asked })
    }
}

/// Where an answer stands in the table: by account first, so that one scan finds all of an
/// account's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    /// The account's keyed hash; zeros for an answer without account.
    pub(super) account: [u8; 16],
    /// Hash of the cache key, variance included.
    pub(super) hash: HashBinary,
}

impl Place {
    pub(super) fn of(key: &CacheKey, name: &EntryName) -> Self {
        Self { account: account_bytes(name.account.as_ref()), hash: key.combined_bin() }
    }

    /// From what pingora hands to a purge; `None` if its tag isn't one that [`cache_key`] wrote.
    pub(super) fn of_compact(key: &CompactCacheKey) -> Option<Self> {
        let account = match key.user_tag() {
            "" => [0; 16],
            tag => pingora_cache::key::str2hex(tag)?,
        };
        Some(Self { account, hash: key.combined_bin() })
    }
}

pub(super) fn account_bytes(account: Option<&AccountKey>) -> [u8; 16] {
    account.map_or([0; 16], |key| *key.as_bytes())
}

#[cfg(test)]
mod tests;
