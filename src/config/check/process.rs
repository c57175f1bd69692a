use std::sync::Arc;

use super::listener::collide;
use super::{Bounds, Check, address, files};
use crate::config::model::{AccessLog, Admin, CacheSettings, Listener, Observe, Secret, State};
use crate::config::nearest::suggestion;
use crate::config::raw;
use crate::config::spot::Spot;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

pub(super) fn admin(
    raw: Option<&raw::Admin>,
    at: &Spot<'_>,
    listeners: &[Arc<Listener>],
    check: &mut Check<'_>,
) -> Option<Arc<Admin>> {
    let raw = raw?;
    let place = at.key("address");
    let address = address::socket(&raw.address, &place, check)?;
    if listeners.iter().any(|listener| collide(listener.address, address)) {
        check.error(&place, "a port of `listen` has this address already");
    }
    if raw.token.is_none() && !address.ip().is_loopback() {
        check
            .error(
                &place,
                format!("{} can be reached from elsewhere, but there is no token", place.quoted()),
            )
            .hint("add `token: ${env:TOLLGATE_ADMIN_TOKEN}`, or use 127.0.0.1");
    }
    if let Some(token) = &raw.token {
        check_token(token, &at.key("token"), check);
    }
    Some(Arc::new(Admin { address, token: raw.token.as_deref().map(Secret::new) }))
}

/// RFC 6750 section 2.1: what can stand in an Authorization header as a bearer token.
fn check_token(token: &str, at: &Spot<'_>, check: &mut Check<'_>) {
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        check.error(at, "the token has characters that can't stand in a header");
    }
}

pub(super) fn state(
    raw: Option<&raw::State>,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<State> {
    let raw = raw?;
    let place = at.key("directory");
    let directory = files::path(&raw.directory, &place, check);
    if directory.is_file() {
        check.error(&place, format!("{} is a file, not a folder", place.quoted()));
    }
    Some(State {
        directory,
        account_key: raw.account_key.as_deref().map(Secret::new),
        partitions: raw.partitions,
    })
}

pub(super) fn cache(raw: &raw::Cache, at: &Spot<'_>, check: &mut Check<'_>) -> CacheSettings {
    const MIB: u64 = 1 << 20;
    let memory = check.size(&at.key("memory"), raw.memory, MIB, 1 << 50);
    let disk = check.size(&at.key("disk"), raw.disk, 16 * MIB, 1 << 50);
    let max_entry = check.size(&at.key("max_entry"), raw.max_entry, 1024, 256 * MIB);
    if max_entry > memory.min(disk) {
        let key = if at.key("max_entry").is_written() { "max_entry" } else { "memory" };
        let (largest, place) = (raw.max_entry, at.key(key));
        check.error(&place, format!("an answer of `max_entry` ({largest}) would not fit in"));
    }
    let sealing_keys = raw.sealing_keys.iter().map(|key| Secret::new(key.as_str())).collect();
    CacheSettings { memory, disk, max_entry, sealing_keys }
}

pub(super) fn observe(raw: &raw::Observe, at: &Spot<'_>, check: &mut Check<'_>) -> Observe {
    check_log_filter(&raw.log, &at.key("log"), check);
    let access_log = match &raw.access_log {
        raw::AccessLog::Stdout => AccessLog::Stdout,
        raw::AccessLog::Off => AccessLog::Off,
        raw::AccessLog::File(path) => {
            access_log_file(path, &at.key("access_log").key("file"), check)
        }
    };
    Observe {
        log: raw.log.clone(),
        access_log,
        drain_wait: check.duration(&at.key("drain_wait"), raw.drain_wait, Bounds::TimeoutOrNone),
        drain_timeout: check.duration(
            &at.key("drain_timeout"),
            raw.drain_timeout,
            Bounds::TimeoutOrNone,
        ),
    }
}

fn access_log_file(path: &str, at: &Spot<'_>, check: &mut Check<'_>) -> AccessLog {
    let path = files::path(path, at, check);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) {
        check.error(at, format!("there is no folder for {}", at.quoted()));
    } else if path.is_dir() {
        check.error(at, format!("{} is a folder", at.quoted()));
    }
    AccessLog::File(path)
}

/// The filter's own parser takes a misspelt level for the name of a module.
fn check_log_filter(text: &str, at: &Spot<'_>, check: &mut Check<'_>) {
    for directive in text.split(',').map(str::trim) {
        let level = directive.rsplit('=').next().unwrap_or_default().to_ascii_lowercase();
        if !LEVELS.contains(&level.as_str()) {
            let problem = check.error(at, format!("`{level}` is not a log level"));
            if let Some(hint) = suggestion(&level, LEVELS) {
                problem.hint(hint);
            }
            return;
        }
    }
    if tracing_subscriber::EnvFilter::try_new(text).is_err() {
        check
            .error(at, format!("{} is not a log filter", at.quoted()))
            .hint("write it as in `info` or `info,tollgate=debug`");
    }
}
