use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use uuid::Uuid;

use super::Fields;
use super::fields::single;

/// Where a request stands in a trace (W3C Trace Context, section 3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems want to remember (W3C Trace Context, section 3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The sampled flag and the random flag; others have no meaning yet and must not be passed on.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// The trace that a request belongs to, and this gateway's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace: 16 bytes, not all zero.
    pub trace: [u8; 16],
    /// The span of the caller, where it sent one.
    pub parent: Option<[u8; 8]>,
    /// The gateway's own span: 8 bytes, not all zero.
    pub span: [u8; 8],
    /// Flags (section 3.2.2.5).
    pub flags: u8,
}

impl TraceContext {
    /// Continues the trace that the request names, else begins one. `fresh` gives
    /// random UUIDs (version 4); the last eight bytes of one, never all zero, make a span.
    ///
    /// A trace that begins here is sampled: whoever samples by its parent would never see it
    /// otherwise.
    pub fn of(headers: &HeaderMap, fresh: impl Fn() -> Uuid) -> Self {
        let span = last_eight(fresh());
        match single(headers, &TRACEPARENT).and_then(parse) {
            Some((trace, parent, flags)) => {
                Self { trace, parent: Some(parent), span, flags: flags & KNOWN_FLAGS }
            }
            None => Self { trace: fresh().into_bytes(), parent: None, span, flags: SAMPLED },
        }
    }

    /// The field to send on.
    fn traceparent(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        // Every request pays for this, so it is written in its place.
        let parts: [(usize, &[u8]); 3] = [(3, &self.trace), (36, &self.span), (53, &[self.flags])];
        for (at, part) in parts {
            let place = text.get_mut(at..at + 2 * part.len());
            // The places are as long as what they are for.
            let _ = place.map(|place| hex::encode_to_slice(part, place));
        }
        text
    }

    /// The trace in hexadecimal.
    pub fn trace_id(&self) -> String {
        // As long as a UUID, whose digits are written faster than others.
        Uuid::from_bytes(self.trace).simple().encode_lower(&mut Uuid::encode_buffer()).to_owned()
    }

    /// The gateway's span in hexadecimal.
    pub fn span_id(&self) -> String {
        hex::encode(self.span)
    }

    /// Writes `traceparent`; `tracestate` stays only if the trace was continued, since it means
    /// nothing beside another trace.
    pub fn apply(&self, head: &mut impl Fields) {
        if let Ok(value) = HeaderValue::from_bytes(&self.traceparent()) {
            head.put(&TRACEPARENT, value);
        }
        if self.parent.is_none() {
            head.remove(&TRACESTATE);
        }
    }
}

/// Trace, span and flags of a `traceparent`. Versions after 00 may say more behind another
/// hyphen; version ff is none.
fn parse(text: &str) -> Option<([u8; 16], [u8; 8], u8)> {
    let mut parts = text.split('-');
    let [version] = unhex::<1>(parts.next()?)?;
    let trace = unhex::<16>(parts.next()?)?;
    let span = unhex::<8>(parts.next()?)?;
    let [flags] = unhex::<1>(parts.next()?)?;
    let says_more = parts.next().is_some();
    let valid = match version {
        0 => !says_more,
        0xff => false,
        _ => true,
    };
    (valid && trace != [0; 16] && span != [0; 8]).then_some((trace, span, flags))
}

/// Exactly `N` bytes in lower-case hexadecimal, the only case that the format has.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn last_eight(id: Uuid) -> [u8; 8] {
    let [.., a, b, c, d, e, f, g, h] = *id.as_bytes();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALLERS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(headers: &[(HeaderName, &str)]) -> (TraceContext, HeaderMap) {
        let mut head: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect();
        let context = TraceContext::of(&head, Uuid::new_v4);
        context.apply(&mut head);
        (context, head)
    }

    #[test]
    fn a_valid_trace_is_continued_with_a_span_of_the_gateways_own() {
        let (context, head) = context(&[(TRACEPARENT, CALLERS), (TRACESTATE, "vendor=1")]);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent.map(hex::encode).unwrap(), "00f067aa0ba902b7");
        assert_ne!(context.span_id(), "00f067aa0ba902b7");
        let sent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", context.span_id());
        assert_eq!(head[TRACEPARENT], sent.as_str());
        assert_eq!(head[TRACESTATE], "vendor=1");
    }

    #[test]
    fn a_later_version_may_say_more_and_unknown_flags_do_not_pass() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what-more";
        let (context, head) = context(&[(TRACEPARENT, later)]);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(head[TRACEPARENT].to_str().unwrap().starts_with("00-"));
        assert!(head[TRACEPARENT].to_str().unwrap().ends_with("-03"));
    }

    #[test]
    fn anything_else_begins_a_new_trace_and_drops_the_state() {
        let twice: &[(HeaderName, &str)] = &[(TRACEPARENT, CALLERS), (TRACEPARENT, CALLERS)];
        let bad = [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ];
        let single = bad.iter().map(|text| vec![(TRACEPARENT, *text)]);
        for mut headers in single.chain([twice.to_vec()]) {
            headers.push((TRACESTATE, "vendor=1"));
            let (context, head) = context(&headers);
            assert_ne!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736", "{headers:?}");
            assert_eq!(context.parent, None);
            assert_eq!(head.get_all(TRACEPARENT).iter().count(), 1);
            assert!(!head.contains_key(TRACESTATE));
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_can_always_be_continued(text in "[0-9a-f-]{0,60}|\\PC*") {
            let (first, head) = context(&[(TRACEPARENT, &text)]);
            let second = TraceContext::of(&head, Uuid::new_v4);
            prop_assert_eq!(second.trace, first.trace);
            prop_assert_eq!(second.parent, Some(first.span));
        }
    }
}
