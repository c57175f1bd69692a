use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::request::{Caller, UnixMillis};

/// The field in which a passport travels.
pub const PASSPORT: HeaderName = HeaderName::from_static("x-tollgate-passport");

/// What the gateway at which a request arrived says of it to the account's owner: all that the
/// owner can't see for itself. Believed only on the fleet's own port; everywhere else the field is
/// dropped.
///
/// It is JSON in base64url. Fields that a gateway does not know are ignored and fields that it
/// misses have a default, so that gateways of two versions understand each other; a field never
/// changes its meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Passport {
    /// Who is calling, as the gateway of arrival has authenticated it; `None` on a public route.
    pub caller: Option<Caller>,
    /// The other end of the connection on which the request arrived.
    pub peer: IpAddr,
    /// Whether that connection was TLS.
    pub https: bool,
    /// SHA-256 of the client's certificate on that connection.
    pub certificate_thumbprint: Option<[u8; 32]>,
    /// Time left for the request, if its route has a deadline.
    pub left: Option<Duration>,
    /// The account's owner can't be reached: the receiver decides by its rules' `unavailable`.
    pub without_owner: bool,
}

/// Why a request on the fleet's port can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassportError {
    /// It carries none, or more than one.
    #[error("a request of the fleet carries no passport")]
    Missing,
    /// It can't be read.
    #[error("the passport of a request of the fleet can't be read")]
    Malformed,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caller: Option<WireCaller>,
    peer: IpAddr,
    #[serde(default)]
    https: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<[u8; 32]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    without_owner: bool,
}

#[derive(Serialize, Deserialize)]
struct WireCaller {
    provider: Arc<str>,
    client: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Arc<str>>,
    #[serde(default)]
    scopes: Vec<Arc<str>>,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<[u8; 32]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

impl Passport {
    /// As a field's value.
    ///
    /// # Errors
    /// Never in practice; a value that can't be written is [`PassportError::Malformed`].
    pub fn write(&self) -> Result<HeaderValue, PassportError> {
        let wire = Wire {
            caller: self.caller.as_ref().map(WireCaller::of),
            peer: self.peer,
            https: self.https,
            certificate: self.certificate_thumbprint,
            left_ms: self.left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            without_owner: self.without_owner,
        };
        let json = serde_json::to_vec(&wire).map_err(|_| PassportError::Malformed)?;
        let mut value = HeaderValue::try_from(URL_SAFE_NO_PAD.encode(json))
            .map_err(|_| PassportError::Malformed)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// From a request's fields.
    ///
    /// # Errors
    /// See [`PassportError`].
    pub fn read(headers: &HeaderMap) -> Result<Self, PassportError> {
        let mut values = headers.get_all(PASSPORT).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(PassportError::Missing);
        };
        let json = URL_SAFE_NO_PAD.decode(value).map_err(|_| PassportError::Malformed)?;
        let wire: Wire = serde_json::from_slice(&json).map_err(|_| PassportError::Malformed)?;
        Ok(Self {
            caller: wire.caller.map(WireCaller::into_caller),
            peer: wire.peer,
            https: wire.https,
            certificate_thumbprint: wire.certificate,
            left: wire.left_ms.map(Duration::from_millis),
            without_owner: wire.without_owner,
        })
    }
}

impl WireCaller {
    fn of(caller: &Caller) -> Self {
        Self {
            provider: Arc::clone(&caller.provider),
            client: Arc::clone(&caller.client),
            subject: caller.subject.clone(),
            scopes: caller.scopes.clone(),
            claims: caller.claims.clone(),
            certificate: caller.certificate_thumbprint,
            expires: caller.expires.map(|expires| expires.0),
        }
    }

    fn into_caller(self) -> Caller {
        Caller {
            provider: self.provider,
            client: self.client,
            subject: self.subject,
            scopes: self.scopes,
            claims: self.claims,
            certificate_thumbprint: self.certificate,
            expires: self.expires.map(UnixMillis),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn passport() -> Passport {
        Passport {
            caller: Some(Caller {
                provider: "bank".into(),
                client: "budget-app".into(),
                subject: Some("anna".into()),
                scopes: vec!["accounts:read".into()],
                claims: json!({ "consent": { "accounts": ["4711"] } })
                    .as_object()
                    .cloned()
                    .unwrap(),
                certificate_thumbprint: Some([7; 32]),
                expires: Some(UnixMillis(1_800_000_000_000)),
            }),
            peer: "2001:db8::7".parse().unwrap(),
            https: true,
            certificate_thumbprint: Some([7; 32]),
            left: Some(Duration::from_millis(1500)),
            without_owner: false,
        }
    }

    fn headers(values: &[HeaderValue]) -> HeaderMap {
        values.iter().map(|value| (PASSPORT, value.clone())).collect()
    }

    fn encoded(value: &Value) -> HeaderValue {
        HeaderValue::try_from(URL_SAFE_NO_PAD.encode(value.to_string())).unwrap()
    }

    #[test]
    fn the_owner_reads_what_the_gateway_of_arrival_wrote() {
        let value = passport().write().unwrap();
        assert_eq!(Passport::read(&headers(&[value])), Ok(passport()));
    }

    #[test]
    fn a_passport_does_not_show_in_debug_output() {
        let value = passport().write().unwrap();
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn fields_of_a_later_version_are_ignored_and_missing_ones_have_defaults() {
        let later = encoded(&json!({ "peer": "192.0.2.1", "tenant": "later" }));
        let read = Passport::read(&headers(&[later])).unwrap();
        assert_eq!(read.caller, None);
        assert!(!read.https && !read.without_owner && read.left.is_none());
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(Passport::read(&headers(&[])), Err(PassportError::Missing));
        let value = passport().write().unwrap();
        let twice = headers(&[value.clone(), value]);
        assert_eq!(Passport::read(&twice), Err(PassportError::Missing));
        for text in ["", "e30", "%%%", "bnVsbA"] {
            let bad = headers(&[HeaderValue::from_static(text)]);
            assert_eq!(Passport::read(&bad), Err(PassportError::Malformed), "{text}");
        }
    }
}
