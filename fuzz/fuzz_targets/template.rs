//! Any text is a template that prints as it was written, or is refused; and no value of a request
//! changes more of a template's target than its own place. The input is lines: a template, the
//! value of a header and of the path's account, and a query.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tollgate::request::{Captures, Facts, RequestHead, RouteId, Template, ValueSource};

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (written, field, account, query) = (line(), line(), line(), line());
    if let Ok(source) = ValueSource::parse(written) {
        assert_eq!(ValueSource::parse(&source.to_string()), Ok(source));
    }
    let Ok(template) = Template::parse(written, &["account"]) else { return };
    assert_eq!(template.to_string(), written);
    let head = RequestHead { query: Some(query.into()), ..RequestHead::default() };
    let value = HeaderValue::from_str(field).ok();
    let headers: HeaderMap =
        value.into_iter().map(|value| (http::HeaderName::from_static("x-id"), value)).collect();
    let captures = Captures(vec![("account".into(), account.into())]);
    let facts = Facts {
        head: &head,
        headers: &headers,
        route: &RouteId::new("r"),
        captures: &captures,
        caller: None,
        account: None,
        body: None,
    };
    let longest = field.len().max(account.len()).max(query.len()).max(64);
    let most = written.len() + 3 * longest * template.sources().count();
    if let Some(rendered) = template.render(&facts) {
        assert!(rendered.len() <= most);
    }
    if let Ok(target) = template.render_target(&facts) {
        assert!(target.len() <= most);
        check(&target, written, account);
    }
});

/// A value adds no segment, no step up, no query and no fragment.
fn check(target: &str, written: &str, account: &str) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    assert!(!path.split('/').any(|segment| segment == "." || segment == ".."), "{target}");
    let own = written.matches("{account}").count();
    let slashes = written.matches('/').count() + own * account.matches('/').count();
    assert!(path.matches('/').count() <= slashes, "{target}");
    for separator in ['?', '#', '&', '\\', '\0'] {
        let found = target.matches(separator).count();
        assert!(found <= written.matches(separator).count(), "{separator:?} in {target}");
    }
    assert!(query.is_empty() || written.contains('?'));
}
