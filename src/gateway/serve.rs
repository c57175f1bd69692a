//! From a checked configuration to a gateway that serves, and to its orderly end.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use super::context::Arrival;
use super::control::Control;
use super::proxy::Gateway;
use super::reload::Reloader;
use super::serve_error::ServeError;
use super::shared::{Ground, Shared};
use super::signals::{self, Drain, Signals};
use super::snapshot::Snapshot;
use super::starting::Starting;
use super::upgrade::{Belongings, Origin, Predecessor, Program, Upgrader};
use super::{certificates, early, state, supervisor};
use crate::auth::{Keyrings, TokenCache};
use crate::config::model::{Config, Listener};
use crate::journal::topics;
use crate::listener::{EarlyAnswer, EarlyRequest, Ports, PortsHandle, Sockets};
use crate::net::Resolver;
use crate::observe::{AccessLog, Metrics};
use crate::request::{Clock, SystemClock};

/// How long a start waits for names and health checks before it serves without them.
const FIRST_ROUND: Duration = Duration::from_secs(2);

/// How long a process that takes over waits for the keys of identity providers.
const FIRST_KEYS: Duration = Duration::from_secs(30);
/// Between looks at whether they have come.
const LOOK: Duration = Duration::from_millis(50);

/// A gateway of which all is ready that needs no state.
struct Prepared {
    runtime: Runtime,
    config: Arc<Config>,
    ground: Ground,
    access_log: AccessLog,
    snapshot: Snapshot,
    program: Program,
}

/// A gateway with its state open and its ports bound, about to serve.
pub struct Started {
    runtime: Runtime,
    shared: Arc<Shared>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    reloader: Arc<Reloader>,
    upgrader: Arc<Upgrader>,
    predecessor: Option<Predecessor>,
    starting: Starting,
    ports: Ports<pingora_proxy::HttpProxy<Gateway>>,
    admin: Option<TcpListener>,
    server: Server,
    signals: Signals,
}

/// Opens state and ports for the configuration that was read from `path`; if another process is
/// to be replaced, once all that can be known before is known to be good and that process has
/// given the word.
///
/// # Errors
/// See [`ServeError`]; nothing serves then.
pub fn start(path: &Path, config: Config, origin: Origin) -> Result<Started, ServeError> {
    let Origin { sockets, predecessor } = origin;
    let prepared = Prepared::of(config)?;
    if let Some(predecessor) = &predecessor {
        prepared.runtime.block_on(prepared.wait_for_word(predecessor))?;
    }
    prepared.open(path, sockets, predecessor)
}

impl Prepared {
    fn of(config: Config) -> Result<Self, ServeError> {
        let program = Program::own();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("background")
            .enable_all()
            .build()
            .map_err(ServeError::Runtime)?;
        let config = Arc::new(config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::default());
        let log = &config.observe.access_log;
        let access_log = AccessLog::open(log, metrics.clone())
            .map_err(|error| ServeError::File { path: PathBuf::from(format!("{log:?}")), error })?;
        let keyrings = Keyrings::new(runtime.handle().clone(), clock.clone(), metrics.clone());
        let ground = Ground {
            keyrings: Arc::new(keyrings),
            tokens: Arc::new(TokenCache::new()),
            resolver: Arc::new(Resolver::from_system()?),
            clock,
            metrics,
        };
        let snapshot = runtime.block_on(async {
            let snapshot = Snapshot::build(config.clone(), &ground, None)?;
            snapshot.clusters.start(FIRST_ROUND).await;
            Ok::<_, ServeError>(snapshot)
        })?;
        Ok(Self { runtime, config, ground, access_log, snapshot, program })
    }

    /// Proves to the process that is to be replaced that this one could serve in its place.
    async fn wait_for_word(&self, predecessor: &Predecessor) -> Result<(), ServeError> {
        predecessor.accepts(&self.config).map_err(ServeError::AnotherState)?;
        let until = Instant::now() + FIRST_KEYS;
        while let Err(missing) = self.ground.keyrings.ready() {
            if Instant::now() >= until {
                return Err(ServeError::NoKeys(missing.join(", ")));
            }
            sleep(LOOK).await;
        }
        match predecessor.may_take().await {
            true => Ok(()),
            false => Err(ServeError::NotWanted),
        }
    }

    fn open(
        self,
        path: &Path,
        mut sockets: Sockets,
        predecessor: Option<Predecessor>,
    ) -> Result<Started, ServeError> {
        let Self { runtime, config, ground, access_log, snapshot, program } = self;
        let starting = Starting::begin(runtime.handle(), predecessor.as_ref());
        let state = state::open(&config, &runtime, ground, access_log, &starting);
        let shared = Arc::new(runtime.block_on(state)?);
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let signals = runtime.block_on(async { Signals::take() }).map_err(ServeError::Signals)?;
        let server = Server::new_with_opt_and_conf(None, server_conf());
        let kept = sockets.are_kept();
        let (ports, handle) =
            bind(&config, &mut sockets, &shared, &snapshot, &server.configuration)?;
        let admin = admin_socket(&config, &mut sockets)?;
        sockets.finish()?;
        let belongings = belongings(&config, &ports, admin.as_ref(), kept)?;
        let reloader =
            Arc::new(Reloader::new(path.to_owned(), shared.clone(), snapshot.clone(), handle));
        let upgrader = Upgrader::new(shared.clone(), reloader.clone(), program, belongings);
        let upgrader = Arc::new(upgrader);
        if let Some(predecessor) = &predecessor {
            predecessor.open(shared.clone());
        }
        Ok(Started {
            runtime,
            shared,
            snapshot,
            reloader,
            upgrader,
            predecessor,
            starting,
            ports,
            admin,
            server,
            signals,
        })
    }
}

