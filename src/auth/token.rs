use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::flaw::Flaw;
use super::json::parse_object;

/// Longest key id, in a token and in a key set.
pub(super) const MAX_KEY_ID_BYTES: usize = 256;

/// A JWT in compact form (RFC 7515 section 7.1), taken apart and not yet believed.
#[derive(Debug)]
pub(super) struct Token<'t> {
    pub(super) header: Header,
    pub(super) claims: Map<String, Value>,
    /// What was signed: the first two parts as they came.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
}

/// What the gateway reads of a token's header; keys and URLs in it (`jwk`, `jku`, `x5u`) are not
/// read at all, since whoever forged the token wrote them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    /// `typ`, lower case, without `application/`.
    pub(super) kind: Option<String>,
}

impl<'t> Token<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, Flaw> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Flaw::NotThreeParts)?;
        let (header, claims) = signed.split_once('.').ok_or(Flaw::NotThreeParts)?;
        if claims.contains('.') {
            return Err(Flaw::NotThreeParts);
        }
        Ok(Self {
            header: Header::read(&parse_object(&decode(header)?)?)?,
            claims: parse_object(&decode(claims)?)?,
            signed: signed.as_bytes(),
            signature: decode(signature)?,
        })
    }
}

impl Header {
    fn read(members: &Map<String, Value>) -> Result<Self, Flaw> {
        // RFC 7515 section 4.1.11: an extension that must be understood, and none is.
        if members.contains_key("crit") {
            return Err(Flaw::Critical);
        }
        let algorithm = members
            .get("alg")
            .and_then(Value::as_str)
            .and_then(algorithm)
            .ok_or(Flaw::Algorithm)?;
        let key_id = match members.get("kid") {
            None => None,
            Some(Value::String(id)) if is_key_id(id) => Some(id.clone()),
            Some(_) => return Err(Flaw::KeyId),
        };
        let kind = match members.get("typ") {
            None => None,
            Some(Value::String(kind)) => Some(short_type(kind)),
            Some(_) => return Err(Flaw::Type),
        };
        Ok(Self { algorithm, key_id, kind })
    }
}

/// Whether a text may name a key.
pub(super) fn is_key_id(id: &str) -> bool {
    (1..=MAX_KEY_ID_BYTES).contains(&id.len())
}

/// An algorithm by its registered name. `Ed25519` is the name that RFC 9864 gives to the only
/// curve that `EdDSA` is used with here.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "Ed25519" => Some(Algorithm::EdDSA),
        _ => Algorithm::from_str(name).ok(),
    }
}

/// base64url without padding and without stray bits: one spelling for each value, so that a token
/// can't be changed and still be verified.
pub(super) fn decode(part: &str) -> Result<Vec<u8>, Flaw> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::NotBase64)
}

/// RFC 7515 section 4.1.9: media types compare without case, and `application/` may be left out
/// where no other slash follows.
fn short_type(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(short) if !short.contains('/') => short.to_owned(),
        _ => lower,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &str) -> Result<Header, Flaw> {
        Token::parse(&format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header))).map(|t| t.header)
    }

    #[test]
    fn a_token_comes_apart() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"k1","typ":"AT+JWT"}"#);
        let text = format!("{header}.{}.AQI", URL_SAFE_NO_PAD.encode(r#"{"iss":"i"}"#));
        let token = Token::parse(&text).unwrap();
        assert_eq!(token.header.algorithm, Algorithm::ES256);
        assert_eq!(token.header.key_id.as_deref(), Some("k1"));
        assert_eq!(token.header.kind.as_deref(), Some("at+jwt"));
        assert_eq!(token.claims["iss"], "i");
        assert_eq!(token.signed, text.rsplit_once('.').unwrap().0.as_bytes());
        assert_eq!(token.signature, [1, 2]);
    }

    #[test]
    fn a_media_type_is_shortened_only_where_that_is_its_short_form() {
        assert_eq!(short_type("application/at+JWT"), "at+jwt");
        assert_eq!(short_type("application/a/b"), "application/a/b");
        assert_eq!(short_type("text/jwt"), "text/jwt");
    }

    #[test]
    fn the_two_names_of_ed25519_are_one_algorithm() {
        assert_eq!(read(r#"{"alg":"Ed25519"}"#), read(r#"{"alg":"EdDSA"}"#));
    }

    #[test]
    fn headers_of_the_wrong_shape_are_refused() {
        for (header, flaw) in [
            (r#"{}"#, Flaw::Algorithm),
            (r#"{"alg":256}"#, Flaw::Algorithm),
            (r#"{"alg":"none"}"#, Flaw::Algorithm),
            (r#"{"alg":"es256"}"#, Flaw::Algorithm),
            (r#"{"alg":"ES256","kid":""}"#, Flaw::KeyId),
            (r#"{"alg":"ES256","kid":1}"#, Flaw::KeyId),
            (r#"{"alg":"ES256","typ":null}"#, Flaw::Type),
            (r#"{"alg":"ES256","crit":[]}"#, Flaw::Critical),
        ] {
            assert_eq!(read(header), Err(flaw), "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = Token::parse(&text);
        }

        #[test]
        fn no_header_or_claims_make_the_parser_panic(header in any::<String>(), claims in any::<String>()) {
            let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let _ = Token::parse(&format!("{}.{}.AA", encode(&header), encode(&claims)));
        }

        #[test]
        fn what_is_parsed_is_spelt_in_one_way(signature in "[A-Za-z0-9_-]{0,12}") {
            let text = format!("eyJhbGciOiJFUzI1NiJ9.e30.{signature}");
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(URL_SAFE_NO_PAD.encode(token.signature), signature);
            }
        }
    }
}
