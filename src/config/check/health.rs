use std::sync::Arc;

use http::StatusCode;
use http::uri::PathAndQuery;

use super::{Bounds, Check, address};
use crate::config::model::{HealthCheck, HealthProbe};
use crate::config::raw;
use crate::config::spot::Spot;

pub(super) fn check(
    raw: &raw::HealthCheck,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<HealthCheck> {
    let probe = probe(raw, at, check);
    let interval = check.duration(&at.key("interval"), raw.interval, Bounds::Timeout);
    let timeout = check.duration(&at.key("timeout"), raw.timeout, Bounds::Timeout);
    if timeout > interval {
        let key = if at.key("timeout").is_written() { "timeout" } else { "interval" };
        let (timeout, interval) = (raw.timeout, raw.interval);
        check.error(
            &at.key(key),
            format!("a check may take longer ({timeout}) than the time between two ({interval})"),
        );
    }
    Some(HealthCheck {
        probe: probe?,
        interval,
        timeout,
        healthy_after: raw.healthy_after,
        unhealthy_after: raw.unhealthy_after,
    })
}

fn probe(raw: &raw::HealthCheck, at: &Spot<'_>, check: &mut Check<'_>) -> Option<HealthProbe> {
    match (&raw.path, raw.tcp) {
        (Some(path), false) => http_probe(path, raw, at, check),
        (None, true) => {
            for key in ["host", "expect"].map(|key| at.key(key)) {
                if key.is_written() {
                    check.error_on_key(&key, "this has a meaning only with `path`");
                }
            }
            Some(HealthProbe::Tcp)
        }
        (None, false) => {
            check
                .error_on_key(at, "the check has nothing to ask")
                .hint("add `path: /healthz`, or `tcp: true` for a connection only");
            None
        }
        (Some(_), true) => {
            check.error_on_key(&at.key("tcp"), "either `path` or `tcp`, not both");
            None
        }
    }
}

fn http_probe(
    path: &str,
    raw: &raw::HealthCheck,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<HealthProbe> {
    let place = at.key("path");
    if !path.starts_with('/') || path.parse::<PathAndQuery>().is_err() {
        check.error(&place, format!("{} is not a path", place.quoted())).hint("as in `/healthz`");
        return None;
    }
    if let Some(host) = &raw.host {
        let place = at.key("host");
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        if !address::is_host_name(name) {
            check.error(&place, format!("{} is not a host", place.quoted()));
        }
    }
    let expect = raw.expect.iter().filter_map(|code| StatusCode::from_u16(*code).ok()).collect();
    let host = raw.host.as_deref().map(Arc::from);
    Some(HealthProbe::Http { path: path.into(), host, expect })
}
