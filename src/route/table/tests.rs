use http::{HeaderName, HeaderValue, StatusCode};

use super::*;
use crate::config::model::{Access, Action, Dialect, RequestEdits, ResponseEdits};
use crate::request::{NormalPath, RouteId};

mod oracle;

/// Reads `/a/{name}/*` and the like as the configuration does.
fn pattern(source: &str) -> PathPattern {
    let (mut segments, mut tail) = (Vec::new(), PathTail::End { slash: source.ends_with('/') });
    for text in source.split('/').filter(|text| !text.is_empty()) {
        let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        match (text, name) {
            ("*", _) => tail = PathTail::Prefix,
            (_, Some(name)) => match name.strip_prefix('*') {
                Some(rest) => tail = PathTail::Rest(rest.into()),
                None => segments.push(PathSegment::Capture(name.into())),
            },
            (text, None) => segments.push(PathSegment::Literal(text.into())),
        }
    }
    PathPattern { source: source.into(), segments, tail }
}

fn host(text: &str) -> HostPattern {
    match text.strip_prefix('*') {
        Some(suffix) => HostPattern::Wildcard(suffix.into()),
        None => HostPattern::Exact(text.into()),
    }
}

fn on(path: &str) -> RouteMatch {
    RouteMatch {
        hosts: Vec::new(),
        path: pattern(path),
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
    }
}

trait Also: Sized {
    fn hosts(self, hosts: &[&str]) -> Self;
    fn methods(self, methods: &[Method]) -> Self;
    fn header(self, name: &'static str, wanted: TextMatch) -> Self;
    fn query(self, name: &str, wanted: TextMatch) -> Self;
}

impl Also for RouteMatch {
    fn hosts(self, hosts: &[&str]) -> Self {
        Self { hosts: hosts.iter().map(|text| host(text)).collect(), ..self }
    }
    fn methods(self, methods: &[Method]) -> Self {
        Self { methods: methods.to_vec(), ..self }
    }
    fn header(mut self, name: &'static str, wanted: TextMatch) -> Self {
        self.headers.push((HeaderName::from_static(name), wanted));
        self
    }
    fn query(mut self, name: &str, wanted: TextMatch) -> Self {
        self.query.push((name.into(), wanted));
        self
    }
}

fn route(id: String, matches: RouteMatch) -> Arc<Route> {
    Arc::new(Route {
        id: RouteId::new(id),
        matches,
        authenticate: Vec::new(),
        access: Access::default(),
        rates: Vec::new(),
        concurrency: Vec::new(),
        max_body: 0,
        account: None,
        quotas: Vec::new(),
        cache: None,
        action: Action::Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: "".into(),
        },
        request: RequestEdits::default(),
        response: ResponseEdits::default(),
        dialect: Dialect::default(),
        deadline: None,
    })
}

fn table(matches: Vec<RouteMatch>) -> RouteTable {
    let routes: Vec<Arc<Route>> = matches
        .into_iter()
        .enumerate()
        .map(|(index, matches)| route(index.to_string(), matches))
        .collect();
    RouteTable::new(&routes)
}

fn head(method: Method, host: &str, path: &str) -> RequestHead {
    let (path, query) =
        path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    RequestHead {
        method,
        host: host.to_owned(),
        path: NormalPath { decoded: path.to_owned(), encoded: path.to_owned() },
        query: query.map(str::to_owned),
        ..RequestHead::default()
    }
}

fn get(table: &RouteTable, host: &str, path: &str) -> Option<usize> {
    find(table, &head(Method::GET, host, path))
}

fn find(table: &RouteTable, head: &RequestHead) -> Option<usize> {
    table.find(head, &HeaderMap::new()).ok().map(|found| found.index)
}

fn exactly(text: &str) -> TextMatch {
    TextMatch::Exact(text.into())
}

#[test]
fn the_most_specific_path_wins_wherever_it_stands_in_the_file() {
    let paths = [
        "/*",
        "/accounts/*",
        "/accounts/{*rest}",
        "/accounts/{account}/*",
        "/accounts/123/*",
        "/accounts/{account}/summary",
        "/accounts/{account}/{view}",
        "/accounts/123/summary",
    ];
    let table = table(paths.iter().map(|path| on(path)).collect());
    let won = |path: &str| paths[get(&table, "a", path).unwrap()];
    assert_eq!(won("/accounts/123/summary"), "/accounts/123/summary");
    assert_eq!(won("/accounts/9/summary"), "/accounts/{account}/summary");
    assert_eq!(won("/accounts/9/other"), "/accounts/{account}/{view}");
    assert_eq!(won("/accounts/123/other/deep"), "/accounts/123/*");
    assert_eq!(won("/accounts/9/other/deep"), "/accounts/{account}/*");
    assert_eq!(won("/accounts/9"), "/accounts/{account}/*");
    assert_eq!(won("/accounts"), "/accounts/*");
    assert_eq!(won("/accounts/"), "/accounts/*");
    assert_eq!(won("/other"), "/*");
    assert_eq!(won("/"), "/*");
}

