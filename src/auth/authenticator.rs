use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;

use super::bearer::{bearer, token_text};
use super::cache::{Policy, TokenCache, TokenKey};
use super::claims::{caller, check_header};
use super::flaw::Flaw;
use super::keyring::Keyring;
use super::keyrings::Keyrings;
use super::keyset::KeySet;
use super::token::{Header, Token};
use crate::config::model::Provider;
use crate::net::NetError;
use crate::observe::{Event, Metrics};
use crate::request::{Caller, Refusal, RequestHead, UnixMillis};

/// Tells who is calling, for routes that accept the tokens of the same providers.
///
/// A token that was verified before costs one lookup. Any other is parsed strictly, checked against
/// the provider that its `iss` names, and verified with one of that provider's keys; only where
/// the key is not known yet does the request wait, for one fetch that all such requests share.
#[derive(Debug)]
pub struct Authenticator {
    accepted: Vec<Accepted>,
    policy: Policy,
    tokens: Arc<TokenCache>,
    metrics: Arc<Metrics>,
}

/// A provider whose tokens are accepted, and its keys.
#[derive(Debug)]
struct Accepted {
    provider: Arc<Provider>,
    ring: Arc<Keyring>,
}

impl Authenticator {
    /// Accepts the tokens of these providers, and begins to fetch the keys of those that nobody
    /// used before.
    ///
    /// # Errors
    /// A provider's bundle of authorities can't be used.
    pub fn new(
        providers: &[Arc<Provider>],
        keyrings: &Keyrings,
        tokens: Arc<TokenCache>,
    ) -> Result<Self, NetError> {
        let accepted = providers
            .iter()
            .map(|provider| {
                Ok(Accepted { provider: Arc::clone(provider), ring: keyrings.ring(provider)? })
            })
            .collect::<Result<_, NetError>>()?;
        let metrics = keyrings.metrics();
        Ok(Self { accepted, policy: Policy::of(providers), tokens, metrics })
    }

    /// The caller whose bearer token (RFC 6750 section 2.1) the request carries.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] with what is wrong; [`Refusal::IdentityUnavailable`] while the
    /// provider has given no keys at all.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        head: &RequestHead,
        now: UnixMillis,
    ) -> Result<Arc<Caller>, Refusal> {
        let token = bearer(headers).map_err(Refusal::Unauthenticated)?;
        let certificate = head.certificate_thumbprint;
        let key = TokenKey { policy: self.policy, certificate, token };
        let known = self.known(&key, now);
        self.metrics.record(Event::TokenCache { hit: known.is_some() });
        match known {
            Some(caller) => Ok(caller),
            // On the heap, so that hits don't carry the space for it.
            None => Box::pin(self.verify(&key, now)).await,
        }
    }

    /// The caller of a token that was verified before, if nothing has changed since.
    fn known(&self, key: &TokenKey<'_>, now: UnixMillis) -> Option<Arc<Caller>> {
        let verified = self.tokens.get(key)?;
        let ring = &self.accepted.get(verified.provider)?.ring;
        let lives = verified.caller.expires.is_some_and(|expires| now < expires);
        (lives && ring.generation() == verified.generation).then_some(verified.caller)
    }

    async fn verify(&self, key: &TokenKey<'_>, now: UnixMillis) -> Result<Arc<Caller>, Refusal> {
        let text = token_text(key.token).map_err(Refusal::Unauthenticated)?;
        let token = Token::parse(text)?;
        let issuer = token.claims.get("iss").and_then(Value::as_str);
        let mut refusal = Refusal::from(Flaw::Issuer);
        // Several providers may share an issuer and differ in audience: the first that accepts.
        for (place, accepted) in self.accepted.iter().enumerate() {
            if issuer != Some(&*accepted.provider.issuer) {
                continue;
            }
            match accepted.verify(&token, key, now).await {
                Ok((caller, generation)) => {
                    let caller = Arc::new(caller);
                    self.tokens.insert(key, Arc::clone(&caller), place, generation, now);
                    return Ok(caller);
                }
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }
}

impl Accepted {
    /// The caller, and the generation of the keys that say so.
    async fn verify(
        &self,
        token: &Token<'_>,
        key: &TokenKey<'_>,
        now: UnixMillis,
    ) -> Result<(Caller, u64), Refusal> {
        check_header(&self.provider, &token.header)?;
        let keys = self.keys_for(&token.header).await?;
        let algorithm = token.header.algorithm;
        let verifier = keys.choose(&token.header)?;
        if !verifier.verifies(algorithm, token.signed, &token.signature) {
            return Err(Flaw::Signature.into());
        }
        let caller = caller(&self.provider, &token.claims, key.certificate, now)?;
        Ok((caller, keys.generation))
    }

    /// The provider's keys: those at hand if they have the token's, else what another look gives.
    async fn keys_for(&self, header: &Header) -> Result<Arc<KeySet>, Refusal> {
        if let Some(keys) = self.ring.keys()
            && !matches!(keys.choose(header), Err(Flaw::UnknownKey))
        {
            return Ok(keys);
        }
        self.ring.look_again().await;
        self.ring.keys().ok_or(Refusal::IdentityUnavailable)
    }
}
