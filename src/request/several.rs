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
