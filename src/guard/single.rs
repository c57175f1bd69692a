use std::collections::HashSet;

use http::HeaderMap;

use crate::config::model::Route;
use crate::request::{
    Condition, Facts, Refusal, RequestHead, ValueSource, has_broken_escape, occurrences,
    only_in_other_spellings, repeats_a_parameter,
};

/// The header fields and query parameters by which a route's rates, quotas and conditions decide.
///
/// A request must not have one of them twice: a rule would go by one value, and the backend may
/// read the other. So a quota for a class of requests would be counted for one class and used by
/// another, and a condition would hold for a value that nobody acts on. Nor may it have one in
/// another spelling only: to a rule it would not be there, and a backend may take it for the same.
/// Where the account stands is judged by the account stage, which knows whether there may be
/// several.
#[derive(Clone, Debug, Default)]
pub struct SingleValues {
    named: Vec<ValueSource>,
    every_parameter: bool,
}

impl SingleValues {
    /// Those of a route.
    pub fn of(route: &Route) -> Self {
        let when = route.quotas.iter().filter_map(|rule| rule.when.as_ref());
        let conditions: Vec<&Condition> = route.access.condition.iter().chain(when).collect();
        let read = conditions.iter().flat_map(|condition| condition.reads());
        let mut seen = HashSet::new();
        let named = counted_by(route)
            .chain(read)
            .filter(|source| matches!(source, ValueSource::Query(_) | ValueSource::Header(_)))
            .filter(|source| seen.insert((*source).clone()))
            .cloned();
        Self {
            named: named.collect(),
            every_parameter: conditions.iter().any(|one| one.reads_every_parameter()),
        }
    }

    /// # Errors
    /// [`Refusal::SeveralValues`] for the first that a request has twice,
    /// [`Refusal::OtherSpelling`] for the first that it spells otherwise only.
    pub fn check(&self, head: &RequestHead, headers: &HeaderMap) -> Result<(), Refusal> {
        let several = |source: &&ValueSource| occurrences(source, head, headers) > 1;
        if let Some(source) = self.named.iter().find(several) {
            return Err(Refusal::SeveralValues { of: source.to_string().into() });
        }
        let otherwise = |source: &&ValueSource| only_in_other_spellings(source, head, headers);
        if let Some(source) = self.named.iter().find(otherwise) {
            return Err(Refusal::OtherSpelling { of: source.to_string().into() });
        }
        let broken = |source: &ValueSource| match source {
            ValueSource::Query(name) => has_broken_escape(head, name),
            _ => false,
        };
        if self.named.iter().any(broken) {
            return Err(Refusal::BadRequest("a query parameter has a broken percent escape"));
        }
        if self.every_parameter && repeats_a_parameter(head) {
            return Err(Refusal::SeveralValues { of: "a query parameter".into() });
        }
        Ok(())
    }
}

/// What a route's rates, bounds and quotas count by.
fn counted_by(route: &Route) -> impl Iterator<Item = &ValueSource> {
    let rates = route.rates.iter().flat_map(|rate| &rate.per);
    let bounds = route.concurrency.iter().flat_map(|bound| &bound.per);
    let buckets = route.quotas.iter().flat_map(|rule| &rule.per);
    rates.chain(bounds).chain(buckets)
}

/// Whether each value that a route's rates, bounds and quotas count by can be read. As an absent one
/// it would share the count of all requests that have none.
///
/// # Errors
/// [`Refusal::UnreadableValue`] for the first that can't be.
pub fn check_readable(route: &Route, facts: &Facts<'_>) -> Result<(), Refusal> {
    match counted_by(route).find(|source| source.is_unreadable(facts)) {
        Some(source) => Err(Refusal::UnreadableValue { of: source.to_string().into() }),
        None => Ok(()),
    }
}
