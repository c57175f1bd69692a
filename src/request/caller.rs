use std::sync::Arc;

use serde_json::{Map, Value};

use super::UnixMillis;

/// Who is calling, as proven by the `auth` stage; nothing else makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// Name of the identity provider in the configuration.
    pub provider: Arc<str>,
    /// The OAuth client: one aggregator or application, standing for any number of accounts.
    pub client: Arc<str>,
    /// The person or service for whom the client acts, where the credential names one.
    pub subject: Option<Arc<str>>,
    /// Scopes granted (RFC 6749 section 3.3), sorted.
    pub scopes: Vec<Arc<str>>,
    /// All claims of the credential.
    pub claims: Map<String, Value>,
    /// SHA-256 of the client certificate (RFC 8705), where one was presented.
    pub certificate_thumbprint: Option<[u8; 32]>,
    /// When the credential ends; a caller must not be used after it.
    pub expires: Option<UnixMillis>,
}

impl Caller {
    /// Whether the credential grants a scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| &**granted == scope)
    }

    /// A claim by name, or by names joined with dots for nested objects. A name that itself
    /// contains dots (such as a namespaced URL) is tried whole first.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name).or_else(|| {
            let mut parts = name.split('.');
            let first = self.claims.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        })
    }
}
