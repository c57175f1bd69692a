use super::Check;
use super::values::{self, Has, Place};
use crate::config::model::AccountSource;
use crate::config::raw;
use crate::config::spot::Spot;
use crate::request::ValueSource;

/// Where a route's account stands.
pub(super) fn source(
    raw: &raw::Account,
    at: &Spot<'_>,
    has: &Has<'_>,
    check: &mut Check<'_>,
) -> Option<AccountSource> {
    match raw {
        raw::Account::From(text) => {
            let from = place(text, at, has, check)?;
            Some(AccountSource { from, agrees_with: None, separator: None })
        }
        raw::Account::Rules(rules) => {
            let from = place(&rules.from, &at.key("from"), has, check);
            let agrees_with = rules
                .agrees_with
                .as_ref()
                .and_then(|text| place(text, &at.key("agrees_with"), has, check));
            if agrees_with.is_some() && agrees_with == from {
                check.error(&at.key("agrees_with"), "every value agrees with itself");
            }
            let separator = rules.separator.as_ref().and_then(|text| text.chars().next());
            if separator.is_some_and(|character| character.is_ascii_alphanumeric()) {
                check.error(&at.key("separator"), "this would part account numbers themselves");
            }
            Some(AccountSource { from: from?, agrees_with, separator })
        }
    }
}

fn place(text: &str, at: &Spot<'_>, has: &Has<'_>, check: &mut Check<'_>) -> Option<ValueSource> {
    let source = values::source(text, at, check)?;
    if let Some(why) = Place::Quota(has).lacks(&source).filter(|_| source != ValueSource::Account) {
        check.error(at, why);
        return None;
    }
    match source {
        ValueSource::Path(_)
        | ValueSource::Query(_)
        | ValueSource::Header(_)
        | ValueSource::Claim(_)
        | ValueSource::Body(_) => Some(source),
        ValueSource::Client
        | ValueSource::Subject
        | ValueSource::Account
        | ValueSource::Route
        | ValueSource::Address
        | ValueSource::Method
        | ValueSource::Host
        | ValueSource::RequestId => {
            check.error(at, format!("`{source}` is no place where an account stands")).hint(
                "use `path.NAME`, `query.NAME`, `header.NAME`, `claim.NAME` or `body./pointer`",
            );
            None
        }
    }
}
