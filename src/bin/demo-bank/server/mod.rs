//! A port: accepts connections, speaks HTTP/1.1 on them, and lets faults reach below HTTP.

mod tap;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::fault::{Fault, FaultSwitch};
use tap::{Tap, Tapped};

/// How long the accept loop rests after a failure such as too many open files, and between attempts to open its port again.
const REST: Duration = Duration::from_millis(20);

/// Bytes to send in place of an answer, below HTTP.
#[derive(Debug)]
pub struct Script {
    /// What goes out.
    pub bytes: Bytes,
    /// And then?
    pub then: Then,
}

/// What follows the bytes of a [`Script`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection closes.
    Close,
    /// The connection stays open, silent, until the client closes it or the switch is set again.
    Linger,
}

/// The connection that a request came on. Stands in the request's extensions.
#[derive(Clone)]
pub struct Wire {
    scripts: mpsc::Sender<Script>,
    tap: Tap,
}

impl Wire {
    /// Takes the connection out of HTTP's hands and plays the script on it. Never returns: the connection ends with it.
    pub async fn play<T>(&self, script: Script) -> T {
        // A send fails only when the connection is gone already, and its requests with it.
        let _ = self.scripts.send(script).await;
        std::future::pending().await
    }

    /// The bytes of the request's head, exactly as received. Whatever was received with it is forgotten, so that the next
    /// head stands alone: call it when the body was read. None for a request that came together with the one before it, and
    /// for an oversized head.
    pub fn take_head(&self) -> Option<String> {
        self.tap.take_head()
    }
}

/// Serves a port for ever. While the switch says `refuse`, the port is closed.
pub async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    switch: FaultSwitch,
) {
    let mut listener = Some(listener);
    loop {
        if let Some(open) = listener.take() {
            tokio::select! {
                () = accept(&open, &router, &switch) => {}
                () = switch.until_refusing(true) => {}
            }
        }
        switch.report_open(false);
        switch.until_refusing(false).await;
        listener = Some(open_again(address).await);
        switch.report_open(true);
    }
}

async fn accept(listener: &TcpListener, router: &Router, switch: &FaultSwitch) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, router.clone(), switch.clone()));
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// Somebody else may have the port for a moment: a client whose own port it happens to be.
async fn open_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// Serves one connection to its end.
async fn converse(stream: TcpStream, router: Router, switch: FaultSwitch) {
    // Without it, a test would measure Nagle's algorithm.
    let _ = stream.set_nodelay(true);
    let mut settings = switch.watch();
    let (scripts, mut script) = mpsc::channel(1);
    let tap = Tap::default();
    let wire = Wire { scripts, tap: tap.clone() };
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(wire.clone());
        router.call(request)
    });
    let io = TokioIo::new(Tapped::new(stream, tap));
    let mut connection = http1::Builder::new().serve_connection(io, service);
    loop {
        tokio::select! {
            _ = &mut connection => return,
            Some(script) = script.recv() => {
                let stream = connection.into_parts().io.into_inner().into_inner();
                return script.play(stream, switch).await;
            }
            Ok(()) = settings.changed() => match settings.borrow_and_update().fault {
                Fault::Refuse => return,
                Fault::Down => std::pin::Pin::new(&mut connection).graceful_shutdown(),
                _ => {}
            },
        }
    }
}

impl Script {
    async fn play(self, mut stream: TcpStream, switch: FaultSwitch) {
        let mut settings = switch.watch();
        // A client that has left does not care about the rest.
        if stream.write_all(&self.bytes).await.is_err() {
            return;
        }
        match self.then {
            Then::Close => {}
            Then::Linger => {
                let mut heard = [0; 1024];
                let until_closed =
                    async { while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {} };
                tokio::select! {
                    () = until_closed => {}
                    _ = settings.changed() => {}
                }
            }
        }
        let _ = stream.shutdown().await;
    }
}
