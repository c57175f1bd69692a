//! Heads that must not be passed on.

use super::config;
use crate::support::wire::{Wire, ask, assert_problem, logged, metric_becomes};
use crate::support::{Answer, Bank, Tollgate};

/// Refused by the port itself: nothing behind it sees the request.
fn malformed() -> Vec<&'static [u8]> {
    vec![
        // Request lines.
        b"GET /v1/4711\r\nHost: a\r\n\r\n",
        b"GET  /v1/4711 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET /v1/47 11 HTTP/1.1\r\nHost: a\r\n\r\n",
        b" GET /v1/4711 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G@T /v1/4711 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET\t/v1/4711\tHTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/\x004711 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/4711 HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /v1/4711 HTTP/1.2\r\nHost: a\r\n\r\n",
        b"GET /v1/4711 http/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\r\nGET /v1/4711 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        // Hosts.
        b"GET /v1/4711 HTTP/1.1\r\n\r\n",
        b"GET /v1/4711 HTTP/1.0\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
        // Lines and fields.
        b"GET /v1/4711 HTTP/1.1\nHost: a\n\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nX-A: b\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nX(A): b\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nX\xc3\xa4: b\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nX-A: b\rc: d\r\n\r\n",
        b"GET /v1/4711 HTTP/1.1\r\nHost: a\r\nX-A: \x1b[2J\r\n\r\n",
        // Where the body ends.
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        b"POST /v1/4711 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/4711 HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ]
}

async fn refused_and_parted(gateway: &Tollgate, request: &[u8]) -> Answer {
    let mut wire = Wire::to(gateway, 8080).await;
    wire.send(request).await;
    let answer = wire.try_answer().await;
    let answer = answer.unwrap_or_else(|| panic!("no answer to {}", request.escape_ascii()));
    assert_eq!(answer.header("connection"), "close", "{}", request.escape_ascii());
    wire.ends().await;
    answer
}

#[tokio::test]
async fn a_malformed_head_is_answered_400_and_stands_in_the_log_and_the_metrics() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let requests = malformed();
    for request in &requests {
        let answer = refused_and_parted(&gateway, request).await;
        let id = assert_problem(&answer, 400, "bad-request");
        let line = logged(&gateway, &id).await;
        assert_eq!(line["http"]["response"]["status_code"], 400, "{line}");
        assert_eq!(line["tollgate"]["problem"], "bad-request");
        assert_eq!(line["event"]["outcome"], "failure");
        assert_eq!(line["client"]["ip"], "127.0.0.1");
        assert!(line["event"]["duration"].as_u64().unwrap() > 0, "{line}");
        for unknown in ["/http/version", "/trace"] {
            assert!(line.pointer(unknown).is_none(), "{unknown}: {line}");
        }
    }
    let count = requests.len() as u64;
    metric_becomes(&gateway, r#"tollgate_refusals_total{type="bad-request"}"#, count).await;
    let by_the_port = r#"tollgate_listener_refusals_total{reason="malformed-head"}"#;
    metric_becomes(&gateway, by_the_port, count).await;
    metric_becomes(&gateway, "tollgate_requests_in_progress", 0).await;
    assert_eq!(bank.calls().await, 0, "no backend saw any of them");
}

