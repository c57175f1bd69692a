//! A bank in a box: five account services and an identity provider, each on its own port, in one process.
//!
//! For the demo, the tests and the load tests of Tollgate: real HTTP over real sockets, plausible data that is the same in
//! every run, and a control port that makes it slow, wrong or absent. No line of it is in the product's binary.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "in a test, a panic is the message"
    )
)]

mod accounts;
mod arguments;
mod bank;
mod control;
mod data;
mod fault;
mod identity;
mod ports;
mod problem;
mod receive;
mod server;
mod service;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use clap::Parser as _;
use serde_json::{Map, Value};
use tokio::signal::unix::{SignalKind, signal};

use arguments::Arguments;
use bank::{Bank, Counters, Desk};
use control::Control;
use fault::FaultSwitch;
use identity::{Identity, KeyError};
use ports::{CannotListen, Port, Ports};
use service::{ByService, Service};

/// Why the bank did not open.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Port(#[from] CannotListen),
    #[error("identity provider's keys: {0}")]
    Keys(#[from] KeyError),
    #[error("identity provider's keys: the thread that makes them ended early")]
    KeyThread,
    #[error("can't write {}: {error}", path.display())]
    PortsFile { path: PathBuf, error: io::Error },
    #[error("can't listen to signals: {0}")]
    Signals(io::Error),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let outcome = runtime.block_on(run(arguments));
    // Stopping means now: nobody waits for answers in flight or for keys in the making.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("demo-bank: {error}");
    ExitCode::FAILURE
}

/// Opens the bank and keeps it open until the process is told to stop.
async fn run(arguments: Arguments) -> Result<(), StartError> {
    let stopped = stop_signal().map_err(StartError::Signals)?;
    let stay_open = async {
        announce(&open(arguments).await?);
        std::future::pending().await
    };
    // A signal counts while the bank is opening, too.
    tokio::select! {
        outcome = stay_open => outcome,
        () = stopped => Ok(()),
    }
}

/// Opens the bank. The name and port of each listener.
async fn open(arguments: Arguments) -> Result<Map<String, Value>, StartError> {
    let ports = Ports::open(arguments.address, arguments.port_base)?;
    let ports_view = ports.view();
    let issuer = arguments.issuer.unwrap_or_else(|| format!("http://{}", ports.identity.address));
    let identity_port = ports.identity.address.port();
    let opened = tokio::task::spawn_blocking(move || {
        Identity::open(issuer, identity_port, FaultSwitch::new(), arguments.keys_dir.as_deref())
    });
    let identity = Arc::new(opened.await.map_err(|_| StartError::KeyThread)??);
    let desks = ByService::try_make(|service| Ok::<_, StartError>(desk(&ports, service)))?;
    let bank = Arc::new(Bank::new(arguments.delay, desks));

    serve_all(ports, bank, identity)?;
    if let Some(path) = arguments.ports_file {
        ports::write(&ports_view, &path).map_err(|error| StartError::PortsFile { path, error })?;
    }
    Ok(ports_view)
}

fn desk(ports: &Ports, service: Service) -> Desk {
    let port = ports.services.get(service).address.port();
    Desk { port, faults: FaultSwitch::new(), counters: Counters::default() }
}

fn serve_all(ports: Ports, bank: Arc<Bank>, identity: Arc<Identity>) -> Result<(), StartError> {
    let Ports { services, identity: identity_port, control: control_port } = ports;
    services.try_for_each(|service, port| {
        let faults = bank.desk(service).faults.clone();
        serve(port, accounts::router(bank.clone(), service), faults)
    })?;
    serve(identity_port, identity::router(identity.clone()), identity.faults.clone())?;
    // Nothing is ever wrong with the control port.
    serve(control_port, control::router(Arc::new(Control { bank, identity })), FaultSwitch::new())
}

fn serve(port: Port, router: Router, faults: FaultSwitch) -> Result<(), StartError> {
    let address = port.address;
    tokio::spawn(server::serve(port.listen()?, address, router, faults));
    Ok(())
}

/// One line, for who waits on standard output. Nobody need read it.
fn announce(ports: &Map<String, Value>) {
    let ports: Vec<String> = ports.iter().map(|(name, port)| format!("{name}={port}")).collect();
    let _ = writeln!(io::stdout(), "demo-bank ready: {}", ports.join(" "));
}

/// Comes with SIGTERM or ctrl-c.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
