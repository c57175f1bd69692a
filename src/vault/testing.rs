//! What the vault's tests share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::ResponseHeader;
use pingora_cache::{CacheKey, CacheMeta, HttpCache, NoCacheReason, RespCacheable};
use serde_json::Map;

use super::entry::{Entry, StoredMeta, system_time};
use super::key::{EntryName, Lookup, Place};
use super::{Vault, cache_key};
use crate::account::{AccountHasher, AccountKey};
use crate::config::model::{CachePolicy, CacheSettings, Secret, Visibility};
use crate::observe::Metrics;
use crate::request::{
    AccountId, Caller, Captures, Clock, Facts, ManualClock, NormalPath, RequestHead, RouteId,
    UnixMillis,
};

pub(super) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn policy() -> CachePolicy {
    CachePolicy {
        fresh: HOUR,
        visible_to: Visibility::Client,
        query: None,
        headers: Vec::new(),
        stale_if_error: Duration::ZERO,
        keep_partial: false,
        obey_request: false,
        data_classes: Vec::new(),
    }
}

pub(super) fn settings() -> CacheSettings {
    CacheSettings {
        memory: 16 << 20,
        disk: 256 << 20,
        max_entry: 1 << 20,
        sealing_keys: vec![Secret::new("a key for tests")],
    }
}

/// A request, as far as the vault looks at it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) head: RequestHead,
    pub(super) headers: HeaderMap,
    pub(super) route: RouteId,
    pub(super) captures: Captures,
    pub(super) caller: Option<Caller>,
    pub(super) account: Option<AccountId>,
}

impl Asked {
    pub(super) fn path(path: &str) -> Self {
        let head = RequestHead {
            host: "bank.example".to_owned(),
            path: NormalPath { decoded: path.to_owned(), encoded: path.to_owned() },
            ..RequestHead::default()
        };
        let caller = Caller {
            provider: "bank".into(),
            client: "acme".into(),
            subject: Some("alice".into()),
            scopes: Vec::new(),
            claims: Map::new(),
            certificate_thumbprint: None,
            expires: None,
        };
        Self {
            head,
            headers: HeaderMap::new(),
            route: RouteId::new("summary"),
            captures: Captures::default(),
            caller: Some(caller),
            account: Some(AccountId::parse("4711008815").unwrap()),
        }
    }

    pub(super) fn account(account: &str) -> Self {
        let account = AccountId::parse(account).unwrap();
        Self { account: Some(account), ..Self::path("/summary") }
    }

    pub(super) fn query(&mut self, query: &str) {
        self.head.query = Some(query.to_owned());
    }

    pub(super) fn capture(&mut self, name: &str, value: &str) {
        self.captures.0.push((name.into(), value.to_owned()));
    }

    pub(super) fn header(&mut self, name: &'static str, value: &[u8]) {
        let value = HeaderValue::from_bytes(value).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
    }

    pub(super) fn account_key(&self) -> Option<AccountKey> {
        self.account.as_ref().map(|account| AccountHasher::new(b"test").key(account))
    }

    pub(super) fn key(&self, policy: &CachePolicy) -> CacheKey {
        let facts = self.facts();
        cache_key(policy, &facts, self.account_key().as_ref())
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&Facts<'_>, &AccountKey) -> T) -> T {
        work(&self.facts(), &self.account_key().unwrap())
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            head: &self.head,
            headers: &self.headers,
            route: &self.route,
            captures: &self.captures,
            caller: self.caller.as_ref(),
            account: self.account.as_ref(),
            body: None,
        }
    }
}