/// What the process that takes over gets.
fn belongings(
    config: &Config,
    ports: &Ports<pingora_proxy::HttpProxy<Gateway>>,
    admin: Option<&TcpListener>,
    kept: bool,
) -> Result<Belongings, ServeError> {
    let mut sockets = ports.sockets().map_err(ServeError::Sockets)?;
    if let (Some(settings), Some(socket)) = (&config.admin, admin) {
        sockets.push((settings.address, socket.try_clone().map_err(ServeError::Sockets)?));
    }
    Ok(Belongings { sockets, kept })
}

fn admin_socket(config: &Config, sockets: &mut Sockets) -> Result<Option<TcpListener>, ServeError> {
    let Some(address) = config.admin.as_ref().map(|admin| admin.address) else { return Ok(None) };
    let socket = sockets.take_or_open(address);
    socket.map(Some).map_err(|error| ServeError::Admin { address, error })
}

fn server_conf() -> ServerConf {
    ServerConf {
        // A container's share of the machine counts, not the machine's cores.
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        // Our own signal watch waits for requests in progress; Pingora would sleep this out.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        max_retries: usize::from(u8::MAX),
        ..ServerConf::default()
    }
}

fn bind(
    config: &Config,
    sockets: &mut Sockets,
    shared: &Arc<Shared>,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    conf: &Arc<ServerConf>,
) -> Result<(Ports<pingora_proxy::HttpProxy<Gateway>>, PortsHandle), ServeError> {
    let app = |arrival| {
        let gateway = Gateway::new(shared.clone(), snapshot.clone(), arrival);
        Arc::new(pingora_proxy::http_proxy(conf, gateway))
    };
    let clients = app(Arrival::Client);
    let mut listeners: Vec<(Arc<Listener>, _)> =
        config.listeners.iter().map(|one| (one.clone(), clients.clone())).collect();
    if let Some(fleet) = &config.fleet {
        listeners.push((Arc::new(fleet.listener()), app(Arrival::Fleet)));
    }
    let answers: Arc<dyn EarlyAnswer> = Arc::new(Pen(shared.clone()));
    Ok(Ports::bind(listeners, sockets, &shared.metrics, &answers)?)
}

/// An administrator of Kafka may change what was looked at when the gateway started.
async fn watch_topics(shared: Arc<Shared>, reloader: Arc<Reloader>) {
    if reloader.config().kafka.is_some() {
        shared.topics.look_for_ever(topics::EVERY, || reloader.config()).await;
    }
}

/// Lends the listener the gateway's pen.
struct Pen(Arc<Shared>);

impl EarlyAnswer for Pen {
    fn answer(&self, request: &EarlyRequest<'_>) -> Bytes {
        early::answer(&self.0, request)
    }
}

/// One line that says what serves from now on, and where.
fn tell_start(config: &Config, reloader: &Reloader) {
    let listening: Vec<String> = reloader
        .ports()
        .views()
        .iter()
        .map(|port| format!("{}://{}", if port.tls { "https" } else { "http" }, port.address))
        .collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        commit = env!("TOLLGATE_COMMIT"),
        revision = %config.revision,
        routes = config.routes.len(),
        listening = listening.join(" "),
        admin = config.admin.as_ref().map(|admin| admin.address.to_string()),
        state = %config.state.directory.display(),
        "serving"
    );
}

impl Started {
    /// The operators' hand on it.
    pub fn control(&self) -> Control {
        let upgrader = self.upgrader.clone();
        Control::new(self.shared.clone(), self.snapshot.clone(), self.reloader.clone(), upgrader)
    }

    /// Where background work runs.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The operators' port, for who serves it.
    pub fn admin_socket(&mut self) -> Option<TcpListener> {
        self.admin.take()
    }

    /// Serves until a signal ends it: SIGTERM lets requests in progress finish, SIGHUP loads the
    /// configuration again, and so does a changed file; SIGUSR2 has another process take over.
    pub fn serve(self) {
        let Self { runtime, shared, snapshot, reloader, upgrader, predecessor, .. } = self;
        let (mut ports, mut server, starting) = (self.ports, self.server, self.starting);
        let Signals { hangup, upgrade, stop } = self.signals;
        tell_start(&snapshot.load().config, &reloader);
        runtime.spawn(signals::reload_on_hangup(hangup, reloader.clone(), shared.clone()));
        runtime.spawn(signals::upgrade_on_signal(upgrade, upgrader.clone()));
        runtime.spawn(signals::reload_on_change(reloader.clone()));
        runtime.spawn(certificates::watch(shared.clone(), reloader.clone()));
        runtime.spawn(watch_topics(shared.clone(), reloader.clone()));
        let background = runtime.handle().clone();
        let report = supervisor::report(shared.clone(), background, predecessor.clone(), starting);
        ports.set_chore(report);
        server.bootstrap();
        server.add_service(ports);
        let drain = Drain::new(stop, shared.clone(), reloader, upgrader, predecessor);
        server.run(RunArgs { shutdown_signal: Box::new(drain) });
        runtime.block_on(shared.quotas.close());
        shared.vault.close();
        shared.access_log.flush();
        runtime.shutdown_timeout(Duration::from_secs(1));
        tracing::info!("stopped");
    }
}
