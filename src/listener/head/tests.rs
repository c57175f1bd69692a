use std::time::Duration;

use proptest::prelude::*;

use super::*;

const LIMITS: ListenerLimits = ListenerLimits {
    max_connections: 1,
    max_connections_per_address: 1,
    header_timeout: Duration::ZERO,
    body_timeout: Duration::ZERO,
    idle_timeout: Duration::ZERO,
    max_header_bytes: 200,
    max_headers: 6,
    max_uri_bytes: 40,
};

fn read(text: &str) -> Result<Option<Whole>, Refusal> {
    Head::default().read(text.as_bytes(), &LIMITS)
}

fn body(fields: &str) -> Result<Body, Refusal> {
    let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    read(&text).map(|whole| whole.expect("a whole head").body)
}

fn why(fields: &str) -> &'static str {
    match body(fields) {
        Err(Refusal::BadRequest(why)) => why,
        other => panic!("{fields:?}: {other:?}"),
    }
}

#[test]
fn a_head_ends_with_its_empty_line_and_says_what_body_follows() {
    let text = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let whole = Whole { length: text.len(), body: Body::NONE };
    assert_eq!(read(&format!("{text}GET /b HT")), Ok(Some(whole)));
    assert_eq!(body("Content-Length: 12\r\n"), Ok(Body::Length(12)));
    assert_eq!(body("content-length:12\r\nContent-Length: 12 \r\n"), Ok(Body::Length(12)));
    assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Ok(Body::CHUNKED));
    assert_eq!(read("\r\nGET / HTTP/1.0\r\nhost:\r\n\r\n").map(|one| one.is_some()), Ok(true));
}

#[test]
fn a_body_whose_end_is_said_in_two_ways_is_refused() {
    assert!(why("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n").contains("exclude"));
    assert!(why("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n").contains("exclude"));
    assert!(why("Content-Length: 5\r\nContent-Length: 6\r\n").contains("disagree"));
    assert!(why("Content-Length: +5\r\n").contains("not a number"));
    assert!(why("Content-Length: 5, 5\r\n").contains("not a number"));
    assert!(why("Content-Length: \r\n").contains("not a number"));
    for coding in ["gzip, chunked", "identity", "\x0bchunked", "chunked, chunked", ""] {
        let fields = format!("Transfer-Encoding: {coding}\r\n");
        assert!(matches!(body(&fields), Err(Refusal::BadRequest(_))), "{coding:?}");
    }
    assert!(why("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n").contains("other"));
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(matches!(read(old), Err(Refusal::BadRequest(_))));
}

#[test]
fn fields_that_parsers_read_differently_are_refused() {
    assert!(why("X-A : 1\r\n").contains("malformed"));
    assert!(why(" X-A: 1\r\n").contains("malformed"));
    assert!(why("X-A: 1\r\n folded\r\n").contains("malformed"));
    assert!(why("no colon\r\n").contains("malformed"));
    assert!(why(": no name\r\n").contains("malformed"));
    assert!(why("X(A): 1\r\n").contains("malformed"));
    assert!(why("X-A: 1\0\r\n").contains("control"));
    assert!(why("X-A: 1\rX-B: 2\r\n").contains("control"));
    assert!(why("X-A: 1\n").contains("CRLF"));
}

#[test]
fn a_request_has_one_host() {
    assert!(why("Host: a\r\n").contains("several"));
    assert_eq!(read("GET / HTTP/1.1\r\n\r\n"), Err(Refusal::BadRequest("there is no Host field")));
}

#[test]
fn request_lines_that_are_none_are_refused() {
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / b HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\t HTTP/1.1",
        "GET / HTTP/0.9",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "PRI * HTTP/2.0",
        "\x16\x03\x01",
    ] {
        let read = read(&format!("{line}\r\nHost: a\r\n\r\n"));
        assert!(matches!(read, Err(Refusal::BadRequest(_))), "{line:?}: {read:?}");
    }
    assert!(matches!(read(&"\r\n".repeat(5)), Err(Refusal::BadRequest(_))));
    assert!(matches!(
        read("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
        Err(Refusal::MethodNotAllowed { .. })
    ));
}

#[test]
fn what_is_too_large_is_refused_before_it_has_come_whole() {
    let (fits, long) = ("a".repeat(39), "a".repeat(40));
    assert!(read(&format!("GET /{fits} HTTP/1.1\r\n")).is_ok());
    assert_eq!(read(&format!("GET /{long} HTTP/1.1\r\n")), Err(Refusal::UriTooLong));
    assert_eq!(read(&"A".repeat(200)), Err(Refusal::UriTooLong));
    let start = "GET / HTTP/1.1\r\nHost: a\r\n";
    let large = "v".repeat(201);
    assert_eq!(read(&format!("{start}X-A: {large}")), Err(Refusal::HeadersTooLarge));
    assert_eq!(read(&format!("{start}X-A: {large}\r\n")), Err(Refusal::HeadersTooLarge));
    let many = "X-A: 1\r\n".repeat(6);
    assert_eq!(read(&format!("{start}{many}")), Err(Refusal::HeadersTooLarge));
}

proptest! {
    #[test]
    fn a_head_reads_the_same_however_it_is_cut(
        fields in prop::collection::vec("[A-Za-z-]{1,6}: ?[a-z0-9 ]{0,6}\r\n", 0..5),
        cuts in prop::collection::vec(0usize..120, 0..6),
    ) {
        let text = format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\nrest", fields.concat());
        let mut head = Head::default();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.sort_unstable();
        cuts.push(text.len());
        let whole = read(&text);
        let mut in_pieces = Ok(None);
        for cut in cuts {
            in_pieces = head.read(&text.as_bytes()[..cut], &LIMITS);
            if !matches!(in_pieces, Ok(None)) {
                break;
            }
        }
        prop_assert_eq!(in_pieces, whole);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Head::default().read(&bytes, &LIMITS);
    }
}