#[test]
fn a_prefix_takes_whole_segments_only() {
    let table = table(vec![on("/accounts/*")]);
    assert_eq!(get(&table, "a", "/accounts"), Some(0));
    assert_eq!(get(&table, "a", "/accounts/1"), Some(0));
    assert_eq!(get(&table, "a", "/accountsx"), None);
}

#[test]
fn a_trailing_slash_makes_another_path() {
    let table = table(vec![on("/a"), on("/b/"), on("/c/{x}"), on("/")]);
    assert_eq!(get(&table, "a", "/a"), Some(0));
    assert_eq!(get(&table, "a", "/a/"), None);
    assert_eq!(get(&table, "a", "/b/"), Some(1));
    assert_eq!(get(&table, "a", "/b"), None);
    assert_eq!(get(&table, "a", "/c/"), None, "a capture is never empty");
    assert_eq!(get(&table, "a", "/"), Some(3));
}

#[test]
fn the_rest_needs_a_segment_and_is_captured_with_its_slashes() {
    let table = table(vec![on("/files/{owner}/{*rest}")]);
    let found = table.find(&head(Method::GET, "a", "/files/me/x/y z/"), &HeaderMap::new()).unwrap();
    assert_eq!(found.captures.get("owner"), Some("me"));
    assert_eq!(found.captures.get("rest"), Some("x/y z/"));
    assert_eq!(get(&table, "a", "/files/me"), None);
    assert_eq!(get(&table, "a", "/files/me/"), None);
}

#[test]
fn the_walk_goes_back_when_a_literal_leads_nowhere() {
    let table = table(vec![on("/a/b/c"), on("/a/{x}/d")]);
    assert_eq!(get(&table, "a", "/a/b/d"), Some(1));
}

#[test]
fn an_exact_host_beats_a_longer_wildcard_beats_a_shorter_one_beats_any() {
    let table = table(vec![
        on("/*"),
        on("/*").hosts(&["*.bank.example"]),
        on("/*").hosts(&["*.api.bank.example"]),
        on("/*").hosts(&["v1.api.bank.example"]),
    ]);
    assert_eq!(get(&table, "v1.api.bank.example", "/x"), Some(3));
    assert_eq!(get(&table, "v2.api.bank.example", "/x"), Some(2));
    assert_eq!(get(&table, "a.b.api.bank.example", "/x"), Some(2));
    assert_eq!(get(&table, "www.bank.example", "/x"), Some(1));
    assert_eq!(get(&table, "bank.example", "/x"), Some(0), "a wildcard needs a label");
    assert_eq!(get(&table, ".bank.example", "/x"), Some(0), "an empty label is none");
    assert_eq!(get(&table, "xbank.example", "/x"), Some(0));
}

#[test]
fn a_route_of_a_less_specific_host_is_found_when_the_specific_host_has_none_for_the_path() {
    let table = table(vec![on("/health"), on("/accounts").hosts(&["bank.example"])]);
    assert_eq!(get(&table, "bank.example", "/health"), Some(0));
}

#[test]
fn a_path_without_route_is_404_and_a_method_without_route_is_405_with_allow() {
    let table = table(vec![
        on("/a").methods(&[Method::GET]),
        on("/a").methods(&[Method::PUT, Method::DELETE]),
        on("/a").methods(&[Method::PATCH]).hosts(&["other.example"]),
    ]);
    let refusal =
        |method, path| table.find(&head(method, "a", path), &HeaderMap::new()).unwrap_err();
    assert_eq!(refusal(Method::GET, "/b"), Refusal::NoRoute);
    let allow = vec![Method::DELETE, Method::GET, Method::HEAD, Method::PUT];
    assert_eq!(refusal(Method::POST, "/a"), Refusal::MethodNotAllowed { allow: allow.clone() });
    assert_eq!(refusal(Method::OPTIONS, "/a"), Refusal::MethodNotAllowed { allow });
}