pub(super) fn ok(fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut header = ResponseHeader::build(200, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    header
}

pub(super) fn place(number: u64) -> Place {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Place { account: bytes, hash: bytes }
}

/// An entry of an account of its own, with a body of this size.
pub(super) fn entry(number: u64, size: usize) -> Entry {
    let place = place(number);
    let account = AccountKey::from_bytes(place.account);
    let name = EntryName::new(Some(account), RouteId::new("summary"), Visibility::Client);
    let header = ok(&[("Content-Type", "application/json")]);
    let now = system_time(NOW);
    let meta = StoredMeta::take(&CacheMeta::new(now + HOUR, now, 0, 0, header)).unwrap();
    let expires = meta.expires();
    let body = Bytes::from(vec![b'x'; size]);
    Entry::new(place, name, meta, body, expires, Lookup { epoch: 0, asked: NOW })
}

/// A vault with a clock in hand.
pub(super) struct Opened {
    pub(super) vault: &'static Vault,
    pub(super) clock: Arc<ManualClock>,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) fn open(directory: &Path, settings: &CacheSettings) -> Opened {
    let clock = Arc::new(ManualClock::at(NOW));
    let metrics = Arc::<Metrics>::default();
    let shared: Arc<dyn Clock> = clock.clone();
    let vault = Vault::open(directory, settings, shared, metrics.clone()).unwrap();
    Opened { vault, clock, metrics }
}

impl Opened {
    /// How often something was counted.
    pub(super) fn counted(&self, operation: &str) -> u64 {
        let line = format!("tollgate_cache_operations_total{{operation=\"{operation}\"}} ");
        let exposition = self.metrics.exposition();
        let found = exposition.lines().find_map(|text| text.strip_prefix(&line));
        found.map_or(0, |count| count.parse().unwrap())
    }

    /// Asks for an answer as the proxy does, and begins a fill when there is none.
    pub(super) async fn ask(&self, key: CacheKey) -> Outcome {
        let mut cache = HttpCache::new();
        self.vault.enable_on(&mut cache, HOUR);
        cache.set_cache_key(key);
        match cache.cache_lookup().await.unwrap() {
            None => {
                cache.cache_miss();
                Outcome::Miss(Filling { cache })
            }
            Some((meta, mut hit)) => {
                let mut body = Vec::new();
                while let Some(piece) = hit.read_body().await.unwrap() {
                    body.extend_from_slice(&piece);
                }
                Outcome::Hit(meta, body)
            }
        }
    }

    /// Asks, and fills if there is nothing. Says whether it was there.
    pub(super) async fn visit(&self, key: CacheKey, body: &[u8]) -> bool {
        match self.ask(key).await {
            Outcome::Hit(..) => true,
            Outcome::Miss(filling) => {
                filling.fill(self, &policy(), ok(&[]), &[body]).await;
                false
            }
        }
    }

    /// The body that is kept, if one is.
    pub(super) async fn kept(&self, key: CacheKey) -> Option<Vec<u8>> {
        match self.ask(key).await {
            Outcome::Hit(_, body) => Some(body),
            Outcome::Miss(filling) => {
                filling.leave();
                None
            }
        }
    }
}

pub(super) enum Outcome {
    Hit(CacheMeta, Vec<u8>),
    Miss(Filling),
}

impl Outcome {
    pub(super) fn miss(self) -> Filling {
        match self {
            Self::Miss(filling) => filling,
            Self::Hit(..) => panic!("it was there"),
        }
    }
}

/// A request that holds the lock and brings an answer from the backend.
pub(super) struct Filling {
    cache: HttpCache,
}

impl Filling {
    /// Brings this answer. Says whether it was judged to be kept.
    pub(super) async fn fill(
        mut self,
        opened: &Opened,
        policy: &CachePolicy,
        header: ResponseHeader,
        pieces: &[&[u8]],
    ) -> bool {
        match opened.vault.judge(policy, &header, false) {
            RespCacheable::Uncacheable(reason) => {
                self.cache.disable(reason);
                return false;
            }
            RespCacheable::Cacheable(meta) => self.cache.set_cache_meta(meta),
        }
        self.cache.set_miss_handler().await.unwrap();
        for piece in pieces {
            let piece = Bytes::copy_from_slice(piece);
            self.cache.miss_handler().unwrap().write_body(piece, false).await.unwrap();
        }
        self.cache.finish_miss_handler().await.unwrap();
        true
    }

    /// Goes away without an answer.
    pub(super) fn leave(mut self) {
        self.cache.disable(NoCacheReason::UpstreamError);
    }
}
