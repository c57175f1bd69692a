use std::net::SocketAddr;
use std::sync::Arc;

use super::{Bounds, Check, address, files};
use crate::config::model::{
    CertificateFiles, ClientCertificates, Listener, ListenerLimits, ListenerTls, TlsVersion,
};
use crate::config::raw;
use crate::config::spot::Spot;

pub(super) fn listeners(
    raw: &[raw::Listener],
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Vec<Arc<Listener>> {
    let mut listeners: Vec<Arc<Listener>> = Vec::with_capacity(raw.len());
    for (position, raw) in raw.iter().enumerate() {
        let place = at.item(position);
        let Some(made) = listener(raw, &place, check) else { continue };
        if let Some(other) = listeners.iter().find(|other| collide(other.address, made.address)) {
            let other = other.address;
            let place = place.key("address");
            check.error(&place, format!("another port listens on {other} already"));
        }
        listeners.push(Arc::new(made));
    }
    listeners
}

/// Whether two addresses can't be listened on at once.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    // Port 0 takes any that is free.
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn listener(raw: &raw::Listener, at: &Spot<'_>, check: &mut Check<'_>) -> Option<Listener> {
    let address = address::socket(&raw.address, &at.key("address"), check);
    let tls = raw.tls.as_ref().map(|raw| tls(raw, &at.key("tls"), check));
    let limits = limits(&raw.limits, &at.key("limits"), check);
    Some(Listener { address: address?, http2: raw.http2, tls, limits })
}

fn tls(raw: &raw::ListenerTls, at: &Spot<'_>, check: &mut Check<'_>) -> ListenerTls {
    let place = at.key("certificates");
    let certificates = raw
        .certificates
        .iter()
        .enumerate()
        .filter_map(|(position, raw)| certificate(raw, &place.item(position), check))
        .collect();
    let client_certificates = match &raw.client_certificates {
        None => ClientCertificates::None,
        Some(raw) => client_certificates(raw, &at.key("client_certificates"), check),
    };
    let min_version = match raw.min_version {
        raw::TlsVersion::V12 => TlsVersion::Tls12,
        raw::TlsVersion::V13 => TlsVersion::Tls13,
    };
    let session_tickets = raw.session_tickets;
    ListenerTls { certificates, min_version, session_tickets, client_certificates }
}

fn certificate(
    raw: &raw::Certificate,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<CertificateFiles> {
    let (at_certificate, at_key) = (at.key("certificate"), at.key("key"));
    let pair = files::pair((&raw.certificate, &at_certificate), (&raw.key, &at_key), check)?;
    Some(CertificateFiles { certificate: pair.certificate, key: pair.key })
}

fn client_certificates(
    raw: &raw::ClientCertificates,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> ClientCertificates {
    match files::authorities(&raw.authorities, &at.key("authorities"), check) {
        None => ClientCertificates::None,
        Some((authorities, _)) if raw.required => ClientCertificates::Required { authorities },
        Some((authorities, _)) => ClientCertificates::Optional { authorities },
    }
}

fn limits(raw: &raw::Limits, at: &Spot<'_>, check: &mut Check<'_>) -> ListenerLimits {
    let mut timeout = |key: &str, value| check.duration(&at.key(key), value, Bounds::Timeout);
    let header_timeout = timeout("header_timeout", raw.header_timeout);
    let body_timeout = timeout("body_timeout", raw.body_timeout);
    let idle_timeout = timeout("idle_timeout", raw.idle_timeout);
    let mut bytes = |key: &str, value| check.size(&at.key(key), value, 256, 1 << 20);
    let max_header_bytes = bytes("max_header_bytes", raw.max_header_bytes);
    let max_uri_bytes = bytes("max_uri_bytes", raw.max_uri_bytes);
    ListenerLimits {
        max_connections: as_usize(raw.max_connections.into()),
        max_connections_per_address: as_usize(raw.max_connections_per_address.into()),
        header_timeout,
        body_timeout,
        idle_timeout,
        max_header_bytes: as_usize(max_header_bytes),
        max_headers: as_usize(raw.max_headers.into()),
        max_uri_bytes: as_usize(max_uri_bytes),
    }
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
