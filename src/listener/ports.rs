use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, join, join_all};
use pingora::apps::HttpServerApp;
use pingora::listeners::ListenerConfig;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::Service;
use pingora::services::listening;

use super::door::Door;
use super::error::ListenerError;
use super::port::{EarlyAnswer, ListenerView, Port, Settings};
use crate::config::model::Listener;
use crate::observe::Metrics;

/// How often certificate files are read again. They are compared by content: a file swapped by
/// way of a link, as Kubernetes does it, shows no other sign that could be relied on.
const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 65_535;

/// Where the listening sockets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockets {
    /// They are opened now.
    Open,
    /// The process that this one replaces hands them over when the server starts (Pingora's
    /// `--upgrade`): it still has the ports, so they can't be opened.
    Inherit,
}

/// All ports of the gateway, as one Pingora service: they share its threads.
pub struct Ports<A> {
    doors: Vec<listening::Service<Door<A>>>,
    sockets: Vec<(SocketAddr, TcpListener)>,
    handle: PortsHandle,
    /// Threads; `None` takes the server's setting.
    pub threads: Option<usize>,
    /// What else is done on these threads, as long as they serve.
    chore: Mutex<Option<BoxFuture<'static, ()>>>,
}

/// Looks at ports and replaces their settings while they run.
#[derive(Clone)]
pub struct PortsHandle {
    /// With the address that the configuration has, which may leave the port to the system.
    ports: Arc<[(SocketAddr, Arc<Port>)]>,
    changing: Arc<Mutex<()>>,
}

/// Settings that were read and found good, ready to be taken into use.
pub struct PreparedPorts {
    handle: PortsHandle,
    settings: Vec<(Arc<Port>, Settings)>,
}

impl<A: HttpServerApp + Send + Sync + 'static> Ports<A> {
    /// Opens ports, each with what serves its requests (one for all, or each its own), and reads
    /// their certificates: what can't work is found here, before anything is served.
    ///
    /// # Errors
    /// See [`ListenerError`]; ports opened until then are closed again.
    pub fn bind(
        listeners: Vec<(Arc<Listener>, Arc<A>)>,
        sockets: Sockets,
        metrics: &Arc<Metrics>,
        answers: &Arc<dyn EarlyAnswer>,
    ) -> Result<(Self, PortsHandle), ListenerError> {
        let (mut doors, mut opened, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for (listener, app) in listeners {
            let configured = listener.address;
            let settings = Settings::load(listener)?;
            let address = match sockets {
                Sockets::Inherit => configured,
                Sockets::Open => {
                    let (address, socket) = open(configured)?;
                    opened.push((address, socket));
                    address
                }
            };
            let port = Arc::new(Port::new(address, settings, metrics.clone(), answers.clone()));
            let door = Door::new(app, port.clone());
            let mut service = listening::Service::new(format!("port {address}"), door);
            service.add_listener(ListenerConfig::tcp(address.to_string()));
            doors.push(service);
            ports.push((configured, port));
        }
        let handle = PortsHandle { ports: ports.into(), changing: Arc::default() };
        let (threads, chore) = (None, Mutex::default());
        Ok((Self { doors, sockets: opened, handle: handle.clone(), threads, chore }, handle))
    }

    /// Has something else done on the ports' threads, as long as they serve.
    pub fn set_chore(&mut self, chore: impl Future<Output = ()> + Send + 'static) {
        self.chore = Mutex::new(Some(chore.boxed()));
    }
}

/// Opens a port as Pingora does, but at once: Pingora would try for half a minute and then end a
/// task, not the process.
fn open(address: SocketAddr) -> Result<(SocketAddr, TcpListener), ListenerError> {
    let open = || {
        let socket = TcpListener::bind(address)?;
        // Once more, with room for the clients of a whole restart: the standard library asks for
        // too little. The system bounds it by `net.core.somaxconn`.
        rustix::net::listen(&socket, BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok((socket.local_addr()?, socket))
    };
    open().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenerError::AddressInUse(address),
        _ => ListenerError::Bind { address, source },
    })
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> Service for Ports<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let fds = fds.unwrap_or_else(|| ListenFds::new(Fds::new().into()));
        for (address, socket) in self.sockets.drain(..) {
            // Pingora takes a socket that stands in this table instead of opening one.
            fds.lock().add(address.to_string(), socket.into_raw_fd());
        }
        // Ends with the threads.
        if let Some(chore) = self.chore.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            tokio::spawn(chore);
        }
        let refreshing = refresh_regularly(self.handle.clone(), shutdown.clone());
        let serving = self.doors.iter_mut().map(|door| {
            Service::start_service(door, Some(fds.clone()), shutdown.clone(), listeners_per_fd)
        });
        join(join_all(serving), refreshing).await;
    }

    fn name(&self) -> &str {
        "ports"
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(self.handle.addresses().iter().map(ToString::to_string).collect())
    }
}

pub(super) async fn refresh_regularly(handle: PortsHandle, mut shutdown: ShutdownWatch) {
    let mut ticks = tokio::time::interval(REFRESH_EVERY);
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        let handle = handle.clone();
        // What is wrong was logged and stands in the view.
        let refreshed = tokio::task::spawn_blocking(move || handle.refresh()).await;
        if let Err(error) = refreshed {
            tracing::error!(%error, "certificate files could not be looked at");
        }
    }
}

impl PortsHandle {
    /// Where the ports listen, in the configuration's order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.ports.iter().map(|(_, port)| port.address()).collect()
    }

    /// The ports as they are now.
    pub fn views(&self) -> Vec<ListenerView> {
        self.ports.iter().map(|(_, port)| port.view()).collect()
    }

    /// Takes changed certificate files into use, as the ports do by themselves every 10 s. Blocks
    /// on files. Gives what is wrong with each port whose certificates had to be kept.
    pub fn refresh(&self) -> Vec<ListenerError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.ports.iter().filter_map(|(_, port)| port.refresh().err()).collect()
    }

    /// Makes a new configuration of the same ports ready: TLS, certificates, limits, HTTP/2.
    /// Blocks on files and changes nothing yet.
    ///
    /// # Errors
    /// [`ListenerError::NeedsRestart`] if a port is new or gone, or what is wrong with the files.
    pub fn prepare(&self, listeners: &[Arc<Listener>]) -> Result<PreparedPorts, ListenerError> {
        let is_listed = |address: &SocketAddr| listeners.iter().any(|one| one.address == *address);
        if let Some((gone, _)) = self.ports.iter().find(|(address, _)| !is_listed(address)) {
            return Err(ListenerError::NeedsRestart(*gone));
        }
        // Ports left to the system (port 0) can't be told apart by address: by their turn, then.
        let mut left: Vec<&(SocketAddr, Arc<Port>)> = self.ports.iter().collect();
        let mut settings = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let place = left.iter().position(|(address, _)| *address == listener.address);
            let Some(place) = place else {
                return Err(ListenerError::NeedsRestart(listener.address));
            };
            let (_, port) = left.remove(place);
            settings.push((port.clone(), Settings::load(listener.clone())?));
        }
        match left.first() {
            Some((gone, _)) => Err(ListenerError::NeedsRestart(*gone)),
            None => Ok(PreparedPorts { handle: self.clone(), settings }),
        }
    }
}

impl PreparedPorts {
    /// Takes the settings into use, for connections that begin from now on.
    pub fn commit(self) {
        let _changing = self.handle.changing.lock().unwrap_or_else(PoisonError::into_inner);
        for (port, settings) in self.settings {
            port.replace(settings);
        }
    }
}
