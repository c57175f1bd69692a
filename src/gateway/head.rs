//! Reads a request's head once, into the one form that all stages use.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;
use pingora_proxy::Session;
use uuid::Uuid;

use super::context::{Arrival, Context};
use crate::account::Passport;
use crate::listener::Connection;
use crate::request::{Refusal, RequestHead};
use crate::transform::TraceContext;
use crate::{guard, route, transform};

/// Normalises and checks the head; drops what outsiders must not send.
pub(super) fn read(session: &mut Session, context: &mut Context) -> Result<(), Refusal> {
    let Some(connection) = session.digest().and_then(Connection::of) else {
        return Err(Refusal::Internal);
    };
    let limits = connection.listener.limits.clone();
    let (thumbprint, https) = (connection.certificate_thumbprint, connection.is_https());
    let header = session.req_header();
    context.peer = peer_address(session);
    // Identifiers come first, so that a refusal of the rest has them too.
    context.head.request_id = transform::request_id(&header.headers, Uuid::now_v7);
    context.head.method = header.method.clone();
    context.head.address = context.peer;
    context.head.https = https;
    context.head.certificate_thumbprint = thumbprint;
    context.trace = Some(TraceContext::of(&header.headers, Uuid::new_v4));
    context.interaction_id = transform::interaction_id(&header.headers, Uuid::new_v4);
    if context.arrival == Arrival::Fleet {
        show_passport(&header.headers, context)?;
    }
    guard::check_head(header, header.raw_path(), &limits)?;
    transform::strip_nominated(session.req_header_mut());
    if session.is_http2() {
        transform::join_cookies(session.req_header_mut());
    }
    let header = session.req_header();
    let trusted = &context.snapshot.config.trusted_proxies;
    let address = client_address(trusted, context.peer, &header.headers);
    let host = guard::host_of(&header.headers, &header.uri)?;
    let path =
        route::normalize(raw_path(header.raw_path(), &header.uri)?).map_err(Refusal::BadPath)?;
    let query = header.uri.query().map(str::to_owned);
    context.head = RequestHead { host, path, query, address, ..std::mem::take(&mut context.head) };
    transform::strip_internal(session.req_header_mut());
    Ok(())
}

/// Takes over what the gateway of arrival saw of the client.
fn show_passport(headers: &HeaderMap, context: &mut Context) -> Result<(), Refusal> {
    let passport = Passport::read(headers).map_err(|error| {
        tracing::warn!(%error, "a request on the fleet's port is refused");
        Refusal::BadRequest("it came to the fleet's port without a passport that can be read")
    })?;
    context.peer = passport.peer;
    context.head.address = passport.peer;
    context.head.https = passport.https;
    context.head.certificate_thumbprint = passport.certificate_thumbprint;
    context.passport = Some(passport);
    Ok(())
}

/// The path as it came, without the query. An absolute target (RFC 9112 section 3.2.2) has its
/// authority in `uri` and its path behind it.
fn raw_path<'a>(raw: &'a [u8], uri: &'a http::Uri) -> Result<&'a str, Refusal> {
    if !raw.starts_with(b"/") {
        return Ok(uri.path());
    }
    let text = std::str::from_utf8(raw)
        .map_err(|_| Refusal::BadPath(crate::request::PathError::NotUtf8))?;
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    Ok(path.split_once('#').map_or(path, |(path, _)| path))
}

/// Address of the connection's other end.
pub(super) fn peer_address(session: &Session) -> IpAddr {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip().to_canonical())
}

/// The address that counts: the peer's, or the one that trusted proxies name. `X-Forwarded-For`
/// is read from its end, as each proxy appends; the first address that isn't a trusted proxy is
/// the client.
fn client_address(trusted: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !is_trusted(trusted, &peer) {
        return peer;
    }
    let named: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let mut client = peer;
    for text in named.iter().rev() {
        let Ok(address) = text.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
        if !is_trusted(trusted, &client) {
            break;
        }
    }
    client
}

/// Whether an address is one of the proxies whose word counts.
pub(super) fn is_trusted(proxies: &[IpNet], address: &IpAddr) -> bool {
    proxies.iter().any(|network| network.contains(address))
}