#[tokio::test]
async fn heads_that_are_too_large_are_414_and_431_at_the_byte_too_many() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let long = "a".repeat(9 * 1024);
    let many: String = (0..101).map(|number| format!("X-{number}: 1\r\n")).collect();
    let large: String = (0..5).map(|number| format!("X-{number}: {long}\r\n")).collect();
    let cases = [
        (format!("GET /v1/{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, "uri-too-long"),
        (format!("GET /v1/4711?q={long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, "uri-too-long"),
        // It never ends, and is answered all the same.
        (format!("GET /v1/{long}"), 414, "uri-too-long"),
        (format!("GET /v1/4711 HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431, "headers-too-large"),
        (format!("GET /v1/4711 HTTP/1.1\r\nHost: a\r\n{large}\r\n"), 431, "headers-too-large"),
        (format!("GET /v1/4711 HTTP/1.1\r\nHost: a\r\n{many}"), 431, "headers-too-large"),
        (format!("GET /v1/4711 HTTP/1.1\r\nX: {}", long.repeat(4)), 431, "headers-too-large"),
    ];
    for (request, status, kind) in &cases {
        let answer = refused_and_parted(&gateway, request.as_bytes()).await;
        let id = assert_problem(&answer, *status, kind);
        assert_eq!(logged(&gateway, &id).await["tollgate"]["problem"], *kind);
    }
    for (kind, count) in [("uri-too-long", 3), ("headers-too-large", 4)] {
        let refusals = format!("tollgate_refusals_total{{type=\"{kind}\"}}");
        metric_becomes(&gateway, &refusals, count).await;
        let by_the_port = format!("tollgate_listener_refusals_total{{reason=\"{kind}\"}}");
        metric_becomes(&gateway, &by_the_port, count).await;
    }
    assert_eq!(bank.calls().await, 0);
}

#[tokio::test]
async fn heads_of_doubtful_meaning_are_refused_behind_the_port_too() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let get = |target: &[u8]| [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let with_host = |host: &str| format!("GET /v1/1 HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let with_connection = |options: &str| {
        format!("GET /v1/1 HTTP/1.1\r\nHost: a\r\nConnection: {options}\r\n\r\n").into_bytes()
    };
    let cases = [
        (get(b"/v1/\xff\xfe"), 400, "bad-path"),
        (get(b"/v1/%ff"), 400, "bad-path"),
        (get(b"/v1/%c0%ae"), 400, "bad-path"),
        (get(b"/v1/%00"), 400, "bad-path"),
        (get(b"/v1/a%0d%0aX:%20y"), 400, "bad-path"),
        (get(b"/v1/%zz"), 400, "bad-path"),
        (get(b"/v1/a%2fb"), 400, "bad-path"),
        (get(b"/v1/a\\b"), 400, "bad-path"),
        (get(b"/../v1/4711"), 400, "bad-path"),
        (get(b"x"), 400, "bad-path"),
        (get(b"?x"), 400, "bad-path"),
        (get(b"a:443"), 400, "bad-path"),
        (get(b"ftp://a/v1/4711"), 400, "bad-path"),
        (get(b"http:/v1/4711"), 400, "bad-path"),
        (get(b"://a/v1/4711"), 400, "bad-path"),
        (get(b"/v1/4711?q=\xff"), 400, "bad-path"),
        (get(b"/v1/<"), 400, "bad-request"),
        (get(b"/v1/`"), 400, "bad-request"),
        (get(b"/v1/4711?q=\""), 400, "bad-request"),
        (get(b"http:///v1/4711"), 400, "bad-request"),
        (get(b"http://a@a/v1/4711"), 400, "bad-request"),
        (get(b"http://A/v1/4711"), 400, "bad-request"),
        (get(b"*"), 400, "bad-path"),
        (with_host(""), 400, "bad-request"),
        (with_host("user@a"), 400, "bad-request"),
        (with_host("a/b"), 400, "bad-request"),
        (with_host("a b"), 400, "bad-request"),
        (with_host("a, b"), 400, "bad-request"),
        (with_host("a:99999"), 400, "bad-request"),
        (get(b"http://b/v1/4711"), 400, "bad-request"),
        (
            b"GET /v1/1 HTTP/1.1\r\nHost: a\r\nExpect: 200-maybe\r\n\r\n".to_vec(),
            400,
            "bad-request",
        ),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 405, "method-not-allowed"),
        (b"TRACE /v1/4711 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 405, "method-not-allowed"),
        (with_connection("host"), 400, "bad-request"),
        (with_connection("close, X-Forwarded-For"), 400, "bad-request"),
        (with_connection("\"x-forwarded-proto\""), 400, "bad-request"),
        (with_connection("a,b,c,d,e,f,g,h,i,j"), 400, "bad-request"),
    ];
    for (request, status, kind) in &cases {
        let answer = ask(&gateway, request).await;
        let shown = request.escape_ascii();
        assert_eq!(answer.status, *status, "{shown}: {answer:?}");
        let id = assert_problem(&answer, *status, kind);
        let line = logged(&gateway, &id).await;
        assert_eq!(line["tollgate"]["problem"], *kind, "{shown}: {line}");
        assert_eq!(answer.headers.contains_key("allow"), *status == 405, "{shown}");
    }
    for kind in ["bad-path", "bad-request", "method-not-allowed"] {
        let count = cases.iter().filter(|(_, _, case)| *case == kind).count() as u64;
        let refusals = format!("tollgate_refusals_total{{type=\"{kind}\"}}");
        metric_becomes(&gateway, &refusals, count).await;
    }
    assert_eq!(bank.calls().await, 0);
}

#[tokio::test]
async fn a_method_that_no_route_takes_is_told_those_that_are_taken() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let every = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
    for (request, allow) in
        [("TRACE /v1/4711", every), ("TRACE /transfers", "POST"), ("GET /transfers", "POST")]
    {
        let answer = ask(&gateway, format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_problem(&answer, 405, "method-not-allowed");
        assert_eq!(answer.header("allow"), allow, "{request}");
        assert_eq!(answer.json()["detail"], format!("Allowed are {allow}."));
    }
    let tunnel = ask(&gateway, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(tunnel.json()["detail"], "No API has this method.");
}
