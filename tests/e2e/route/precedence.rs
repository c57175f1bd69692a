//! One configuration, many requests: who takes which.

use crate::support::gateway::base_config;
use crate::support::wire::Wire;
use crate::support::{Bank, Tollgate};

/// Each route answers with its id. They stand in the configuration from the least specific to the
/// most, so that none wins by its place.
const ROUTES: [(&str, &str); 25] = [
    ("any", r#"path: "/*""#),
    ("a-below", r#"path: "/a/*""#),
    ("a-rest", r#"path: "/a/{*rest}""#),
    ("a-one-below", r#"path: "/a/{x}/*""#),
    ("ab-below", r#"path: "/a/b/*""#),
    ("ab-below-x", r#"path: "/a/b/{x}/*""#),
    ("two-captures", r#"path: "/a/{x}/{y}""#),
    ("capture-literal", r#"path: "/a/{x}/c""#),
    ("literal-capture", r#"path: "/a/b/{y}""#),
    ("literal", r#"path: /a/b/c"#),
    ("slash", r#"path: /a/b/c/"#),
    ("m", r#"path: /m"#),
    ("m-query", r#"path: /m, query: { q: "1" }"#),
    ("m-two-queries", r#"path: /m, query: { q: "1", r: { present: true } }"#),
    ("m-header", r#"path: /m, headers: { x-a: "1" }"#),
    ("m-two-headers", r#"path: /m, headers: { x-a: "1", x-b: { present: true } }"#),
    ("m-get", r#"path: /m, methods: [GET]"#),
    ("m-post-plain", r#"path: /m, methods: [POST], headers: { x-c: { absent: true } }"#),
    ("wide", r#"path: "/*", hosts: ["*.example"]"#),
    ("wide-bank", r#"path: "/*", hosts: ["*.bank.example"]"#),
    ("wide-bank-a", r#"path: /a/b/c, hosts: ["*.bank.example"]"#),
    ("api", r#"path: "/api/*", hosts: [api.bank.example]"#),
    ("first", r#"path: /same, headers: { x-a: "1" }"#),
    ("second", r#"path: /same, headers: { x-b: "1" }"#),
    ("root", r#"path: /"#),
];

#[tokio::test]
async fn the_most_specific_route_takes_a_request() {
    let bank = Bank::start().await;
    let mut config = base_config(&bank) + "routes:\n";
    for (id, matches) in ROUTES {
        config += &format!(
            "  - {{ id: {id}, match: {{ {matches} }}, authenticate: none, answer: {{ body: {id} }} }}\n"
        );
    }
    let gateway = Tollgate::start(&config).await;
    let mut wire = Wire::to(&gateway, 8080).await;
    for (method, host, target, headers, expected) in [
        // Paths.
        ("GET", "x", "/", "", "root"),
        ("GET", "x", "/z", "", "any"),
        ("GET", "x", "/a", "", "a-below"),
        ("GET", "x", "/a/", "", "a-below"),
        ("GET", "x", "/ab", "", "any"),
        ("GET", "x", "/a/z", "", "a-one-below"),
        ("GET", "x", "/a/b", "", "ab-below"),
        ("GET", "x", "/a/b/", "", "ab-below"),
        ("GET", "x", "/a/b/c", "", "literal"),
        ("GET", "x", "/a/b/c/", "", "slash"),
        ("GET", "x", "/a/b/z", "", "literal-capture"),
        ("GET", "x", "/a/z/c", "", "capture-literal"),
        ("GET", "x", "/a/z/z", "", "two-captures"),
        ("GET", "x", "/a/z/z/z", "", "a-one-below"),
        ("GET", "x", "/a/b/z/z", "", "ab-below-x"),
        ("GET", "x", "/A/b/c", "", "any"),
        ("GET", "x", "/%61/b/c", "", "literal"),
        ("GET", "x", "/a/./b/../b//c", "", "literal"),
        // Method before headers before query.
        ("GET", "x", "/m", "", "m-get"),
        ("HEAD", "x", "/m", "", "m-get"),
        ("GET", "x", "/m?q=1", "x-a: 1\r\n", "m-get"),
        ("PUT", "x", "/m", "", "m"),
        ("PUT", "x", "/m?q=2", "", "m"),
        ("PUT", "x", "/m?q=1", "", "m-query"),
        ("PUT", "x", "/m?r&q=1", "", "m-two-queries"),
        ("PUT", "x", "/m?q=1&q=1", "", "m"),
        ("PUT", "x", "/m?%71=%31", "", "m-query"),
        ("PUT", "x", "/m?q=1", "x-a: 1\r\n", "m-header"),
        ("PUT", "x", "/m?q=1&r", "X-A: 1\r\nX-B:\r\n", "m-two-headers"),
        ("PUT", "x", "/m", "x-a: 2\r\n", "m"),
        ("PUT", "x", "/m", "x-a: 1\r\nx-a: 1\r\n", "m"),
        ("POST", "x", "/m", "", "m-post-plain"),
        ("POST", "x", "/m", "x-c: 1\r\n", "m"),
        // Equal in all of it: the first in the configuration.
        ("GET", "x", "/same", "x-b: 1\r\n", "second"),
        ("GET", "x", "/same", "x-a: 1\r\nx-b: 1\r\n", "first"),
        // Hosts before everything; the longest wildcard first.
        ("GET", "shop.example", "/a/b/c", "", "wide"),
        ("GET", "example", "/a/b/c", "", "literal"),
        ("GET", "bank.example", "/z", "", "wide"),
        ("GET", "x.bank.example", "/z", "", "wide-bank"),
        ("GET", "x.y.bank.example", "/a/b/c", "", "wide-bank-a"),
        ("GET", "api.bank.example", "/api/z", "", "api"),
        ("GET", "API.Bank.Example.:8080", "/api/z", "", "api"),
        ("GET", "api.bank.example", "/z", "", "wide-bank"),
        ("GET", "xapi.bank.example", "/api/z", "", "wide-bank"),
        ("GET", "notbank.example", "/z", "", "wide"),
        ("GET", "example.evil", "/z", "", "any"),
    ] {
        wire.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")).await;
        let taken = match method {
            // Without a body the length tells as well, as long as no other has it here.
            "HEAD" => {
                let (_, fields) = wire.head().await.unwrap();
                assert_eq!(fields["content-length"], expected.len().to_string());
                continue;
            }
            _ => wire.answer().await,
        };
        let id = String::from_utf8_lossy(&taken.body).into_owned();
        assert_eq!(id, expected, "{method} {host} {target} {headers:?}");
    }
}
