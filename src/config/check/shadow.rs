use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::Check;
use crate::config::model::{HostPattern, PathSegment, PathTail, Route, TextMatch};
use crate::config::source::Span;
use crate::config::spot::Spot;

/// Finds routes of which one can never be reached, because another takes exactly the same requests.
#[derive(Default)]
pub(super) struct Shadows(HashMap<Taken, (Arc<str>, Span)>);

/// One kind of request, without the names that a path gives to its parts.
#[derive(PartialEq, Eq, Hash)]
struct Taken {
    host: Option<HostPattern>,
    method: Option<Method>,
    segments: Vec<Option<Arc<str>>>,
    tail: Tail,
    headers: Vec<(HeaderName, TextMatch)>,
    query: Vec<(Arc<str>, TextMatch)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Tail {
    End { slash: bool },
    Prefix,
    Rest,
}

impl Shadows {
    /// Adds a route; if all or some of its requests go to an earlier one, that is reported.
    pub fn add(&mut self, route: &Route, at: &Spot<'_>, check: &mut Check<'_>) {
        let place = at.key("match");
        for taken in all(route) {
            let kind = kind(&taken);
            let own = (Arc::from(route.id.as_str()), place.key_span());
            if let Some((other, span)) = self.0.get(&taken).filter(|(_, span)| *span != own.1) {
                let line = check.report.place_of(*span);
                check
                    .error_on_key(
                        &place,
                        format!("{kind} match the route `{other}` exactly as well"),
                    )
                    .hint(format!("that route is at {line}; change one of them"));
                return;
            }
            self.0.insert(taken, own);
        }
    }
}

fn kind(taken: &Taken) -> String {
    let method = taken.method.as_ref().map_or("these requests".into(), |m| format!("{m} requests"));
    match &taken.host {
        None => method,
        Some(HostPattern::Exact(host)) => format!("{method} to {host}"),
        Some(HostPattern::Wildcard(suffix)) => format!("{method} to *{suffix}"),
    }
}

/// Every kind of request that a route states, one for each host and method.
fn all(route: &Route) -> Vec<Taken> {
    let matches = &route.matches;
    let segments: Vec<_> = matches
        .path
        .segments
        .iter()
        .map(|segment| match segment {
            PathSegment::Literal(text) => Some(text.clone()),
            PathSegment::Capture(_) => None,
        })
        .collect();
    let tail = match &matches.path.tail {
        PathTail::End { slash } => Tail::End { slash: *slash },
        PathTail::Prefix => Tail::Prefix,
        PathTail::Rest(_) => Tail::Rest,
    };
    let mut headers = matches.headers.clone();
    headers.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    let mut query = matches.query.clone();
    query.sort_by(|a, b| a.0.cmp(&b.0));
    let one = |host: Option<HostPattern>, method: Option<Method>| Taken {
        host,
        method,
        segments: segments.clone(),
        tail,
        headers: headers.clone(),
        query: query.clone(),
    };
    let hosts = or_any(&matches.hosts);
    let methods = or_any(&matches.methods);
    hosts
        .into_iter()
        .flat_map(|host| methods.iter().map(move |method| (host.clone(), method.clone())))
        .map(|(host, method)| one(host, method))
        .collect()
}

/// The values, or one that stands for all.
fn or_any<T: Clone>(values: &[T]) -> Vec<Option<T>> {
    if values.is_empty() { vec![None] } else { values.iter().cloned().map(Some).collect() }
}