#[test]
fn no_route_takes_trace_or_connect_and_one_of_every_method_names_the_others() {
    let table = table(vec![on("/a"), on("/b").methods(&[Method::POST])]);
    for method in [Method::TRACE, Method::CONNECT] {
        let refusal =
            |path| table.find(&head(method.clone(), "a", path), &HeaderMap::new()).unwrap_err();
        let Refusal::MethodNotAllowed { allow } = refusal("/a") else { panic!("{method}") };
        let names: Vec<&str> = allow.iter().map(Method::as_str).collect();
        assert_eq!(names, ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]);
        assert_eq!(refusal("/b"), Refusal::MethodNotAllowed { allow: vec![Method::POST] });
        assert_eq!(refusal("/c"), Refusal::NoRoute);
    }
}

#[test]
fn head_takes_the_get_route() {
    let table = table(vec![on("/a").methods(&[Method::GET]), on("/b").methods(&[Method::POST])]);
    assert_eq!(find(&table, &head(Method::HEAD, "a", "/a")), Some(0));
    assert_eq!(find(&table, &head(Method::HEAD, "a", "/b")), None);
}

#[test]
fn a_route_that_names_the_method_beats_one_that_takes_all() {
    let table = table(vec![on("/a"), on("/a").methods(&[Method::POST])]);
    assert_eq!(find(&table, &head(Method::POST, "a", "/a")), Some(1));
    assert_eq!(find(&table, &head(Method::GET, "a", "/a")), Some(0));
}

#[test]
fn headers_and_query_choose_among_routes_and_more_of_them_win() {
    let table = table(vec![
        on("/a"),
        on("/a").header("x-version", exactly("2")),
        on("/a").header("x-version", exactly("2")).header("x-test", TextMatch::Present),
        on("/a").query("format", exactly("csv")),
        on("/a").query("debug", TextMatch::Absent).query("format", exactly("xml")),
    ]);
    let find = |path: &str, headers: &[(&'static str, &'static str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        table.find(&head(Method::GET, "a", path), &map).unwrap().index
    };
    assert_eq!(find("/a", &[]), 0);
    assert_eq!(find("/a", &[("x-version", "2")]), 1);
    assert_eq!(find("/a", &[("x-version", "3")]), 0);
    assert_eq!(find("/a", &[("x-version", "2"), ("x-test", "")]), 2);
    assert_eq!(find("/a?format=csv", &[]), 3);
    assert_eq!(find("/a?format=csv", &[("x-version", "2")]), 1, "headers before query");
    assert_eq!(find("/a?format=xml", &[]), 4);
    assert_eq!(find("/a?format=xml&debug=1", &[]), 0);
    assert_eq!(find("/a?format=csv&format=xml", &[]), 0, "twice is not exactly anything");
    assert_eq!(find("/a", &[("x-version", "2"), ("x-version", "3")]), 0);
}

#[test]
fn a_header_that_is_missing_is_404_not_405() {
    let get_only = [Method::GET];
    let table = table(vec![on("/a").methods(&get_only).header("x-version", exactly("2"))]);
    assert_eq!(table.find(&head(Method::GET, "a", "/a"), &HeaderMap::new()), Err(Refusal::NoRoute));
}

#[test]
fn the_earlier_of_two_equal_routes_wins() {
    let table = table(vec![on("/a/{x}"), on("/a/{y}")]);
    let found = table.find(&head(Method::GET, "a", "/a/1"), &HeaderMap::new()).unwrap();
    assert_eq!((found.index, found.captures.get("x")), (0, Some("1")));
}

#[test]
fn a_head_that_was_not_read_matches_nothing() {
    let table = table(vec![on("/*"), on("/{*rest}"), on("/")]);
    assert_eq!(find(&table, &RequestHead::default()), None);
}

#[test]
fn among_ten_thousand_routes_a_request_looks_at_a_handful() {
    let many = |index: usize| {
        let path = match index % 4 {
            0 => format!("/service-{index}/{{id}}/items"),
            1 => format!("/api/{index}/*"),
            2 => format!("/api/v1/things/{index}/{{*rest}}"),
            _ => format!("/exact/{index}"),
        };
        on(&path).hosts(if index.is_multiple_of(3) { &["bank.example"] } else { &[] })
    };
    let table = table((0..10_000).map(many).chain([on("/*")]).collect());
    for index in (0..10_000).step_by(97) {
        let path = match index % 4 {
            0 => format!("/service-{index}/7/items"),
            1 => format!("/api/{index}/x/y"),
            2 => format!("/api/v1/things/{index}/x"),
            _ => format!("/exact/{index}"),
        };
        let mut examined = 0;
        let found = table.find_counting(
            &head(Method::GET, "bank.example", &path),
            &HeaderMap::new(),
            &mut examined,
        );
        assert_eq!(found.unwrap().index, index);
        assert!(examined <= 4, "{examined} routes were examined for {path}");
    }
}
