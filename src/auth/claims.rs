use std::sync::Arc;

use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::flaw::Flaw;
use super::token::{Header, decode};
use crate::config::model::Provider;
use crate::request::{Caller, UnixMillis};

/// Longest client identifier: it becomes part of quota buckets and cache keys.
const MAX_CLIENT_BYTES: usize = 256;
/// Longest subject; OpenID Connect Core section 2 allows 255 characters.
const MAX_SUBJECT_BYTES: usize = 512;

/// SHA-256 of a client certificate.
pub(super) type Thumbprint = [u8; 32];

/// What the header must say for this provider, before a key is looked for.
pub(super) fn check_header(provider: &Provider, header: &Header) -> Result<(), Flaw> {
    if !provider.algorithms.contains(&header.algorithm) {
        return Err(Flaw::Algorithm);
    }
    let kind = header.kind.as_deref();
    if !provider.types.is_empty() && !provider.types.iter().any(|accepted| kind == Some(accepted)) {
        return Err(Flaw::Type);
    }
    Ok(())
}

/// The caller that a token speaks of, if its claims hold for this provider, now, over this
/// connection. The signature has been verified.
pub(super) fn caller(
    provider: &Provider,
    claims: &Map<String, Value>,
    certificate: Option<Thumbprint>,
    now: UnixMillis,
) -> Result<Caller, Flaw> {
    check_issuer(provider, claims)?;
    check_audience(provider, claims)?;
    let expires = check_times(provider, claims, now)?;
    check_confirmation(claims, certificate)?;
    let subject = claims.get("sub").map(|sub| text(sub, MAX_SUBJECT_BYTES).ok_or(Flaw::Subject));
    let mut caller = Caller {
        provider: Arc::clone(&provider.name),
        client: Arc::from(""),
        subject: subject.transpose()?,
        scopes: Vec::new(),
        claims: claims.clone(),
        certificate_thumbprint: certificate,
        expires: Some(expires),
    };
    // These two may name claims inside others, which a caller knows how to find.
    caller.client = client(provider, &caller)?;
    caller.scopes = scopes(caller.claim(&provider.scope_claim))?;
    Ok(caller)
}

fn check_issuer(provider: &Provider, claims: &Map<String, Value>) -> Result<(), Flaw> {
    match claims.get("iss") {
        Some(Value::String(issuer)) if **issuer == *provider.issuer => Ok(()),
        _ => Err(Flaw::Issuer),
    }
}

fn check_audience(provider: &Provider, claims: &Map<String, Value>) -> Result<(), Flaw> {
    let accepted = |audience: &str| provider.audiences.iter().any(|ours| **ours == *audience);
    match claims.get("aud") {
        Some(Value::String(audience)) if accepted(audience) => Ok(()),
        Some(Value::Array(audiences))
            if audiences.iter().all(Value::is_string)
                && audiences.iter().filter_map(Value::as_str).any(accepted) =>
        {
            Ok(())
        }
        _ => Err(Flaw::Audience),
    }
}

/// When the token ends for the gateway: `exp` and the leeway.
fn check_times(
    provider: &Provider,
    claims: &Map<String, Value>,
    now: UnixMillis,
) -> Result<UnixMillis, Flaw> {
    let leeway = provider.leeway;
    let expiry = date(claims, "exp", Flaw::NoExpiry)?.ok_or(Flaw::NoExpiry)?;
    if now >= expiry.plus(leeway) {
        return Err(Flaw::Expired);
    }
    if date(claims, "nbf", Flaw::NotYetValid)?.is_some_and(|start| start > now.plus(leeway)) {
        return Err(Flaw::NotYetValid);
    }
    let issued = date(claims, "iat", Flaw::IssuedAt)?;
    if issued.is_some_and(|issued| issued > now.plus(leeway) || issued > expiry) {
        return Err(Flaw::IssuedAt);
    }
    if provider.max_lifetime.is_some_and(|longest| expiry > now.plus(longest).plus(leeway)) {
        return Err(Flaw::TooLong);
    }
    Ok(expiry.plus(leeway))
}

/// A NumericDate: seconds, perhaps with a fraction (RFC 7519 section 2).
fn date(claims: &Map<String, Value>, name: &str, flaw: Flaw) -> Result<Option<UnixMillis>, Flaw> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(UnixMillis(seconds.saturating_mul(1000))));
    }
    match value.as_f64() {
        // The conversion saturates.
        Some(seconds) if seconds >= 0.0 => Ok(Some(UnixMillis((seconds * 1000.0) as u64))),
        _ => Err(flaw),
    }
}

/// A token that is bound to a key counts only with that key (RFC 7800). Client certificates
/// (RFC 8705) can be confirmed here; a DPoP key (RFC 9449, `jkt`) or any other can't, and a token
/// that says so must not pass as one that anybody may hold.
fn check_confirmation(
    claims: &Map<String, Value>,
    certificate: Option<Thumbprint>,
) -> Result<(), Flaw> {
    let Some(confirmation) = claims.get("cnf") else { return Ok(()) };
    if confirmation.get("jkt").is_some() {
        return Err(Flaw::Confirmation);
    }
    let bound = confirmation
        .get("x5t#S256")
        .and_then(Value::as_str)
        .and_then(|text| decode(text).ok())
        .filter(|thumbprint| thumbprint.len() == size_of::<Thumbprint>())
        .ok_or(Flaw::Confirmation)?;
    let presented = certificate.ok_or(Flaw::Certificate)?;
    if bool::from(presented.as_slice().ct_eq(&bound)) { Ok(()) } else { Err(Flaw::Certificate) }
}

fn client(provider: &Provider, caller: &Caller) -> Result<Arc<str>, Flaw> {
    provider
        .client_claims
        .iter()
        .find_map(|name| caller.claim(name))
        .and_then(|value| text(value, MAX_CLIENT_BYTES))
        .ok_or(Flaw::Client)
}

/// A text that may go into keys and log lines: not empty, bounded, no control characters.
fn text(value: &Value, longest: usize) -> Option<Arc<str>> {
    let text = value.as_str()?;
    let fits = (1..=longest).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.into())
}

/// The scopes, sorted and once each: a text with spaces (RFC 9068 section 2.2.3) or, as some
/// providers have it, a list.
fn scopes(claim: Option<&Value>) -> Result<Vec<Arc<str>>, Flaw> {
    let mut scopes: Vec<Arc<str>> = match claim {
        None => Vec::new(),
        Some(Value::String(text)) => words(text).map(Arc::from).collect(),
        Some(Value::Array(list)) => list
            .iter()
            .map(|scope| scope.as_str().map(Arc::from).ok_or(Flaw::Scope))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(Flaw::Scope),
    };
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}
