use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::Uri;
use ipnet::IpNet;

use super::Check;
use crate::config::spot::Spot;

/// Reads networks in CIDR form; an address alone is a network of one.
pub(super) fn networks(texts: &[String], at: &Spot<'_>, check: &mut Check<'_>) -> Vec<IpNet> {
    let mut networks = Vec::with_capacity(texts.len());
    for (position, text) in texts.iter().enumerate() {
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            // Bits behind the prefix are a slip: was a host meant, or a network?
            Ok(network) if network.addr() != network.network() => {
                let place = at.item(position);
                let message = format!("{} has bits behind its prefix", place.quoted());
                let (meant, one) = (network.trunc(), network.addr());
                check
                    .error(&place, message)
                    .hint(format!("write `{meant}`, or `{one}` for one address"));
            }
            Ok(network) => networks.push(network),
            Err(_) => {
                let place = at.item(position);
                let message = format!("{} is not a network", place.quoted());
                check.error(&place, message).hint("write it as in `10.0.0.0/8` or `2001:db8::/32`");
            }
        }
    }
    networks
}

/// Reads an address to listen on.
pub(super) fn socket(text: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
    let hint = match port {
        Some(port) if text.starts_with("localhost:") => format!("write `127.0.0.1:{port}`"),
        Some(port) => format!("write an IP address and a port, as in `0.0.0.0:{port}`"),
        None => "write an IP address and a port, as in `0.0.0.0:8080`".into(),
    };
    check.error(at, format!("{} is not an address and port", at.quoted())).hint(hint);
    None
}

/// What is wrong with a host and port.
enum Flaw {
    NoPort,
    BadPort,
    BadHost,
}

/// Takes host and port apart; an IPv6 address loses its brackets.
fn split(text: &str) -> Result<(&str, u16), Flaw> {
    let (host, port) = text.rsplit_once(':').ok_or(Flaw::NoPort)?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or(Flaw::BadPort)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(bare) if bare.parse::<Ipv6Addr>().is_ok() => Ok((bare, port)),
        None if is_host_name(host) => Ok((host, port)),
        Some(_) | None => Err(Flaw::BadHost),
    }
}

fn flawed(flaw: &Flaw, at: &Spot<'_>) -> String {
    let what = match flaw {
        Flaw::NoPort => "is not a host and port",
        Flaw::BadPort => "has no port from 1 to 65535",
        Flaw::BadHost => "has no host name or IP address",
    };
    format!("{} {what}", at.quoted())
}

const BRACKETS: &str = "an IPv6 address needs brackets: `[fd00::1]:8080`";

/// Reads host and port of a backend.
pub(super) fn endpoint(
    text: &str,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<(Arc<str>, u16)> {
    let flaw = match split(text) {
        Ok((host, port)) => return Some((host.into(), port)),
        Err(flaw) => flaw,
    };
    let hint = match flaw {
        Flaw::BadPort => "write it as in `10.0.1.1:8080`; paths belong into `rewrite`",
        Flaw::NoPort | Flaw::BadHost if text.contains("://") => {
            "write only host and port; `tls:` makes it https"
        }
        Flaw::NoPort => "write it as in `10.0.1.1:8080` or `checking.bank.internal:8443`",
        Flaw::BadHost => BRACKETS,
    };
    check.error(at, flawed(&flaw, at)).hint(hint);
    None
}

/// Reads host and port of a broker or of another gateway; `example` is how it should look.
pub(super) fn peer<'t>(
    text: &'t str,
    example: &str,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<(&'t str, u16)> {
    let flaw = match split(text) {
        Ok(found) => return Some(found),
        Err(flaw) => flaw,
    };
    let hint = match flaw {
        Flaw::BadHost if !text.contains("://") => BRACKETS.to_owned(),
        Flaw::NoPort | Flaw::BadPort | Flaw::BadHost => {
            format!("write only host and port, as in `{example}`")
        }
    };
    check.error(at, flawed(&flaw, at)).hint(hint);
    None
}

/// Whether a text is a host name (RFC 1123 section 2.1; underscores as in container networks).
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (1..=253).contains(&text.len()) && text.split('.').all(label)
}

/// A URL from which keys are fetched: https, or http on this machine.
pub(super) fn key_url(text: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<Arc<str>> {
    let uri = text.parse::<Uri>().ok();
    let parts = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
    let Some((scheme, authority)) = parts else {
        check
            .error(at, format!("{} is not a URL", at.quoted()))
            .hint("write it as in `https://idp.bank.example/jwks.json`");
        return None;
    };
    if authority.as_str().contains('@') {
        check.error(at, "this URL has a user or password in it: it would be shown in logs");
        return None;
    }
    match scheme {
        "https" => Some(text.into()),
        "http" if is_loopback(authority.host()) => Some(text.into()),
        "http" => {
            check
                .error(
                    at,
                    format!(
                        "{} is not encrypted: anybody on the way could put in keys",
                        at.quoted()
                    ),
                )
                .hint(
                    "use https; http is allowed only to this machine (127.0.0.1, [::1], localhost)",
                );
            None
        }
        _ => {
            check.error(at, format!("{} is neither https nor http", at.quoted()));
            None
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
