use std::fmt::Write;
use std::sync::Arc;

use aws_lc_rs::digest;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::window::Terms;
use crate::account::AccountKey;
use crate::config::model::QuotaRule;
use crate::journal::{Bucket, Label};
use crate::request::{AccountId, Facts, ValueSource};

/// What separates the parts of a bucket's dimensions, and what marks other spellings of a value.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b',').add(b'%').add(b'=').add(b'#').add(b'~');
/// Longest value that stands in a bucket's name as it is, in bytes. Longer ones are hashed, so
/// that no request can make large records.
const LONGEST_VALUE: usize = 64;

/// One use of one bucket, to be reserved.
#[derive(Clone, Debug)]
pub struct Charge {
    rule: Arc<QuotaRule>,
    bucket: Bucket,
    terms: Terms,
    named: Option<AccountId>,
}

impl Charge {
    /// What a rule charges a request for an account; `None` if the rule's `when` says that this
    /// request isn't counted. A condition that fails counts: an odd request must not be free.
    pub fn for_request(
        rule: &Arc<QuotaRule>,
        facts: &Facts<'_>,
        account: &AccountKey,
    ) -> Option<Self> {
        let counts = rule.when.as_ref().is_none_or(|when| when.holds(facts).unwrap_or(true));
        counts.then(|| {
            let label = Label { rule: Arc::clone(&rule.name), dimensions: dimensions(rule, facts) };
            Self {
                rule: Arc::clone(rule),
                bucket: Bucket { account: *account.as_bytes(), label: Arc::new(label) },
                terms: Terms::of(rule),
                named: None,
            }
        })
    }

    /// The same with the account's own name, by which its caller is told where it stands: for
    /// requests about several.
    pub fn naming(self, account: &AccountId) -> Self {
        Self { named: Some(account.clone()), ..self }
    }

    /// The rule.
    pub fn rule(&self) -> &Arc<QuotaRule> {
        &self.rule
    }

    /// The account.
    pub fn account(&self) -> AccountKey {
        AccountKey::from_bytes(self.bucket.account)
    }

    /// What tells its bucket from others of the same account and rule, as in `client=budget-app`.
    pub fn dimensions(&self) -> &str {
        &self.bucket.label.dimensions
    }

    pub(super) fn named(&self) -> Option<&AccountId> {
        self.named.as_ref()
    }

    pub(super) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }
}

/// The values of a rule's key other than the account: `client=app,subject=42`.
fn dimensions(rule: &QuotaRule, facts: &Facts<'_>) -> Box<str> {
    let others = rule.per.iter().filter(|source| !matches!(source, ValueSource::Account));
    let mut text = String::with_capacity(LONGEST_VALUE);
    for source in others {
        if !text.is_empty() {
            text.push(',');
        }
        // Writing into a String can't fail.
        let _ = write!(text, "{source}");
        push_value(&mut text, source, facts);
    }
    text.into()
}

/// A value that a request lacks is a value of its own: all requests without it share a bucket.
fn push_value(text: &mut String, source: &ValueSource, facts: &Facts<'_>) {
    let Some(value) = source.resolve(facts) else { return };
    let account = facts.account.map(AccountId::as_str);
    if account == Some(&*value) {
        // The number must not stand in a record, also where a rule names it by another way.
        text.push_str("~account");
    } else if account.is_some_and(|account| is_listed(source, &value, account)) {
        // Nor among those of others: all lists with it share a bucket.
        text.push_str("~accounts");
    } else if value.len() > LONGEST_VALUE {
        let hash = digest::digest(&digest::SHA256, value.as_bytes());
        text.push('#');
        text.extend(hash.as_ref().first_chunk::<16>().map(hex::encode));
    } else {
        text.push('=');
        text.extend(utf8_percent_encode(&value, ESCAPED));
    }
}

