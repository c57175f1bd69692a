use std::net::IpAddr;

use http::header::{FORWARDED, HeaderName, HeaderValue};

use super::Fields;
use super::fields::{list, single};
use super::hops::remove_where;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Other fields that say where a request came from; believed from trusted proxies only.
static CLAIMS_OF_ORIGIN: [HeaderName; 6] = [
    FORWARDED,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-client-ip"),
];

/// What the gateway itself knows of the last hop of a request.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// Address of the connection's other end.
    pub peer: IpAddr,
    /// Whether that is a trusted proxy, whose word about earlier hops counts.
    pub trusted: bool,
    /// Whether the connection had TLS.
    pub https: bool,
    /// Host that the request named.
    pub host: &'a str,
}

/// Says to the backend where the request came from: `X-Forwarded-For`, `-Proto` and `-Host`.
///
/// Behind a trusted proxy the peer is appended to the addresses, and its `-Proto` and `-Host`
/// stay. Else the fields are written anew, and other claims of origin (`Forwarded`, `X-Real-IP`
/// and the like) go: they are the client's invention.
pub fn forward(head: &mut impl Fields, hop: &Hop<'_>) {
    if !hop.trusted {
        remove_where(head, |name| CLAIMS_OF_ORIGIN.contains(name));
    }
    let addresses = match hop.trusted {
        true => addresses_so_far(head, hop.peer),
        false => text_of(hop.peer),
    };
    put_text(head, &X_FORWARDED_FOR, &addresses);
    let protocol = if hop.https { "https" } else { "http" };
    if !(hop.trusted && says_protocol(head)) {
        put_text(head, &X_FORWARDED_PROTO, protocol);
    }
    if !(hop.trusted && single(head.fields(), &X_FORWARDED_HOST).is_some()) {
        put_text(head, &X_FORWARDED_HOST, hop.host);
    }
}

fn addresses_so_far(head: &impl Fields, peer: IpAddr) -> String {
    let mut addresses: Vec<String> = list(head.fields(), &X_FORWARDED_FOR)
        .map(|address| String::from_utf8_lossy(address).into_owned())
        .collect();
    addresses.push(text_of(peer));
    addresses.join(", ")
}

/// As `Display` has it; every request pays for this, and most come over IPv4.
fn text_of(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    let mut text = String::with_capacity(15);
    for (nth, octet) in address.octets().into_iter().enumerate() {
        if nth > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

fn says_protocol(head: &impl Fields) -> bool {
    matches!(single(head.fields(), &X_FORWARDED_PROTO), Some("http" | "https"))
}

fn put_text(head: &mut impl Fields, name: &HeaderName, text: &str) {
    match HeaderValue::from_str(text) {
        Ok(value) => head.put(name, value),
        Err(_) => head.remove(name),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn forwarded(trusted: bool, fields: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut head: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let peer = "198.51.100.7".parse().unwrap();
        forward(&mut head, &Hop { peer, trusted, https: true, host: "bank.example" });
        let mut fields: Vec<_> = head
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        fields.sort();
        fields
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn what_an_unknown_client_says_of_its_origin_is_replaced() {
        let fields = forwarded(
            false,
            &[
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "evil.example"),
                ("forwarded", "for=10.0.0.1"),
                ("x-real-ip", "10.0.0.1"),
            ],
        );
        let expected = pairs(&[
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-host", "bank.example"),
            ("x-forwarded-proto", "https"),
        ]);
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_trusted_proxy_is_appended_and_its_word_stays() {
        let fields = forwarded(
            true,
            &[
                ("x-forwarded-for", "203.0.113.9,10.1.1.1"),
                ("x-forwarded-for", "10.2.2.2"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "www.bank.example"),
            ],
        );
        let expected = pairs(&[
            ("x-forwarded-for", "203.0.113.9, 10.1.1.1, 10.2.2.2, 198.51.100.7"),
            ("x-forwarded-host", "www.bank.example"),
            ("x-forwarded-proto", "http"),
        ]);
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_trusted_proxy_that_says_nothing_or_nonsense_is_completed() {
        let fields = forwarded(true, &[("x-forwarded-proto", "gopher")]);
        assert!(fields.contains(&("x-forwarded-proto".into(), "https".into())));
        assert!(fields.contains(&("x-forwarded-for".into(), "198.51.100.7".into())));
        assert!(fields.contains(&("x-forwarded-host".into(), "bank.example".into())));
    }
}
