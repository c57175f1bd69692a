use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;

/// The slow, obvious way to the same answer.
fn by_trying_all(matches: &[RouteMatch], head: &RequestHead) -> Option<usize> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum HostRank {
        Any,
        Wildcard(usize),
        Exact,
    }
    let host_rank = |one: &RouteMatch| {
        let ranks = one.hosts.iter().filter_map(|pattern| match pattern {
            HostPattern::Exact(name) => (**name == *head.host).then_some(HostRank::Exact),
            HostPattern::Wildcard(suffix) => (head.host.len() > suffix.len()
                && head.host.ends_with(&**suffix))
            .then_some(HostRank::Wildcard(suffix.len())),
        });
        if one.hosts.is_empty() { Some(HostRank::Any) } else { ranks.max() }
    };
    let takes_path = |pattern: &PathPattern| {
        let path = head.path.decoded.strip_prefix('/').unwrap();
        let slash = path.is_empty() || path.ends_with('/');
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let fits = pattern.segments.len() <= parts.len()
            && pattern.segments.iter().zip(&parts).all(|(segment, part)| match segment {
                PathSegment::Literal(text) => **text == **part,
                PathSegment::Capture(_) => true,
            });
        fits && match &pattern.tail {
            PathTail::End { slash: wanted } => {
                pattern.segments.len() == parts.len() && (*wanted == slash || parts.is_empty())
            }
            PathTail::Prefix => true,
            PathTail::Rest(_) => parts.len() > pattern.segments.len(),
        }
    };
    matches
        .iter()
        .enumerate()
        .filter(|(_, one)| takes_path(&one.path) && takes_method(one, &head.method))
        .filter_map(|(order, one)| {
            Some((host_rank(one)?, Precedence::of(one, order), Reverse(order)))
        })
        .max()
        .map(|(_, _, Reverse(order))| order)
}

fn any_match() -> impl Strategy<Value = RouteMatch> {
    let segment = prop_oneof!["[ab]", Just("{x}".to_owned())];
    let tail = prop_oneof![Just(""), Just("/"), Just("/*"), Just("/{*rest}")];
    let hosts = prop_oneof![
        3 => Just(vec![]),
        1 => Just(vec!["a.b.c"]),
        1 => Just(vec!["*.c"]),
        1 => Just(vec!["*.b.c", "x.c"]),
    ];
    let methods =
        prop_oneof![2 => Just(vec![]), 1 => Just(vec![Method::GET]), 1 => Just(vec![Method::POST])];
    (prop::collection::vec(segment, 0..4), tail, hosts, methods).prop_map(
        |(segments, tail, hosts, methods)| {
            let path = format!("/{}{tail}", segments.join("/")).replace("//", "/");
            on(&path).hosts(&hosts).methods(&methods)
        },
    )
}

proptest! {
    #[test]
    fn the_table_finds_what_trying_all_routes_finds(
        matches in prop::collection::vec(any_match(), 0..24),
        host in prop_oneof![Just("a.b.c"), Just("x.c"), Just("q.x.c"), Just("elsewhere")],
        path in "(/[abc]){0,4}/?",
        method in prop_oneof![Just(Method::GET), Just(Method::HEAD), Just(Method::POST)],
    ) {
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let head = head(method, host, &path);
        let expected = by_trying_all(&matches, &head);
        prop_assert_eq!(find(&table(matches), &head), expected);
    }
}
