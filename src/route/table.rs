use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::precedence::Precedence;
use super::tree::{Candidate, PathTree};
use crate::config::model::{
    HostPattern, PathPattern, PathSegment, PathTail, Route, RouteMatch, TextMatch,
};
use crate::request::{Captures, Refusal, RequestHead};

/// All routes, arranged so that finding one costs the same for one as for ten thousand: by host,
/// then by path segment.
///
/// Routes at one and the same path pattern of one host are tried one after the other.
#[derive(Debug)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    exact: HashMap<Arc<str>, PathTree>,
    /// By suffix, which starts with a dot.
    wildcard: HashMap<Arc<str>, PathTree>,
    any: PathTree,
}

/// The route that takes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place among the routes that the table was made from.
    pub index: usize,
    /// What stood at the named parts of its path.
    pub captures: Captures,
}

impl RouteTable {
    /// Arranges routes; where precedence doesn't tell two apart, the earlier one wins.
    pub fn new(routes: &[Arc<Route>]) -> Self {
        let mut by_precedence: Vec<(Precedence, usize)> = routes
            .iter()
            .enumerate()
            .map(|(order, route)| (Precedence::of(&route.matches, order), order))
            .collect();
        by_precedence.sort_unstable();
        let mut table = Self {
            routes: routes.to_vec(),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: PathTree::default(),
        };
        // From the most specific down: lists in the trees are then in that order as well.
        for (rank, (_, order)) in by_precedence.iter().enumerate().rev() {
            if let Some(route) = routes.get(*order) {
                table.add(&route.matches, Candidate { rank, route: *order });
            }
        }
        table
    }

    fn add(&mut self, matches: &RouteMatch, candidate: Candidate) {
        if matches.hosts.is_empty() {
            self.any.add(&matches.path, candidate);
        }
        for host in &matches.hosts {
            let tree = match host {
                HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
                HostPattern::Wildcard(suffix) => self.wildcard.entry(suffix.clone()).or_default(),
            };
            tree.add(&matches.path, candidate);
        }
    }

    /// The most specific route that takes a request: by host, path, method, headers and query, in
    /// this order. GET routes take HEAD.
    ///
    /// # Errors
    /// [`Refusal::MethodNotAllowed`] if only another method is missing, else
    /// [`Refusal::NoRoute`].
    pub fn find(&self, head: &RequestHead, headers: &HeaderMap) -> Result<Found, Refusal> {
        let mut examined = 0;
        self.find_counting(head, headers, &mut examined)
    }

    /// `examined` counts the routes that were looked at one by one.
    fn find_counting(
        &self,
        head: &RequestHead,
        headers: &HeaderMap,
        examined: &mut usize,
    ) -> Result<Found, Refusal> {
        for tree in self.trees(&head.host) {
            if let Some(route) = self.best(tree, head, headers, examined) {
                let index = route.route;
                let captures = self
                    .routes
                    .get(index)
                    .map(|route| captures(&route.matches.path, &head.path.decoded))
                    .unwrap_or_default();
                return Ok(Found { index, captures });
            }
        }
        Err(self.why_not(head, headers))
    }

    /// The trees of the routes that take a host, most specific host first.
    fn trees<'t>(&'t self, host: &'t str) -> impl Iterator<Item = &'t PathTree> {
        let suffixes = host.match_indices('.').filter_map(move |(at, _)| {
            // At least one label stands before a wildcard's suffix.
            let suffix = if at > 0 { host.get(at..) } else { None };
            self.wildcard.get(suffix?)
        });
        self.exact.get(host).into_iter().chain(suffixes).chain(std::iter::once(&self.any))
    }

    fn best(
        &self,
        tree: &PathTree,
        head: &RequestHead,
        headers: &HeaderMap,
        examined: &mut usize,
    ) -> Option<Candidate> {
        let mut best: Option<Candidate> = None;
        tree.walk(&head.path.decoded, &mut |candidates| {
            let better =
                candidates.iter().take_while(|one| best.is_none_or(|best| one.rank > best.rank));
            let found = better.copied().find(|one| {
                *examined += 1;
                self.routes.get(one.route).is_some_and(|route| {
                    takes_method(&route.matches, &head.method)
                        && takes_fields(&route.matches, head, headers)
                })
            });
            best = found.or(best);
        });
        best
    }

    /// Methods of the routes that would take this request but for its method. A route of every
    /// method gets here for TRACE alone.
    fn why_not(&self, head: &RequestHead, headers: &HeaderMap) -> Refusal {
        let mut allow: Vec<Method> = Vec::new();
        for tree in self.trees(&head.host) {
            tree.walk(&head.path.decoded, &mut |candidates| {
                let routes = candidates.iter().filter_map(|one| self.routes.get(one.route));
                for route in routes.filter(|route| takes_fields(&route.matches, head, headers)) {
                    match route.matches.methods.as_slice() {
                        [] => allow.extend(EVERY_METHOD),
                        some => allow.extend_from_slice(some),
                    }
                }
            });
        }
        if allow.contains(&Method::GET) {
            allow.push(Method::HEAD);
        }
        allow.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        allow.dedup();
        if allow.is_empty() { Refusal::NoRoute } else { Refusal::MethodNotAllowed { allow } }
    }
}

/// The methods that a route can have: all but those that no route takes. TRACE would show a caller
/// the fields that proxies add, CONNECT asks for a tunnel.
const EVERY_METHOD: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

fn takes_method(matches: &RouteMatch, method: &Method) -> bool {
    let by_none = matches!(*method, Method::TRACE | Method::CONNECT);
    (matches.methods.is_empty() && !by_none)
        || matches.methods.contains(method)
        || (*method == Method::HEAD && matches.methods.contains(&Method::GET))
}

fn takes_fields(matches: &RouteMatch, head: &RequestHead, headers: &HeaderMap) -> bool {
    matches.headers.iter().all(|(name, wanted)| {
        takes_text(wanted, headers.get_all(name).iter().map(http::HeaderValue::as_bytes))
    }) && matches.query.iter().all(|(name, wanted)| {
        let values = head.query_pairs().filter(|(key, _)| *key == **name).map(|(_, value)| value);
        takes_text(wanted, values)
    })
}

/// Whether values of one name are as wanted. One that is there twice is never exactly something:
/// a backend may read the other one.
fn takes_text(wanted: &TextMatch, mut values: impl Iterator<Item: AsRef<[u8]>>) -> bool {
    let (first, second) = (values.next(), values.next());
    match (wanted, first) {
        (TextMatch::Present, value) => value.is_some(),
        (TextMatch::Absent, value) => value.is_none(),
        (TextMatch::Exact(text), Some(value)) => {
            second.is_none() && value.as_ref() == text.as_bytes()
        }
        (TextMatch::Exact(_), None) => false,
    }
}

/// What stands at the named parts of a pattern in a path that it takes.
fn captures(pattern: &PathPattern, path: &str) -> Captures {
    let mut rest = path.strip_prefix('/').unwrap_or(path);
    let mut captured = Vec::new();
    for segment in &pattern.segments {
        let (text, below) = rest.split_once('/').unwrap_or((rest, ""));
        if let PathSegment::Capture(name) = segment {
            captured.push((name.clone(), text.to_owned()));
        }
        rest = below;
    }
    if let PathTail::Rest(name) = &pattern.tail {
        captured.push((name.clone(), rest.to_owned()));
    }
    Captures(captured)
}

#[cfg(test)]
mod tests;
