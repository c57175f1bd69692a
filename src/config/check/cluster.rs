use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;

use super::values::{self, Place};
use super::{Bounds, Check, address, files, health};
use crate::config::model::{
    BackendProtocol, BackendTls, Balance, Cluster, Deadlines, Ejection, Endpoint, Retries,
    RetryCause, Secret,
};
use crate::config::raw;
use crate::config::spot::Spot;

pub(super) fn cluster(
    name: &Arc<str>,
    raw: &raw::Cluster,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<Cluster> {
    let endpoints = endpoints(&raw.endpoints, &at.key("endpoints"), check);
    let balance = balance(&raw.balance, &at.key("balance"), check);
    let tls = raw.tls.as_ref().map(|raw| tls(raw, &at.key("tls"), &endpoints, check));
    let health = raw.health.as_ref().and_then(|raw| health::check(raw, &at.key("health"), check));
    let ejection = raw.ejection.as_ref().map(|raw| Ejection {
        consecutive_failures: raw.consecutive_failures,
        period: check.duration(&at.key("ejection").key("period"), raw.period, Bounds::Timeout),
        max_percent: raw.max_percent,
    });
    let protocol = match raw.protocol {
        raw::BackendProtocol::Http1 => BackendProtocol::Http1,
        raw::BackendProtocol::Http2 => BackendProtocol::Http2,
    };
    Some(Cluster {
        name: name.clone(),
        endpoints,
        balance: balance?,
        protocol,
        tls,
        health,
        ejection,
        deadlines: deadlines(&raw.deadlines, &at.key("deadlines"), check),
        retries: raw.retries.as_ref().map(|raw| retries(raw, &at.key("retries"), check)),
    })
}

fn endpoints(raw: &[raw::Endpoint], at: &Spot<'_>, check: &mut Check<'_>) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(raw.len());
    for (position, raw) in raw.iter().enumerate() {
        let place = at.item(position);
        let (text, weight, place) = match raw {
            raw::Endpoint::Address(text) => (text, 1, place),
            raw::Endpoint::Weighted(rules) => (&rules.address, rules.weight, place.key("address")),
        };
        let Some((host, port)) = address::endpoint(text, &place, check) else { continue };
        if endpoints.iter().any(|other| other.host == host && other.port == port) {
            check
                .error(&place, format!("{} is here twice", place.quoted()))
                .hint("a `weight` gives one endpoint more requests than another");
        }
        endpoints.push(Endpoint { host, port, weight });
    }
    endpoints
}

fn balance(raw: &raw::Balance, at: &Spot<'_>, check: &mut Check<'_>) -> Option<Balance> {
    Some(match raw {
        raw::Balance::RoundRobin => Balance::RoundRobin,
        raw::Balance::LeastRequests => Balance::LeastRequests,
        raw::Balance::ConsistentHash(text) => {
            let place = at.key("consistent_hash");
            let source = values::source(text, &place, check)?;
            if let Some(why) = Place::Cluster.lacks(&source) {
                check.error(&place, why);
            }
            Balance::ConsistentHash(source)
        }
    })
}

fn tls(
    raw: &raw::BackendTls,
    at: &Spot<'_>,
    endpoints: &[Endpoint],
    check: &mut Check<'_>,
) -> BackendTls {
    if raw.server_name.is_none() {
        names_to_verify(endpoints, at, check);
    }
    if let Some(name) = raw.server_name.as_deref().filter(|name| !address::is_host_name(name)) {
        let place = at.key("server_name");
        let problem = check.error(&place, format!("{} is not a host name", place.quoted()));
        if name.contains(':') {
            problem.hint("write it without a port");
        }
    }
    let authorities = raw
        .authorities
        .as_ref()
        .and_then(|text| files::authorities(text, &at.key("authorities"), check));
    let client = files::optional_pair(raw.certificate.as_deref(), raw.key.as_deref(), at, check)
        .map(|pair| (pair.chain_pem, Secret::new(pair.key_pem)));
    BackendTls {
        server_name: raw.server_name.as_deref().map(Arc::from),
        authorities: authorities.map(|(_, pem)| pem),
        client,
    }
}

/// Backends are verified by name only, never by an address in their certificate: with neither a
/// host name nor a `server_name` no handshake could succeed.
fn names_to_verify(endpoints: &[Endpoint], at: &Spot<'_>, check: &mut Check<'_>) {
    let mut hosts = endpoints.iter().map(|endpoint| &endpoint.host);
    if let Some(address) = hosts.find(|host| host.parse::<IpAddr>().is_ok()) {
        check
            .error_on_key(
                at,
                format!("the endpoint `{address}` has no name that its certificate could prove"),
            )
            .hint("add `server_name:` with the host name that stands in the certificate");
    }
}

fn deadlines(raw: &raw::Deadlines, at: &Spot<'_>, check: &mut Check<'_>) -> Deadlines {
    let mut deadline = |key: &str, value| check.duration(&at.key(key), value, Bounds::Timeout);
    let made = Deadlines {
        connect: deadline("connect", raw.connect),
        first_byte: deadline("first_byte", raw.first_byte),
        idle: deadline("idle", raw.idle),
        total: deadline("total", raw.total),
    };
    // A default that is longer than a total that was written does no harm: the total ends it.
    for (key, value) in [("connect", made.connect), ("first_byte", made.first_byte)] {
        let place = at.key(key);
        if value > made.total && place.is_written() {
            let (long, total) = (raw::Duration(value), raw.total);
            check.error(
                &place,
                format!("{long} is longer than the whole call may take (`total`: {total})"),
            );
        }
    }
    made
}

fn retries(raw: &raw::Retries, at: &Spot<'_>, check: &mut Check<'_>) -> Retries {
    let place = at.key("on");
    let mut on = Vec::with_capacity(raw.on.len());
    for (position, raw) in raw.on.iter().enumerate() {
        let cause = match raw {
            raw::RetryCause::Word(raw::RetryWord::Connect) => RetryCause::Connect,
            raw::RetryCause::Word(raw::RetryWord::Reset) => RetryCause::Reset,
            raw::RetryCause::Word(raw::RetryWord::Timeout) => RetryCause::Timeout,
            raw::RetryCause::Status(code) => match StatusCode::from_u16(*code) {
                Ok(status) => RetryCause::Status(status),
                Err(_) => continue,
            },
        };
        if on.contains(&cause) {
            let place = place.item(position);
            check.error(&place, format!("{} is here twice", place.quoted()));
        }
        on.push(cause);
    }
    Retries { attempts: raw.attempts, budget_percent: raw.budget_percent, on }
}
