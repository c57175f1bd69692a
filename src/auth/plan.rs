use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{KeySource, Provider};

/// How a provider's keys are fetched: the part of its configuration that a keyring depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FetchPlan {
    pub(super) provider: Arc<str>,
    pub(super) source: TrustedSource,
    pub(super) refresh_min: Duration,
    pub(super) refresh_max: Duration,
    pub(super) unknown_key_wait: Duration,
    /// For all of a fetch: discovery and keys.
    pub(super) timeout: Duration,
}

/// Whose word is taken for the keys. Keys from one source must not pass for another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TrustedSource {
    pub(super) issuer: Arc<str>,
    pub(super) keys: KeySource,
    pub(super) authorities: Option<Arc<[u8]>>,
}

impl FetchPlan {
    pub(super) fn of(provider: &Provider) -> Self {
        Self {
            provider: Arc::clone(&provider.name),
            source: TrustedSource {
                issuer: Arc::clone(&provider.issuer),
                keys: provider.keys.clone(),
                authorities: provider.authorities.clone(),
            },
            refresh_min: provider.refresh_min,
            refresh_max: provider.refresh_max,
            unknown_key_wait: provider.unknown_key_wait,
            timeout: provider.timeout,
        }
    }
}

#[cfg(test)]
impl FetchPlan {
    /// A plan with usual bounds for a key set at a URL.
    pub(super) fn for_tests(url: &str) -> Self {
        Self {
            provider: "bank".into(),
            source: TrustedSource {
                issuer: "https://idp.bank.example".into(),
                keys: KeySource::Url(url.into()),
                authorities: None,
            },
            refresh_min: Duration::from_secs(60),
            refresh_max: Duration::from_secs(3600),
            unknown_key_wait: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
        }
    }
}
