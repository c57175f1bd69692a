//! The token endpoint's side of OAuth: who asks, and for what (RFC 6749 sections 2.3.1, 3.3 and 4.4).

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::token::DEFAULT_SCOPE;

const LARGEST_FORM: usize = 16 << 10;

/// A client that has proved who it is, and the scope that it asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who asks.
    pub client_id: String,
    /// For what.
    pub scope: String,
}

/// RFC 6749 section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The request is malformed.
    InvalidRequest(&'static str),
    /// Unknown client or wrong secret.
    InvalidClient,
    /// Only client credentials are granted here.
    UnsupportedGrantType,
    /// The scope is malformed.
    InvalidScope,
}

/// Reads and authenticates a request for a token.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Asked, Denied> {
    let is_form = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    if !is_form {
        return Err(Denied::InvalidRequest("the body must be application/x-www-form-urlencoded"));
    }
    let form = Form::read(body)?;
    let client_id = authenticate(headers, &form)?;
    match form.get("grant_type")? {
        Some("client_credentials") => {}
        Some(_) => return Err(Denied::UnsupportedGrantType),
        None => return Err(Denied::InvalidRequest("grant_type is missing")),
    }
    let scope = form.get("scope")?.unwrap_or(DEFAULT_SCOPE).to_owned();
    if well_formed(&scope) { Ok(Asked { client_id, scope }) } else { Err(Denied::InvalidScope) }
}

/// By HTTP Basic or by the form, never by both.
fn authenticate(headers: &HeaderMap, form: &Form) -> Result<String, Denied> {
    let secret = form.get("client_secret")?;
    let (client_id, secret) = match (headers.get(AUTHORIZATION), secret) {
        (Some(_), Some(_)) => {
            return Err(Denied::InvalidRequest("two ways of authentication at once"));
        }
        (Some(basic), None) => {
            basic.to_str().ok().and_then(credentials).ok_or(Denied::InvalidClient)?
        }
        (None, Some(secret)) => {
            let client_id = form.get("client_id")?.ok_or(Denied::InvalidClient)?;
            (client_id.to_owned(), secret.to_owned())
        }
        (None, None) => return Err(Denied::InvalidClient),
    };
    let known = secret_of(&client_id).ok_or(Denied::InvalidClient)?;
    let right: bool = known.as_bytes().ct_eq(secret.as_bytes()).into();
    if right { Ok(client_id) } else { Err(Denied::InvalidClient) }
}

/// The demo's clients, and any number of them for load tests.
fn secret_of(client_id: &str) -> Option<String> {
    match client_id {
        "budget-app" => Some("budget-secret".to_owned()),
        "ledger-app" => Some("ledger-secret".to_owned()),
        _ => {
            let number = client_id.strip_prefix("client-")?;
            let counted =
                (1..=9).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
            counted.then(|| format!("secret-{number}"))
        }
    }
}

/// RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
fn credentials(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (client_id, secret) = joined.split_once(':')?;
    let decode = |half: &str| {
        let form = Form::read(format!("half={half}").as_bytes()).ok()?;
        form.get("half").ok().flatten().map(str::to_owned)
    };
    Some((decode(client_id)?, decode(secret)?))
}

/// RFC 6749 section 3.3: printable ASCII but for quotes and backslashes, single spaces between.
fn well_formed(scope: &str) -> bool {
    let token = |token: &str| {
        !token.is_empty()
            && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    scope.len() <= 1_024 && scope.split(' ').all(token)
}

struct Form(Vec<(String, String)>);

impl Form {
    fn read(body: &[u8]) -> Result<Self, Denied> {
        if body.len() > LARGEST_FORM {
            return Err(Denied::InvalidRequest("the form is too large"));
        }
        Ok(Self(form_urlencoded::parse(body).into_owned().collect()))
    }

    /// The member of this name; a repeated one is an error by RFC 6749 section 3.2.
    fn get(&self, name: &str) -> Result<Option<&str>, Denied> {
        let mut values =
            self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Denied::InvalidRequest("a parameter is repeated")),
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (status, error, description) = match self {
            Self::InvalidRequest(why) => (StatusCode::BAD_REQUEST, "invalid_request", why),
            Self::InvalidClient => {
                (StatusCode::UNAUTHORIZED, "invalid_client", "unknown client or wrong secret")
            }
            Self::UnsupportedGrantType => (
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "only client_credentials is granted here",
            ),
            Self::InvalidScope => {
                (StatusCode::BAD_REQUEST, "invalid_scope", "the scope is malformed")
            }
        };
        let body = axum::Json(json!({ "error": error, "error_description": description }));
        let mut response = (status, [(CACHE_CONTROL, "no-store")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = http::HeaderValue::from_static("Basic realm=\"demo-bank\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(basic: Option<&str>, body: &str) -> Result<Asked, Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        if let Some(basic) = basic {
            headers.insert(
                AUTHORIZATION,
                format!("Basic {}", STANDARD.encode(basic)).parse().unwrap(),
            );
        }
        read(&headers, body.as_bytes())
    }

    fn granted(client_id: &str, scope: &str) -> Result<Asked, Denied> {
        Ok(Asked { client_id: client_id.to_owned(), scope: scope.to_owned() })
    }

    #[test]
    fn clients_are_known_by_basic_or_by_form() {
        let grant = "grant_type=client_credentials";
        assert_eq!(
            ask(Some("budget-app:budget-secret"), grant),
            granted("budget-app", "accounts:read")
        );
        let form = format!("{grant}&client_id=client-7&client_secret=secret-7&scope=a%3Ab+c");
        assert_eq!(ask(None, &form), granted("client-7", "a:b c"));
        assert_eq!(
            ask(Some("ledger%2Dapp:ledger-secret"), grant),
            granted("ledger-app", "accounts:read")
        );
    }

    #[test]
    fn others_are_denied_with_the_reason_that_the_rfc_names() {
        let grant = "grant_type=client_credentials";
        let known = Some("budget-app:budget-secret");
        for (basic, body, denied) in [
            (None, grant, Denied::InvalidClient),
            (Some("budget-app:wrong"), grant, Denied::InvalidClient),
            (Some("client-x:secret-x"), grant, Denied::InvalidClient),
            (known, "grant_type=password", Denied::UnsupportedGrantType),
            (known, "grant_type=client_credentials&scope=a%22", Denied::InvalidScope),
            (known, "grant_type=client_credentials&scope=a++b", Denied::InvalidScope),
        ] {
            assert_eq!(ask(basic, body), Err(denied), "{basic:?} {body}");
        }
        for body in [
            "",
            "grant_type=client_credentials&grant_type=x",
            "grant_type=client_credentials&client_secret=x",
        ] {
            assert!(matches!(ask(known, body), Err(Denied::InvalidRequest(_))), "{body}");
        }
    }
}
