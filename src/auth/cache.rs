use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use moka::Expiry;
use moka::sync::Cache;
use serde_json::Value;

use super::claims::Thumbprint;
use crate::config::model::Provider;
use crate::request::{Caller, UnixMillis};

/// Memory for verified tokens unless told otherwise: about 20,000 tokens of usual size.
const DEFAULT_BYTES: u64 = 64 * 1024 * 1024;

/// Tokens that were verified, with the callers they gave. A hit is one lookup: what a caller may
/// depend on besides the token is in the key (the route's providers with all their policy, and the
/// client certificate), and what may end it early is compared (time and keys).
///
/// Lives as long as the process, across reloads.
pub struct TokenCache {
    entries: Cache<StoredKey, Verified>,
}

/// A verified token's caller.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) caller: Arc<Caller>,
    /// Place, among the authenticator's providers, of the one that the token was verified for.
    pub(super) provider: usize,
    /// Of the keys that it was verified with.
    pub(super) generation: u64,
    lifetime: Duration,
}

/// All that a verification depends on, except time and keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenKey<'t> {
    pub(super) policy: Policy,
    pub(super) certificate: Option<Thumbprint>,
    /// The whole token: tokens that only share a hash are different tokens.
    pub(super) token: &'t [u8],
}

/// Stands for a list of providers and everything their configuration says, so that a token which
/// was accepted under one policy is looked at again under another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Policy([u8; 32]);

impl Policy {
    pub(super) fn of(providers: &[Arc<Provider>]) -> Self {
        // The debug form has every field, also those that will be added one day.
        let text = format!("{providers:?}");
        let mut policy = [0; 32];
        policy.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(policy)
    }
}

impl TokenCache {
    /// An empty cache of the usual size.
    pub fn new() -> Self {
        Self::with_capacity(DEFAULT_BYTES)
    }

    /// An empty cache that holds about this many bytes.
    pub fn with_capacity(bytes: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &StoredKey, verified: &Verified| weight(key, &verified.caller))
            .expire_after(UntilExpiry)
            .build();
        Self { entries }
    }

    /// Verified tokens held, roughly.
    pub fn len(&self) -> u64 {
        self.entries.entry_count()
    }

    /// Whether it holds none, roughly.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn get(&self, key: &TokenKey<'_>) -> Option<Verified> {
        self.entries.get(key as &dyn AsTokenKey)
    }

    pub(super) fn insert(
        &self,
        key: &TokenKey<'_>,
        caller: Arc<Caller>,
        provider: usize,
        generation: u64,
        now: UnixMillis,
    ) {
        let lifetime = caller.expires.map_or(Duration::ZERO, |expires| expires.since(now));
        let stored =
            StoredKey { policy: key.policy, certificate: key.certificate, token: key.token.into() };
        self.entries.insert(stored, Verified { caller, provider, generation, lifetime });
    }
}

#[cfg(test)]
impl TokenCache {
    /// Brings the count up to date.
    pub(super) fn settle(&self) {
        self.entries.run_pending_tasks();
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("tokens", &self.len()).finish()
    }
}

impl Default for TokenCache {
    fn default() -> Self {
        Self::new()
    }
}

/// Clears expired tokens out; whether one counts is decided by the clock that requests go by.
struct UntilExpiry;

impl Expiry<StoredKey, Verified> for UntilExpiry {
    fn expire_after_create(&self, _: &StoredKey, new: &Verified, _: Instant) -> Option<Duration> {
        Some(new.lifetime)
    }

    fn expire_after_update(
        &self,
        _: &StoredKey,
        new: &Verified,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(new.lifetime)
    }
}

/// A key as the cache owns it; looked up by a [`TokenKey`], which borrows, so that a hit copies
/// nothing.
struct StoredKey {
    policy: Policy,
    certificate: Option<Thumbprint>,
    token: Box<[u8]>,
}

trait AsTokenKey {
    fn key(&self) -> TokenKey<'_>;
}

impl AsTokenKey for StoredKey {
    fn key(&self) -> TokenKey<'_> {
        TokenKey { policy: self.policy, certificate: self.certificate, token: &self.token }
    }
}

impl AsTokenKey for TokenKey<'_> {
    fn key(&self) -> TokenKey<'_> {
        *self
    }
}

/// The end of the token is its signature: bytes that nobody chooses. Hashing the rest as well
/// would cost more than the lookup; comparing takes the whole token in any case.
impl Hash for TokenKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let tail = self.token.last_chunk::<40>().map_or(self.token, |tail| &tail[..]);
        self.policy.0.first_chunk::<8>().hash(state);
        state.write(tail);
    }
}

impl<'k> Borrow<dyn AsTokenKey + 'k> for StoredKey {
    fn borrow(&self) -> &(dyn AsTokenKey + 'k) {
        self
    }
}

impl Hash for dyn AsTokenKey + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialEq for dyn AsTokenKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for dyn AsTokenKey + '_ {}

impl Hash for StoredKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialEq for StoredKey {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for StoredKey {}

/// Bytes that an entry takes, estimated on the high side.
fn weight(key: &StoredKey, caller: &Caller) -> u32 {
    let entry = 512 + key.token.len();
    let scopes: usize = caller.scopes.iter().map(|scope| scope.len() + 48).sum();
    let claims: usize = caller.claims.iter().map(|(name, value)| member(name, value)).sum();
    u32::try_from(entry + scopes + claims).unwrap_or(u32::MAX)
}

/// An object's member: two words for each of name, value and hash, and the index.
fn member(name: &str, value: &Value) -> usize {
    128 + name.len() + inside(value)
}

fn inside(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() + 16,
        Value::Array(items) => items.iter().map(|item| 96 + inside(item)).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| member(name, value)).sum(),
    }
}
