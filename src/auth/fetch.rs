use std::fmt;

use http::{HeaderMap, StatusCode};
use reqwest::{Client, Url};
use serde_json::Value;

use super::json::parse_object;
use super::jwk::Key;
use super::keyset::{KeySetFlaw, read_keys};
use super::plan::TrustedSource;
use crate::config::model::KeySource;
use crate::net::{Fetched, NetError, fetch_bounded};

/// Largest discovery document or key set read. Real ones have up to 20 KiB.
const MAX_DOCUMENT_BYTES: usize = 512 * 1024;

/// Keys and what the answer that brought them says of their lifetime.
pub(super) struct FetchedKeys {
    pub(super) keys: Vec<Key>,
    pub(super) headers: HeaderMap,
}

/// Which of a provider's documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Discovery,
    KeySet,
}

/// Why no keys came. For operators.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the {0} could not be fetched: {1}")]
    Net(Document, NetError),
    #[error("the {0} came with status {1}")]
    Status(Document, StatusCode),
    #[error("the discovery document is not a JSON object")]
    Discovery,
    #[error("the discovery document is another issuer's")]
    Issuer,
    #[error("the discovery document names no usable 'jwks_uri'")]
    KeySetUrl,
    #[error("the key set is of no use: {0}")]
    Keys(#[from] KeySetFlaw),
    #[error("the fetch took longer than allowed")]
    TimedOut,
    #[error("the fetch failed within the gateway")]
    Panicked,
}

/// Fetches a source's keys, by way of its discovery document where it has one.
pub(super) async fn fetch_keys(
    client: &Client,
    source: &TrustedSource,
) -> Result<FetchedKeys, FetchError> {
    let fetched = match &source.keys {
        KeySource::Url(url) => get(client, Document::KeySet, url).await?,
        KeySource::Discovery(url) => {
            let discovered = get(client, Document::Discovery, url).await?;
            let keys_url = key_set_url(&discovered.body, &source.issuer, url)?;
            get(client, Document::KeySet, keys_url.as_str()).await?
        }
    };
    Ok(FetchedKeys { keys: read_keys(&fetched.body)?, headers: fetched.headers })
}

async fn get(client: &Client, document: Document, url: &str) -> Result<Fetched, FetchError> {
    let fetched = fetch_bounded(client, url, MAX_DOCUMENT_BYTES)
        .await
        .map_err(|error| FetchError::Net(document, error))?;
    match fetched.status {
        StatusCode::OK => Ok(fetched),
        status => Err(FetchError::Status(document, status)),
    }
}

/// Where the discovery document (OpenID Connect Discovery 1.0 section 3, RFC 8414) says that the
/// keys are. Its issuer must be the configured one to the letter (section 4.3): else one tenant
/// of a provider could speak for another.
fn key_set_url(document: &[u8], issuer: &str, found_at: &str) -> Result<Url, FetchError> {
    let document = parse_object(document).map_err(|_| FetchError::Discovery)?;
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(FetchError::Issuer);
    }
    let url = document
        .get("jwks_uri")
        .and_then(Value::as_str)
        .and_then(|url| Url::parse(url).ok())
        .ok_or(FetchError::KeySetUrl)?;
    // A document that came over TLS must not send the gateway to keys that anybody can change.
    let downgraded = found_at.starts_with("https:") && url.scheme() != "https";
    if downgraded { Err(FetchError::KeySetUrl) } else { Ok(url) }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discovery => "discovery document",
            Self::KeySet => "key set",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(document: &str, found_at: &str) -> Result<String, String> {
        key_set_url(document.as_bytes(), "https://idp.example", found_at)
            .map(Into::into)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_discovery_document_names_the_key_set() {
        let document = r#"{"issuer":"https://idp.example","jwks_uri":"https://keys.example/k"}"#;
        assert_eq!(url_of(document, "https://idp.example/x").unwrap(), "https://keys.example/k");
    }

    #[test]
    fn a_discovery_document_that_differs_by_a_slash_is_another_issuers() {
        for issuer in ["https://idp.example/", "https://IDP.example", "http://idp.example", ""] {
            let document = format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://k.example/"}}"#);
            let error = url_of(&document, "https://idp.example/x").unwrap_err();
            assert_eq!(error, "the discovery document is another issuer's", "{issuer}");
        }
    }

    #[test]
    fn a_key_set_url_must_be_there_and_not_lose_tls() {
        for member in [r#""a":1"#, r#""jwks_uri":"keys""#, r#""jwks_uri":"http://k.example/""#] {
            let document = format!(r#"{{"issuer":"https://idp.example",{member}}}"#);
            let error = url_of(&document, "https://idp.example/x").unwrap_err();
            assert_eq!(error, "the discovery document names no usable 'jwks_uri'", "{member}");
        }
        let document = r#"{"issuer":"https://idp.example","jwks_uri":"http://k.example/"}"#;
        assert!(url_of(document, "http://idp.example/x").is_ok());
    }
}
