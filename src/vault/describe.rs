use std::fmt;

use pingora_cache::key::CacheHashKey;

use super::key::cache_key;
use crate::account::AccountKey;
use crate::config::model::{CachePolicy, Visibility};
use crate::request::{Facts, hide_accounts};

/// A cache key in words for `explain`: what it is made of, without account numbers, subjects or
/// the values of query parameters and headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDescription {
    /// The key's hash, hexadecimal: two requests with the same one share an answer.
    pub hash: String,
    /// Its parts, by name.
    pub parts: Vec<(&'static str, String)>,
}

/// Describes the key that [`cache_key`] makes of the same arguments.
pub fn describe(
    policy: &CachePolicy,
    facts: &Facts<'_>,
    account: Option<&AccountKey>,
) -> KeyDescription {
    let hide = |text: &str| hide_accounts(text, facts.account.map_or(&[], std::slice::from_ref));
    let mut parts = vec![
        ("route", facts.route.to_string()),
        ("account", account.map_or_else(|| "none".to_owned(), ToString::to_string)),
        ("visible_to", sharers(policy.visible_to, facts, hide)),
        ("method", "GET".to_owned()),
        ("host", hide(&facts.head.host)),
        ("path", hide(&path(facts))),
        ("query", hide(&query_names(policy, facts))),
    ];
    if !policy.headers.is_empty() {
        let names: Vec<_> = policy.headers.iter().map(|name| name.as_str()).collect();
        parts.push(("headers", names.join(" ")));
    }
    KeyDescription { hash: cache_key(policy, facts, account).primary(), parts }
}

fn sharers(visible_to: Visibility, facts: &Facts<'_>, hide: impl Fn(&str) -> String) -> String {
    let client = facts.caller.map_or_else(
        || "callers without a credential".to_owned(),
        |caller| format!("client {} of {}", hide(&caller.client), caller.provider),
    );
    match visible_to {
        Visibility::Everyone => "everyone".to_owned(),
        Visibility::Client => client,
        Visibility::Subject => format!("one subject of {client}"),
    }
}

/// The path with the names of its captured parts instead of their values.
fn path(facts: &Facts<'_>) -> String {
    let mut path = facts.head.path.decoded.clone();
    for (name, value) in facts.captures.0.iter().filter(|(_, value)| value.contains('/')) {
        path = path.replace(value.as_str(), &format!("{{{name}}}"));
    }
    let segments = path.split('/').map(|segment| {
        let captured = facts.captures.0.iter().find(|(_, value)| value == segment);
        captured.map_or_else(|| segment.to_owned(), |(name, _)| format!("{{{name}}}"))
    });
    segments.collect::<Vec<_>>().join("/")
}

fn query_names(policy: &CachePolicy, facts: &Facts<'_>) -> String {
    let mut names: Vec<String> = facts
        .head
        .query_pairs()
        .map(|(name, _)| name)
        .filter(|name| match &policy.query {
            None => true,
            Some(chosen) => chosen.iter().any(|choice| **choice == **name),
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(" ")
}

impl fmt::Display for KeyDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hash)?;
        self.parts.iter().try_for_each(|(name, text)| write!(f, " {name}={text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::testing::{Asked, policy};

    #[test]
    fn a_description_names_the_parts_and_hides_the_account() {
        let mut asked = Asked::path("/accounts/4711008815/summary");
        asked.capture("account", "4711008815");
        asked.query("from=2026-01-01&iban=4711008815");
        let description = asked.with(|facts, key| describe(&policy(), facts, Some(key)));
        let text = description.to_string();
        assert!(!text.contains("4711008815"), "{text}");
        for part in [
            r#"path="/accounts/{account}/summary""#,
            r#"query="from iban""#,
            r#"visible_to="client acme of bank""#,
        ] {
            assert!(text.contains(part), "{part} is missing from {text}");
        }
    }

    #[test]
    fn a_short_account_leaves_the_words_whole() {
        let mut asked = Asked::path("/hits/e");
        asked.capture("account", "e");
        let everyone = CachePolicy { visible_to: Visibility::Everyone, ..policy() };
        let text = asked.with(|facts, key| describe(&everyone, facts, Some(key))).to_string();
        assert!(text.contains(r#"visible_to="everyone""#), "{text}");
        assert!(text.contains(r#"path="/hits/{account}""#), "{text}");
    }

    #[test]
    fn a_description_hides_an_account_that_the_path_does_not_capture() {
        let asked = Asked::path("/reports/of-4711008815.json");
        let text = asked.with(|facts, key| describe(&policy(), facts, Some(key))).to_string();
        assert!(text.contains("/reports/of-{account}.json"), "{text}");
    }
}
