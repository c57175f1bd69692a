use std::net::{IpAddr, SocketAddr};

use super::Found;
use crate::config::model::Endpoint;

/// The address that an entry writes down, with or without brackets; `None` if it is a name.
pub(super) fn address(entry: &Endpoint) -> Option<Found> {
    let host = &entry.host;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let address: IpAddr = bare.parse().ok()?;
    Some(Found {
        host: host.clone(),
        address: SocketAddr::new(address, entry.port),
        weight: entry.weight,
    })
}
