use std::sync::Arc;

use jsonwebtoken::Algorithm;

use super::{Bounds, Check, address, files};
use crate::config::model::{KeySource, Provider};
use crate::config::raw;
use crate::config::spot::Spot;

/// Where a provider publishes its document, below its issuer (OpenID Connect Discovery 1.0
/// section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

pub(super) fn provider(
    name: &Arc<str>,
    raw: &raw::Provider,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<Provider> {
    if &**name == "none" {
        check.error_on_key(at, "`none` stands for a public route and can't name a provider");
    }
    let keys = keys(raw, at, check);
    let authorities = raw
        .authorities
        .as_ref()
        .and_then(|text| files::authorities(text, &at.key("authorities"), check));
    let lifetime = at.key("max_lifetime");
    let refresh = at.key("refresh");
    let mut timing = |key: &str, value| check.duration(&refresh.key(key), value, Bounds::Timeout);
    let refresh_min = timing("min", raw.refresh.min);
    let refresh_max = timing("max", raw.refresh.max);
    let unknown_key_wait = timing("unknown_key_wait", raw.refresh.unknown_key_wait);
    let timeout = timing("timeout", raw.refresh.timeout);
    if refresh_min > refresh_max {
        check.error_on_key(&refresh, "`min` is longer than `max`");
    }
    Some(Provider {
        name: name.clone(),
        issuer: raw.issuer.as_str().into(),
        audiences: texts(raw.audience.as_slice()),
        keys: keys?,
        algorithms: algorithms(&raw.algorithms, &at.key("algorithms"), check),
        types: raw.types.iter().map(|typ| token_type(typ)).collect(),
        leeway: check.duration(&at.key("leeway"), raw.leeway, Bounds::Leeway),
        max_lifetime: raw.max_lifetime.map(|value| check.duration(&lifetime, value, Bounds::Long)),
        client_claims: texts(&raw.client_claims),
        scope_claim: raw.scope_claim.as_str().into(),
        refresh_min,
        refresh_max,
        unknown_key_wait,
        timeout,
        authorities: authorities.map(|(_, pem)| pem),
    })
}

pub(super) fn texts(list: &[String]) -> Vec<Arc<str>> {
    list.iter().map(|text| text.as_str().into()).collect()
}

fn keys(raw: &raw::Provider, at: &Spot<'_>, check: &mut Check<'_>) -> Option<KeySource> {
    if let Some(url) = &raw.jwks {
        return address::key_url(url, &at.key("jwks"), check).map(KeySource::Url);
    }
    if !check.is_whole(&at.key("jwks")) {
        return None;
    }
    let issuer = address::key_url(&raw.issuer, &at.key("issuer"), check)?;
    if issuer.contains(['?', '#']) {
        check
            .error(&at.key("issuer"), "with `?` or `#` in it no discovery document can be found")
            .hint("name the provider's keys with `jwks`");
        return None;
    }
    Some(KeySource::Discovery(format!("{}{DISCOVERY}", issuer.trim_end_matches('/')).into()))
}

/// `typ` is compared without case and without `application/` (RFC 7515 section 4.1.9).
fn token_type(text: &str) -> Arc<str> {
    let lower = text.to_ascii_lowercase();
    lower.strip_prefix("application/").unwrap_or(&lower).into()
}

fn algorithms(raw: &[raw::Algorithm], at: &Spot<'_>, check: &mut Check<'_>) -> Vec<Algorithm> {
    let mut algorithms = Vec::with_capacity(raw.len());
    for (position, raw) in raw.iter().enumerate() {
        let algorithm = match raw {
            raw::Algorithm::PS256 => Algorithm::PS256,
            raw::Algorithm::PS384 => Algorithm::PS384,
            raw::Algorithm::PS512 => Algorithm::PS512,
            raw::Algorithm::ES256 => Algorithm::ES256,
            raw::Algorithm::ES384 => Algorithm::ES384,
            raw::Algorithm::EdDSA => Algorithm::EdDSA,
            raw::Algorithm::RS256 => Algorithm::RS256,
            raw::Algorithm::RS384 => Algorithm::RS384,
            raw::Algorithm::RS512 => Algorithm::RS512,
        };
        if algorithms.contains(&algorithm) {
            let place = at.item(position);
            check.error(&place, format!("{} is here twice", place.quoted()));
        }
        algorithms.push(algorithm);
    }
    algorithms
}
