use http::HeaderName;

use super::Check;
use super::values::{self, Has};
use crate::config::model::{HeaderEdits, JsonEdit, RequestEdits, ResponseEdits};
use crate::config::raw;
use crate::config::spot::Spot;
use crate::request::{JsonPointer, Template};

/// Header fields that a message is given. Nobody takes many more than so many, and a map of header
/// fields has an end, at which it panics.
pub(super) const MAX_FIELDS: usize = 100;

/// Fields that say how a message is sent, not what it means: the gateway writes them itself
/// (RFC 9110 section 7.6.1, RFC 9112 section 6).
const OWN_FIELDS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Steps that a pointer may have: no JSON body is nested more deeply.
const MAX_STEPS: usize = 64;

pub(super) fn request(
    raw: &raw::RequestEdits,
    at: &Spot<'_>,
    has: &Has<'_>,
    check: &mut Check<'_>,
) -> RequestEdits {
    RequestEdits {
        headers: headers(&raw.headers, &at.key("headers"), has, check),
        body: json(&raw.body, &at.key("body"), check),
    }
}

pub(super) fn response(
    raw: &raw::ResponseEdits,
    at: &Spot<'_>,
    has: &Has<'_>,
    check: &mut Check<'_>,
) -> ResponseEdits {
    ResponseEdits {
        headers: headers(&raw.headers, &at.key("headers"), has, check),
        body: json(&raw.body, &at.key("body"), check),
        max_body: check.size(&at.key("max_body"), raw.max_body, 1, 64 << 20),
    }
}

fn headers(
    raw: &raw::HeaderEdits,
    at: &Spot<'_>,
    has: &Has<'_>,
    check: &mut Check<'_>,
) -> HeaderEdits {
    let place = at.key("remove");
    let remove = raw
        .remove
        .iter()
        .enumerate()
        .filter_map(|(position, name)| field(name, &place.item(position), check))
        .collect();
    let place = at.key("rename");
    let rename = raw.rename.iter().filter_map(|(old, new)| {
        let place = place.key(old);
        let old = field(old, &place, check);
        Some((old?, value_as_field(new, &place, check)?))
    });
    let rename = rename.collect();
    HeaderEdits {
        remove,
        rename,
        set: templates(&raw.set, &at.key("set"), has, check),
        add: templates(&raw.add, &at.key("add"), has, check),
    }
}

fn templates(
    raw: &raw::Fields<String>,
    at: &Spot<'_>,
    has: &Has<'_>,
    check: &mut Check<'_>,
) -> Vec<(HeaderName, Template)> {
    if raw.iter().count() > MAX_FIELDS {
        check.error(at, format!("at most {MAX_FIELDS} header fields can stand here"));
    }
    let mut fields = Vec::new();
    for (name, text) in raw.iter() {
        let place = at.key(name);
        let name = field(name, &place, check);
        let value = values::template(text, &place, has, check);
        if !is_field_value(text) {
            check.error(&place, "this has characters that can't stand in a header");
        }
        fields.extend(name.zip(value));
    }
    fields
}

/// Visible ASCII, blanks and tabs, as in RFC 9110 section 5.5 without obsolete text.
pub(super) fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t'))
}

/// A field that may be edited.
pub(super) fn field(text: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<HeaderName> {
    let name = values::header(text, at, check)?;
    if OWN_FIELDS.contains(&name.as_str()) {
        let problem = check.error_on_key(at, format!("the gateway writes `{name}` itself"));
        if name == http::header::HOST {
            problem.hint("`rewrite: {host: …}` sends another host");
        }
        return None;
    }
    Some(name)
}

fn value_as_field(text: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    match name {
        Some(name) if !OWN_FIELDS.contains(&name.as_str()) => Some(name),
        Some(name) => {
            check.error(at, format!("the gateway writes `{name}` itself"));
            None
        }
        None => {
            check.error(at, format!("{} is not a header name", at.quoted()));
            None
        }
    }
}

/// Edits of a JSON body.
pub(super) fn json(raw: &[raw::JsonEdit], at: &Spot<'_>, check: &mut Check<'_>) -> Vec<JsonEdit> {
    let edits = raw.iter().enumerate();
    edits.filter_map(|(position, raw)| edit(raw, &at.item(position), check)).collect()
}

fn edit(raw: &raw::JsonEdit, at: &Spot<'_>, check: &mut Check<'_>) -> Option<JsonEdit> {
    if let Some(place) = &raw.drop {
        return Some(JsonEdit::Drop(pointer(place, &at.key("drop"), check)?));
    }
    if let Some(pick) = &raw.pick {
        let place = pointer(&pick.at, &at.key("pick").key("at"), check)?;
        return Some(JsonEdit::Pick(place, pick.members.clone()));
    }
    if let Some(raw) = &raw.rename {
        return rename(raw, &at.key("rename"), check);
    }
    if let Some(raw) = &raw.move_to {
        return move_to(raw, &at.key("move"), check);
    }
    if let Some(set) = &raw.set {
        let place = pointer(&set.at, &at.key("set").key("at"), check)?;
        return Some(JsonEdit::Set(place, set.value.clone()));
    }
    let mask = raw.mask.as_ref()?;
    let place = pointer(&mask.at, &at.key("mask").key("at"), check)?;
    Some(JsonEdit::Mask(place, usize::try_from(mask.keep).ok()?))
}

fn rename(raw: &raw::Rename, at: &Spot<'_>, check: &mut Check<'_>) -> Option<JsonEdit> {
    let place = at.key("at");
    let member = pointer(&raw.at, &place, check)?;
    if raw.at.is_empty() || raw.at.ends_with("/*") {
        check.error(&place, "this names no single member").hint("end it with a member's name");
        return None;
    }
    Some(JsonEdit::Rename(member, raw.to.clone()))
}

fn move_to(raw: &raw::Move, at: &Spot<'_>, check: &mut Check<'_>) -> Option<JsonEdit> {
    let (at_from, at_to) = (at.key("from"), at.key("to"));
    let from = pointer(&raw.from, &at_from, check);
    let to = pointer(&raw.to, &at_to, check);
    if raw.from == raw.to {
        check.error(&at_to, "this is where the value is already");
        return None;
    }
    // Behind its last `*` a move happens within each item, so both must lead to the same items.
    let items = |text: &str| text.rfind("/*").map(|at| text.get(..at + 2).unwrap_or("").to_owned());
    if items(&raw.from) != items(&raw.to) {
        check
            .error(&at_to, "with `*` both places must be alike up to the last `*`")
            .hint("as in `from: /cards/*/number` and `to: /cards/*/ids/number`");
        return None;
    }
    Some(JsonEdit::Move(from?, to?))
}

/// A JSON Pointer.
pub(super) fn pointer(text: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<JsonPointer> {
    match JsonPointer::parse(text) {
        Ok(_) if text.matches('/').count() > MAX_STEPS => {
            check.error(at, format!("this has more than {MAX_STEPS} steps"));
            None
        }
        Ok(pointer) => Some(pointer),
        Err(_) if !text.is_empty() && !text.starts_with('/') => {
            check
                .error(at, format!("{} is not a JSON Pointer", at.quoted()))
                .hint(format!("write `/{}`", text.replace('.', "/")));
            None
        }
        Err(_) => {
            check
                .error(at, format!("{} is not a JSON Pointer", at.quoted()))
                .hint("write `~` as `~0`, and `/` in a name as `~1`");
            None
        }
    }
}