/// Whether an account stands in a value as one of several.
fn is_listed(source: &ValueSource, value: &str, account: &str) -> bool {
    use ValueSource::{Body, Claim, Header, Path, Query};
    let may_list = matches!(source, Path(_) | Query(_) | Header(_) | Claim(_) | Body(_));
    let parts = |neighbour: Option<char>| neighbour.is_none_or(|c| !c.is_alphanumeric());
    let mut pieces = value.split(account);
    let mut before = pieces.next().unwrap_or_default();
    may_list
        && pieces.any(|after| {
            let alone = parts(before.chars().next_back()) && parts(after.chars().next());
            before = after;
            alone
        })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;
    use crate::account::AccountHasher;
    use crate::config::model::{Accuracy, Counts, Unavailable, Window};
    use crate::request::{Captures, Condition, RequestHead, RouteId};

    fn rule(per: &[&str], when: Option<&str>) -> Arc<QuotaRule> {
        Arc::new(QuotaRule {
            name: "unattended".into(),
            per: per.iter().map(|text| ValueSource::parse(text).unwrap()).collect(),
            limit: NonZeroU64::new(4).unwrap(),
            window: Window::Rolling { length: Duration::from_secs(86_400) },
            when: when.map(|text| Condition::compile(text).unwrap()),
            accuracy: Accuracy::Strict,
            unavailable: Unavailable::Deny,
            counts: Counts::Success,
            count_hits: true,
        })
    }

    fn charge(rule: &Arc<QuotaRule>, headers: &[(&'static str, &str)]) -> Option<Charge> {
        let head = RequestHead::default();
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let account = AccountId::parse("12345678").unwrap();
        let facts = Facts {
            head: &head,
            headers: &headers,
            route: &RouteId::new("summary"),
            captures: &Captures::default(),
            caller: None,
            account: Some(&account),
            body: None,
        };
        Charge::for_request(rule, &facts, &AccountHasher::new(b"k").key(&account))
    }

    #[test]
    fn a_bucket_is_named_by_the_values_of_its_key_without_the_account() {
        let rule = rule(&["account", "header.x-app", "route"], None);
        let charge = charge(&rule, &[("x-app", "budget app,2")]).unwrap();
        assert_eq!(charge.dimensions(), "header.x-app=budget%20app%2C2,route=summary");
    }

    #[test]
    fn an_absent_value_differs_from_an_empty_one() {
        let rule = rule(&["account", "header.x-app"], None);
        assert_eq!(charge(&rule, &[]).unwrap().dimensions(), "header.x-app");
        assert_eq!(charge(&rule, &[("x-app", "")]).unwrap().dimensions(), "header.x-app=");
    }

    #[test]
    fn neither_the_account_number_nor_a_long_value_stands_in_a_bucket_name() {
        let rule = rule(&["account", "header.x-app"], None);
        let named = charge(&rule, &[("x-app", "12345678")]).unwrap();
        assert_eq!(named.dimensions(), "header.x-app~account");
        for list in ["12345678,7", "7;12345678", "7 12345678 8", "1234567812345678,12345678"] {
            let listed = charge(&rule, &[("x-app", list)]).unwrap();
            assert_eq!(listed.dimensions(), "header.x-app~accounts", "{list}");
        }
        let longer = charge(&rule, &[("x-app", "123456789")]).unwrap();
        assert_eq!(longer.dimensions(), "header.x-app=123456789", "another number");
        let long = charge(&rule, &[("x-app", &"9".repeat(4000))]).unwrap();
        assert_eq!(long.dimensions().len(), "header.x-app#".len() + 32);
        let other = charge(&rule, &[("x-app", &"9".repeat(4001))]).unwrap();
        assert_ne!(long.dimensions(), other.dimensions());
    }

    #[test]
    fn a_condition_decides_what_is_counted_and_one_that_fails_counts() {
        let unattended =
            rule(&["account"], Some("!('x-fapi-customer-ip-address' in request.headers)"));
        assert!(charge(&unattended, &[]).is_some());
        assert!(charge(&unattended, &[("x-fapi-customer-ip-address", "192.0.2.7")]).is_none());
        let failing = rule(&["account"], Some("request.headers['x-absent'] == 'a'"));
        assert!(charge(&failing, &[]).is_some());
    }
}
