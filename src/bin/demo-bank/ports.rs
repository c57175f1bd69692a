//! The seven listeners of the bank, and how others learn where they are.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::service::{ByService, Service};

/// All listeners, open.
pub struct Ports {
    /// One for each service.
    pub services: ByService<Port>,
    /// The identity provider's.
    pub identity: Port,
    /// The control port.
    pub control: Port,
}

/// One listener.
pub struct Port {
    /// Where it listens.
    pub address: SocketAddr,
    /// Open, and not served yet.
    pub listener: std::net::TcpListener,
}

/// A port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {error}")]
pub struct CannotListen {
    address: SocketAddr,
    error: io::Error,
}

impl Ports {
    /// Opens seven ports from this one on, or any seven when it is 0.
    pub fn open(address: IpAddr, base: u16) -> Result<Self, CannotListen> {
        let mut next = base;
        let mut open = || {
            let port = Port::open(SocketAddr::new(address, next));
            next = if base == 0 { 0 } else { next.saturating_add(1) };
            port
        };
        Ok(Self { services: ByService::try_make(|_| open())?, identity: open()?, control: open()? })
    }

    /// Name and port of each.
    pub fn view(&self) -> Map<String, Value> {
        let services = self.services.iter().map(|(service, port)| (Service::name(service), port));
        services
            .chain([("identity", &self.identity), ("control", &self.control)])
            .map(|(name, port)| (name.to_owned(), json!(port.address.port())))
            .collect()
    }
}

impl Port {
    fn open(address: SocketAddr) -> Result<Self, CannotListen> {
        let cannot = |error| CannotListen { address, error };
        let listener = std::net::TcpListener::bind(address).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        Ok(Self { address, listener })
    }

    /// For use by the runtime.
    pub fn listen(self) -> Result<TcpListener, CannotListen> {
        let address = self.address;
        TcpListener::from_std(self.listener).map_err(|error| CannotListen { address, error })
    }
}

/// Writes the ports to a file. It appears whole or not at all, so that a test may wait for it.
pub fn write(ports: &Map<String, Value>, path: &Path) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    fs::write(&aside, json!(ports).to_string())?;
    fs::rename(&aside, path)
}
