//! Tokens, good and hostile, and the identity providers whose keys they are signed with.

mod bound;
mod hostile;
mod keys;
mod provider;
mod settings;

use crate::support::gateway::base_config;
use crate::support::{Answer, Bank};

/// A route that tells who is calling, by way of the backend.
const ROUTE: &str = r#"
routes:
  - { id: who, match: { path: /who }, authenticate: bank, cluster: checking, rewrite: { path: "/echo/{client}" } }
"#;

/// The bank's provider with more settings, as `key: value, `.
fn config(bank: &Bank, settings: &str) -> String {
    const PLACE: &str = "audience: accounts, ";
    let base = base_config(bank);
    assert!(base.contains(PLACE));
    base.replace(PLACE, &format!("{PLACE}{settings}")) + ROUTE
}

/// Asserts that a request was refused for its token, with the challenge that RFC 6750 section 3
/// asks for: `error` and a description, or neither.
#[track_caller]
fn assert_challenged(answer: &Answer, error: Option<&str>, what: &str) {
    let told = String::from_utf8_lossy(&answer.body);
    // RFC 6750 section 3.1 has an own status for what is malformed.
    let status = if error == Some("invalid_request") { 400 } else { 401 };
    assert_eq!(answer.status, status, "{what}: {told}");
    assert_eq!(answer.problem(), "unauthenticated", "{what}");
    let challenge = answer.header("www-authenticate");
    let rest = challenge.strip_prefix("Bearer realm=\"").and_then(|rest| rest.split_once('"'));
    let (realm, rest) = rest.unwrap_or_else(|| panic!("{what}: {challenge}"));
    assert!(!realm.is_empty(), "{what}: {challenge}");
    match error {
        None => assert_eq!(rest, "", "{what}: {challenge}"),
        Some(error) => {
            let start = format!(", error=\"{error}\", error_description=\"");
            let description = rest.strip_prefix(&start).and_then(|rest| rest.strip_suffix('"'));
            let description = description.unwrap_or_else(|| panic!("{what}: {challenge}"));
            assert!(description.len() > 5 && !description.contains('"'), "{what}: {challenge}");
        }
    }
}
