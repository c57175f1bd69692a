//! The body of a refusal in the form that an API family expects.

use http::StatusCode;
use serde_json::{Value, json};

use super::problem::{Problem, whole_seconds};
use crate::config::model::Dialect;
use crate::request::{Challenge, Refusal};

/// Prefix of the types of Tollgate's own problems. `quota-exceeded` is registered with IANA
/// (draft-ietf-httpapi-ratelimit-headers-10, section 7) and has its prefix.
const TYPE_PREFIX: &str = "urn:tollgate:problem:";
const IANA_PREFIX: &str = "https://iana.org/assignments/http-problem-types#";

impl Problem {
    /// Content type and body in an API family's dialect.
    pub fn body(
        &self,
        refusal: &Refusal,
        dialect: Dialect,
        request_id: &str,
    ) -> (&'static str, Value) {
        match dialect {
            Dialect::Problem => ("application/problem+json", self.rfc9457(refusal, request_id)),
            Dialect::Fdx => ("application/json", self.fdx(refusal, request_id)),
            Dialect::BerlinGroup => ("application/json", self.berlin_group(refusal)),
        }
    }

    fn rfc9457(&self, refusal: &Refusal, request_id: &str) -> Value {
        let prefix = match refusal {
            Refusal::QuotaExceeded(_) => IANA_PREFIX,
            _ => TYPE_PREFIX,
        };
        let mut body = json!({
            "type": format!("{prefix}{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "instance": format!("urn:request:{request_id}"),
        });
        if let (Refusal::QuotaExceeded(quota), Some(members)) = (refusal, body.as_object_mut()) {
            members.insert("violated-policies".into(), json!([quota.state.policy]));
            members.insert("limit".into(), quota.state.limit.into());
            members.insert("used".into(), quota.used.into());
            members.insert("window".into(), quota.state.window.as_secs().into());
            members.insert("retry-after".into(), whole_seconds(quota.state.reset).into());
            if let Some(account) = &quota.state.account {
                members.insert("account".into(), account.as_str().into());
            }
        }
        body
    }

    /// FDX API 6, entity `Error`.
    fn fdx(&self, refusal: &Refusal, request_id: &str) -> Value {
        // FDX has codes of its own for some cases and takes the HTTP status for the others.
        let code = match refusal {
            Refusal::AccountInvalid(_) | Refusal::AccountMissing { .. } => 701,
            Refusal::AccountMismatch => 704,
            Refusal::Forbidden { .. } | Refusal::MissingScope { .. } => 602,
            Refusal::Internal => 500,
            Refusal::NoEndpoint { .. } => 501,
            _ => self.status.as_u16(),
        };
        json!({
            "code": code.to_string(),
            "message": self.title,
            "debugMessage": format!("{}. Request {request_id}.", self.detail.trim_end_matches('.')),
        })
    }

    /// Berlin Group NextGenPSD2 Implementation Guidelines 1.3, section 4.13.
    fn berlin_group(&self, refusal: &Refusal) -> Value {
        let code = match refusal {
            Refusal::QuotaExceeded(_) | Refusal::RateLimited(_) => "ACCESS_EXCEEDED",
            Refusal::Unauthenticated(Challenge::Missing) => "TOKEN_UNKNOWN",
            Refusal::Unauthenticated(_) => "TOKEN_INVALID",
            Refusal::MissingScope { .. } | Refusal::Forbidden { .. } => "SERVICE_BLOCKED",
            Refusal::AccountMismatch => "CONSENT_UNKNOWN",
            Refusal::NoRoute => "RESOURCE_UNKNOWN",
            Refusal::MethodNotAllowed { .. } => "SERVICE_INVALID",
            _ if self.status.is_client_error() => "FORMAT_ERROR",
            _ if self.status == StatusCode::SERVICE_UNAVAILABLE => "SERVICE_UNAVAILABLE",
            _ => "INTERNAL_SERVER_ERROR",
        };
        json!({ "tppMessages": [{ "category": "ERROR", "code": code, "text": self.detail }] })
    }
}
