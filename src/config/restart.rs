use std::net::SocketAddr;
use std::sync::Arc;

use super::model::{Config, Listener, ListenerTls, Observe};

/// What of a new configuration can't be taken over by a running process, each with its reason.
/// Empty: it can be swapped in.
///
/// Sockets and the parts of TLS that belong to them are made once, and so are the journal and the
/// logs. All else is read anew: routes, clusters, identity, rules, bounds of the cache and of
/// listeners, certificates.
pub fn restart_needed(old: &Config, new: &Config) -> Vec<String> {
    let mut reasons = listeners(&old.listeners, &new.listeners);
    let mut differs = |differs: bool, what: &str, why: &str| {
        if differs {
            reasons.push(format!("{what} changed: {why}"));
        }
    };
    let address = |config: &Config| config.admin.as_ref().map(|admin| admin.address);
    differs(address(old) != address(new), "admin.address", "its socket is opened at start");
    let (from, to) = (&old.state, &new.state);
    differs(from.directory != to.directory, "state.directory", "it is opened at start");
    differs(from.partitions != to.partitions, "state.partitions", "they are fixed while in use");
    differs(from.account_key != to.account_key, "state.account_key", "all counts hang on it");
    let sealing = (&old.cache.sealing_keys, &new.cache.sealing_keys);
    differs(sealing.0 != sealing.1, "cache.sealing_keys", "they are read at start");
    let log = |observe: &Observe| observe.log.clone();
    differs(log(&old.observe) != log(&new.observe), "observe.log", "it is set at start");
    differs(
        old.observe.access_log != new.observe.access_log,
        "observe.access_log",
        "it is opened at start",
    );
    reasons
}

fn listeners(old: &[Arc<Listener>], new: &[Arc<Listener>]) -> Vec<String> {
    let mut reasons = Vec::new();
    for gone in old.iter().filter(|listener| find(new, listener.address).is_none()) {
        reasons.push(format!("the port {} is gone: sockets are opened at start", gone.address));
    }
    for listener in new {
        let address = listener.address;
        match find(old, address) {
            None => reasons.push(format!("the port {address} is new: sockets are opened at start")),
            Some(before) if protocol(before) != protocol(listener) => reasons.push(format!(
                "http2 or tls of the port {address} changed: they are set when it is opened"
            )),
            Some(_) => {}
        }
    }
    reasons
}

fn find(listeners: &[Arc<Listener>], address: SocketAddr) -> Option<&Listener> {
    listeners.iter().map(|listener| &**listener).find(|listener| listener.address == address)
}

/// What of a listener is set when its socket is opened: all but limits and certificates, of which
/// it only matters whether there are any.
fn protocol(listener: &Listener) -> (bool, Option<ListenerTls>) {
    let tls = listener.tls.clone();
    (listener.http2, tls.map(|tls| ListenerTls { certificates: Vec::new(), ..tls }))
}
