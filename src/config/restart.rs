use std::net::SocketAddr;
use std::sync::Arc;

use super::model::{Config, Listener};

/// What of a new configuration can't be taken over by a running process, each with its reason.
/// Empty: it can be swapped in.
///
/// Sockets are opened once, and so are the journal and the logs. All else is read anew: TLS and
/// limits of ports, certificates of the fleet, the admin token, routes, clusters, identity, rules,
/// bounds and keys of the cache.
pub fn restart_needed(old: &Config, new: &Config) -> Vec<String> {
    let mut reasons = ports(&old.listeners, &new.listeners);
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
    differs(old.kafka != new.kafka, "kafka", "its clients are made at start");
    let listen = |config: &Config| config.fleet.as_ref().map(|fleet| fleet.listen);
    differs(listen(old) != listen(new), "fleet.listen", "its socket is opened at start");
    let name = |config: &Config| config.fleet.as_ref().map(|fleet| fleet.advertise.clone());
    differs(name(old) != name(new), "fleet.advertise", "the journal knows this gateway by it");
    let (before, after) = (&old.observe, &new.observe);
    differs(before.log != after.log, "observe.log", "it is set at start");
    differs(before.access_log != after.access_log, "observe.access_log", "it is opened at start");
    reasons
}

/// Addresses that are gone or new. Equal ones (port 0, which takes any) count one by one.
fn ports(old: &[Arc<Listener>], new: &[Arc<Listener>]) -> Vec<String> {
    let mut gone: Vec<SocketAddr> = old.iter().map(|listener| listener.address).collect();
    let mut reasons = Vec::new();
    for address in new.iter().map(|listener| listener.address) {
        match gone.iter().position(|before| *before == address) {
            Some(place) => {
                gone.remove(place);
            }
            None => reasons.push(format!("the port {address} is new: sockets are opened at start")),
        }
    }
    let gone = gone
        .iter()
        .map(|address| format!("the port {address} is gone: sockets are opened at start"));
    reasons.extend(gone);
    reasons
}
