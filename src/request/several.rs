use http::{HeaderMap, HeaderName, header};

use super::{RequestHead, ValueSource};

/// How often a request has what a source names. More than once leaves no single value: the gateway
/// would go by one, and a backend may read another.
///
/// Counted are all spellings that some backend takes for the same name. Of a query parameter:
/// escaped, in another letter case (ASP.NET), behind a `;` (older Python, Ruby and Go) and as a
/// list, `name[]` (PHP, Rails, Express). Of a header: with `_` for `-` (CGI, WSGI). Sources other
/// than these two have one value at most.
pub fn occurrences(source: &ValueSource, head: &RequestHead, headers: &HeaderMap) -> usize {
    match source {
        ValueSource::Query(name) => names(head).filter(|found| same_parameter(found, name)).count(),
        ValueSource::Header(name) => in_headers(headers, name),
        ValueSource::Path(_)
        | ValueSource::Claim(_)
        | ValueSource::Body(_)
        | ValueSource::Client
        | ValueSource::Subject
        | ValueSource::Account
        | ValueSource::Route
        | ValueSource::Address
        | ValueSource::Method
        | ValueSource::Host
        | ValueSource::RequestId => 1,
    }
}

/// Whether a request has what a source names in other spellings only: a rule would not see it, and
/// a backend may.
pub fn only_in_other_spellings(
    source: &ValueSource,
    head: &RequestHead,
    headers: &HeaderMap,
) -> bool {
    let as_named = match source {
        ValueSource::Query(name) => head.query_values(name).next().is_some(),
        ValueSource::Header(name) => headers.contains_key(name),
        _ => true,
    };
    !as_named && occurrences(source, head, headers) > 0
}

/// Whether some backends may read a query parameter differently because of a `%` without two
/// hexadecimal digits: `%u0061` is an `a` for some. Its value may then be another one, and any name
/// in the query may be its own.
pub fn has_broken_escape(head: &RequestHead, name: &str) -> bool {
    let query = head.query.as_deref().unwrap_or_default();
    let in_a_name = query
        .split(['&', ';'])
        .any(|pair| is_broken(pair.split_once('=').map_or(pair, |(name, _)| name)));
    let values = query.split('&').filter_map(|pair| pair.split_once('='));
    let of_name = |text: &str| {
        form_urlencoded::parse(text.as_bytes()).next().is_some_and(|(found, _)| found == name)
    };
    in_a_name || values.into_iter().any(|(text, value)| is_broken(value) && of_name(text))
}

