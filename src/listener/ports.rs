use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, join, join_all};
use pingora::apps::HttpServerApp;
use pingora::listeners::ListenerConfig;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::Service;
use pingora::services::listening;
use tokio::sync::watch;

use super::door::Door;
use super::error::ListenerError;
use super::gate::Gate;
use super::port::{EarlyAnswer, ListenerView, Port, Settings};
use super::sockets::Sockets;
use crate::config::model::Listener;
use crate::observe::Metrics;

/// How often certificate files are read again. They are compared by content: a file swapped by
/// way of a link, as Kubernetes does it, shows no other sign that could be relied on.
const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// Bytes that TLS asks for at once.
const TLS_READ_AHEAD: usize = 4096;

/// All ports of the gateway, as one Pingora service: they share its threads.
pub struct Ports<A> {
    entrances: Vec<Entrance<A>>,
    handle: PortsHandle,
    /// Threads; `None` takes the server's setting.
    pub threads: Option<usize>,
    /// What else is done on these threads, as long as they serve.
    chore: Mutex<Option<BoxFuture<'static, ()>>>,
}

/// One port, and what serves its requests.
struct Entrance<A> {
    app: Arc<A>,
    port: Arc<Port>,
    socket: TcpListener,
}

/// Looks at ports and replaces their settings while they run, and has them accept or not.
#[derive(Clone)]
pub struct PortsHandle {
    /// With the address that the configuration has, which may leave the port to the system.
    ports: Arc<[(SocketAddr, Arc<Port>)]>,
    changing: Arc<Mutex<()>>,
    gate: Arc<Gate>,
}

/// Settings that were read and found good, ready to be taken into use.
pub struct PreparedPorts {
    handle: PortsHandle,
    settings: Vec<(Arc<Port>, Settings)>,
}

impl<A: HttpServerApp + Send + Sync + 'static> Ports<A> {
    /// Takes the ports' sockets or opens them, each with what serves its requests (one for all, or
    /// each its own), and reads their certificates: what can't work is found here, before anything
    /// is served.
    ///
    /// # Errors
    /// See [`ListenerError`]; ports opened until then are closed again.
    pub fn bind(
        listeners: Vec<(Arc<Listener>, Arc<A>)>,
        sockets: &mut Sockets,
        metrics: &Arc<Metrics>,
        answers: &Arc<dyn EarlyAnswer>,
    ) -> Result<(Self, PortsHandle), ListenerError> {
        let gate = Arc::new(Gate::default());
        let (mut entrances, mut ports) = (Vec::new(), Vec::new());
        for (listener, app) in listeners {
            let configured = listener.address;
            let settings = Settings::load(listener)?;
            let socket = sockets.take(configured)?;
            let cannot = |source| ListenerError::Bind { address: configured, source };
            let address = socket.local_addr().map_err(cannot)?;
            let closing = gate.closing();
            let port =
                Arc::new(Port::new(address, settings, metrics.clone(), answers.clone(), closing));
            entrances.push(Entrance { app, port: port.clone(), socket });
            ports.push((configured, port));
        }
        let handle = PortsHandle { ports: ports.into(), changing: Arc::default(), gate };
        let (threads, chore) = (None, Mutex::default());
        Ok((Self { entrances, handle: handle.clone(), threads, chore }, handle))
    }

    /// Has something else done on the ports' threads, as long as they serve.
    pub fn set_chore(&mut self, chore: impl Future<Output = ()> + Send + 'static) {
        self.chore = Mutex::new(Some(chore.boxed()));
    }

    /// The sockets once more, by the addresses that the configuration has: for the process that
    /// takes over.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn sockets(&self) -> std::io::Result<Vec<(SocketAddr, TcpListener)>> {
        let configured = self.handle.ports.iter().map(|(address, _)| *address);
        let sockets = self.entrances.iter().map(|entrance| entrance.socket.try_clone());
        configured.zip(sockets).map(|(address, socket)| Ok((address, socket?))).collect()
    }

    /// Accepts on all ports until `stop`.
    async fn accept(&self, stop: &ShutdownWatch, listeners_per_fd: usize) {
        // Pingora takes a socket that stands in this table instead of opening one, and closes it
        // when it stops: so it gets one of its own each time.
        let table = ListenFds::new(Fds::new().into());
        let accepting = self.entrances.iter().map(|entrance| {
            let address = entrance.port.address().to_string();
            match entrance.socket.try_clone() {
                Ok(socket) => table.lock().add(address.clone(), socket.into_raw_fd()),
                Err(error) => tracing::error!(address, %error, "the port can't be served"),
            }
            let door = Door::new(entrance.app.clone(), entrance.port.clone());
            let mut service = listening::Service::new(format!("port {address}"), door);
            service.add_listener(ListenerConfig::tcp(address).l4_buffer(buffers(&entrance.port)));
            let (table, stop) = (Some(table.clone()), stop.clone());
            async move { service.start_service(table, stop, listeners_per_fd).await }
        });
        join_all(accepting.collect::<Vec<_>>()).await;
    }

    /// Accepts whenever the gate is open, until the end.
    async fn serve(&self, mut shutdown: ShutdownWatch, listeners_per_fd: usize) {
        let gate = self.handle.gate.clone();
        loop {
            let (stop, stopped) = watch::channel(false);
            let until_shut = async {
                tokio::select! {
                    () = gate.until_shut() => {}
                    _ = shutdown.wait_for(|stop| *stop) => {}
                }
                stop.send_replace(true);
            };
            gate.note_accepting(true);
            join(self.accept(&stopped, listeners_per_fd), until_shut).await;
            gate.note_accepting(false);
            tokio::select! {
                // At the end the gate is open too: whoever came in would be cut off.
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break,
                () = gate.until_open() => {}
            }
        }
        gate.close();
        join_all(self.entrances.iter().map(|entrance| entrance.app.http_cleanup())).await;
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> Service for Ports<A> {
    async fn start_service(
        &mut self,
        _: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        // Ends with the threads.
        if let Some(chore) = self.chore.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            tokio::spawn(chore);
        }
        let refreshing = refresh_regularly(self.handle.clone(), shutdown.clone());
        join(self.serve(shutdown, listeners_per_fd), refreshing).await;
    }

    fn name(&self) -> &str {
        "ports"
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }
}

/// Pingora's own buffers take 64 KiB of each connection, also while it is idle, and what they are for
/// is done elsewhere: a client's stream reads ahead, and gathers what it writes. TLS would ask for
/// the head of each record by itself.
fn buffers(port: &Port) -> L4BufferSettings {
    match port.settings().tls {
        None => L4BufferSettings::unbuffered(),
        Some(_) => L4BufferSettings::new(TLS_READ_AHEAD, 0),
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

    /// Stops accepting; returns once nothing is accepted any more. Connections that are open get
    /// answers to what they send, and are told to send nothing more. Those to come wait in the
    /// sockets, as long as some process holds them.
    pub async fn shut(&self) {
        self.gate.shut().await;
    }

    /// Accepts again.
    pub fn open(&self) {
        self.gate.open();
    }

    /// Ends connections that wait for a request. Until then a stop leaves them open, since their
    /// client may be sending one just now.
    pub fn close_idle(&self) {
        self.gate.close();
    }

    /// Connections that are open, on all ports.
    pub fn connections(&self) -> usize {
        self.ports.iter().map(|(_, port)| port.seats().taken()).sum()
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
