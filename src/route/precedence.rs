use std::cmp::Reverse;

use crate::config::model::{PathPattern, PathSegment, PathTail, RouteMatch};

/// How specific a route is among those of the same host: the greatest that takes a request wins.
///
/// The order of the fields is the order of the Kubernetes Gateway API (HTTPRouteRule, "matches"):
/// path, method, headers, query, and last the order in the configuration. The host comes before
/// all of them: the table asks an exact host's routes first, then those of the longest wildcard,
/// then those of any host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    path: PathRank,
    names_methods: bool,
    headers: usize,
    query: usize,
    order: Reverse<usize>,
}

/// A whole path without captures before one with captures before a prefix; within these, segments
/// from left to right, so that a literal beats a capture at the first place where they differ and
/// the longer of two patterns wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PathRank {
    reach: Reach,
    segments: Vec<SegmentRank>,
    tail: TailRank,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    AndBelow,
    Whole,
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SegmentRank {
    Capture,
    Literal,
}

/// `/a/{*rest}` asks for one segment more than `/a/*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TailRank {
    Prefix,
    Rest,
    End,
}

impl Precedence {
    /// Of the route at `order` in the configuration.
    pub fn of(matches: &RouteMatch, order: usize) -> Self {
        Self {
            path: PathRank::of(&matches.path),
            names_methods: !matches.methods.is_empty(),
            headers: matches.headers.len(),
            query: matches.query.len(),
            order: Reverse(order),
        }
    }
}

impl PathRank {
    fn of(pattern: &PathPattern) -> Self {
        let segments: Vec<SegmentRank> = pattern
            .segments
            .iter()
            .map(|segment| match segment {
                PathSegment::Literal(_) => SegmentRank::Literal,
                PathSegment::Capture(_) => SegmentRank::Capture,
            })
            .collect();
        let (reach, tail) = match &pattern.tail {
            PathTail::Prefix => (Reach::AndBelow, TailRank::Prefix),
            PathTail::Rest(_) => (Reach::AndBelow, TailRank::Rest),
            PathTail::End { .. } if segments.contains(&SegmentRank::Capture) => {
                (Reach::Whole, TailRank::End)
            }
            PathTail::End { .. } => (Reach::Exact, TailRank::End),
        };
        Self { reach, segments, tail }
    }
}