fn is_broken(text: &str) -> bool {
    text.split('%').skip(1).any(|after| {
        let digits = after.as_bytes().first_chunk::<2>();
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Whether any parameter of the query is there twice.
pub fn repeats_a_parameter(head: &RequestHead) -> bool {
    let mut names: Vec<String> = names(head).map(|name| name.to_ascii_lowercase()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    names.len() < all
}

/// The names of the query's parameters, decoded. Some backends end a name at a NUL, and begin it
/// behind white space.
fn names(head: &RequestHead) -> impl Iterator<Item = String> {
    let query = head.query.as_deref().unwrap_or_default();
    query.split(['&', ';']).filter_map(|pair| {
        let (name, _) = form_urlencoded::parse(pair.as_bytes()).next()?;
        Some(name.split('\0').next().unwrap_or_default().trim().to_owned())
    })
}

fn same_parameter(found: &str, name: &str) -> bool {
    let base = found.split('[').next().unwrap_or_default();
    found.eq_ignore_ascii_case(name) || base.eq_ignore_ascii_case(name)
}

/// Cookies may come in several fields over HTTP/2 (RFC 9113 section 8.2.3) and are one list still.
fn in_headers(headers: &HeaderMap, name: &HeaderName) -> usize {
    if *name == header::COOKIE {
        return usize::from(headers.contains_key(name));
    }
    headers.iter().filter(|(found, _)| same_header(found, name)).count()
}

fn same_header(found: &HeaderName, name: &HeaderName) -> bool {
    let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let (found, name) = (found.as_str(), name.as_str());
    found.len() == name.len() && found.bytes().map(dashed).eq(name.bytes().map(dashed))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn in_query(query: &str, name: &str) -> usize {
        let head = RequestHead { query: Some(query.to_owned()), ..RequestHead::default() };
        occurrences(&ValueSource::Query(name.into()), &head, &HeaderMap::new())
    }

    #[test]
    fn a_parameter_counts_in_every_spelling_that_a_backend_may_take_for_it() {
        for again in [
            "acc=2",
            "acc",
            "acc=",
            "%61cc=2",
            "%61%63%63=2",
            "ACC=2",
            "acc[]=2",
            "acc%5B0%5D=2",
            "x=1;acc=2",
            "%20acc=2",
            "+acc=2",
            "acc%00=2",
        ] {
            assert_eq!(in_query(&format!("acc=1&{again}"), "acc"), 2, "{again}");
            assert_eq!(in_query(&format!("{again}&acc=1"), "acc"), 2, "{again}");
        }
        for other in ["account=2", "x=acc", "x=acc%3D2", "x=%26acc=2", "[acc]=2", "&&", "ac%2563=2"]
        {
            assert_eq!(in_query(&format!("acc=1&{other}"), "acc"), 1, "{other}");
        }
        assert_eq!(in_query("filter[a]=1&filter[b]=2", "filter[a]"), 1);
        assert_eq!(in_query("", "acc"), 0);
    }

    #[test]
    fn a_field_counts_with_underscores_too_and_cookies_are_one() {
        let mut headers = HeaderMap::new();
        for name in ["x-acc", "x_acc", "x-acc", "x-account", "cookie", "cookie"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        let count = |name| {
            let source = ValueSource::Header(HeaderName::from_static(name));
            occurrences(&source, &RequestHead::default(), &headers)
        };
        assert_eq!((count("x-acc"), count("x-account"), count("cookie")), (3, 1, 1));
        assert_eq!(count("x-none"), 0);
    }

    #[test]
    fn a_parameter_in_another_spelling_only_is_known() {
        let only = |query: &str| {
            let head = RequestHead { query: Some(query.to_owned()), ..RequestHead::default() };
            only_in_other_spellings(&ValueSource::Query("batch".into()), &head, &HeaderMap::new())
        };
        for query in ["Batch=1", "batch[]=1", "x=2;batch=1", "+batch=1", "batch%00=1"] {
            assert!(only(query), "{query}");
        }
        for query in ["batch=1", "%62atch", "", "x=batch", "batch=1&Batch=2"] {
            assert!(!only(query), "{query}");
        }
    }

    #[test]
    fn a_field_in_another_spelling_only_is_known() {
        let only = |field: &'static str| {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static(field),
                HeaderValue::from_static("1"),
            )]);
            let source = ValueSource::Header(HeaderName::from_static("x-batch"));
            only_in_other_spellings(&source, &RequestHead::default(), &headers)
        };
        assert!(only("x_batch"));
        assert!(!only("x-batch") && !only("x-other"));
    }

    #[test]
    fn escapes_that_backends_read_differently_are_known_in_the_value_and_in_every_name() {
        let broken = |query: &str| {
            let head = RequestHead { query: Some(query.to_owned()), ..RequestHead::default() };
            has_broken_escape(&head, "acc")
        };
        for query in
            ["acc=%u0034711", "acc=%zz", "acc=4%", "%61cc=4%1", "ac%u0063=1", "x;a%=1", "acc=1;x=%"]
        {
            assert!(broken(query), "{query}");
        }
        for query in ["acc=%34711", "acc=4&x=100%", "acc=%25u0034", "", "acc"] {
            assert!(!broken(query), "{query}");
        }
    }

    #[test]
    fn a_query_that_repeats_itself_is_known() {
        let repeats = |query: &str| {
            repeats_a_parameter(&RequestHead {
                query: Some(query.to_owned()),
                ..RequestHead::default()
            })
        };
        assert!(repeats("a=1&b=2&a=3") && repeats("a=1&A=1") && repeats("a=1;%61=2"));
        assert!(!repeats("a=1&b=a&c[a]=1&c[b]=1") && !repeats(""));
    }
}
