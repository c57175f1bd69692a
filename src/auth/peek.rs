use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;

use super::bearer::{bearer, token_text};
use super::claims::{caller, check_header};
use super::flaw::Flaw;
use super::token::Token;
use crate::config::model::Provider;
use crate::request::{Caller, Refusal, UnixMillis};

/// Who a request says is calling: everything that its token's text can tell is checked, the
/// signature is not. For explanations only, where no identity provider is asked.
///
/// # Errors
/// What authentication would refuse before it looks at the signature.
pub fn read_unverified(
    providers: &[Arc<Provider>],
    headers: &HeaderMap,
    now: UnixMillis,
) -> Result<Caller, Refusal> {
    let token = bearer(headers).and_then(token_text).map_err(Refusal::Unauthenticated)?;
    let token = Token::parse(token)?;
    let issuer = token.claims.get("iss").and_then(Value::as_str);
    let mut refusal = Refusal::from(Flaw::Issuer);
    for provider in providers.iter().filter(|provider| issuer == Some(&*provider.issuer)) {
        let read = check_header(provider, &token.header)
            .and_then(|()| caller(provider, &token.claims, None, now));
        match read {
            Ok(caller) => return Ok(caller),
            Err(flaw) => refusal = flaw.into(),
        }
    }
    Err(refusal)
}
