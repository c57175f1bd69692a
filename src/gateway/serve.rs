//! From a checked configuration to a gateway that serves, and to its orderly end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use tokio::runtime::Runtime;

use super::context::Arrival;
use super::control::Control;
use super::keyfile::KeyFileError;
use super::proxy::Gateway;
use super::reload::Reloader;
use super::shared::{Parts, Shared};
use super::signals::{self, Drain, Signals};
use super::snapshot::{Snapshot, SnapshotError};
use super::{early, keys, supervisor};
use crate::account::{AccountHasher, CredentialsError, Fleet};
use crate::auth::Keyrings;
use crate::config::model::{CacheSettings, Config, Listener};
use crate::journal::{Embedded, Journal, JournalError, Kafka, topics};
use crate::listener::{EarlyAnswer, EarlyRequest, ListenerError, Ports, PortsHandle, Sockets};
use crate::net::{NetError, Resolver};
use crate::observe::{AccessLog, Metrics};
use crate::quota::{Patience, QuotaError, Quotas};
use crate::request::{Clock, SystemClock};
use crate::vault::{Vault, VaultError};

/// How long a start waits for names and health checks before it serves without them.
const FIRST_ROUND: Duration = Duration::from_secs(2);

/// How long a start waits for Kafka: the two are often started together.
const KAFKA_PATIENCE: Duration = Duration::from_secs(60);

/// Why a gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file or directory can't be used.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The operating system gives no signals.
    #[error("signals can't be watched: {0}")]
    Signals(io::Error),
    /// A key of the gateway's own can't be had.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The operating system gave no thread.
    #[error("no threads: {0}")]
    Runtime(io::Error),
    /// The journal can't be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Kafka's topics can't be looked at, or counts would not be exact on them.
    #[error(transparent)]
    Topics(#[from] topics::TopicsError),
    /// The ledger can't be read.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// The account cache can't be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The fleet's certificates can't be used.
    #[error(transparent)]
    Fleet(#[from] CredentialsError),
    /// The resolver can't be set up.
    #[error(transparent)]
    Resolver(#[from] NetError),
    /// The configuration can't be put to work.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A port can't be opened.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// The operators' port can't be opened.
    #[error("admin.address {address}: {error}")]
    Admin {
        /// The port.
        address: SocketAddr,
        /// Why.
        error: ListenerError,
    },
}

/// A gateway with its state open and its ports bound, about to serve.
pub struct Started {
    runtime: Runtime,
    shared: Arc<Shared>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    reloader: Arc<Reloader>,
    ports: Ports<pingora_proxy::HttpProxy<Gateway>>,
    admin: Option<TcpListener>,
    kept: bool,
    server: Server,
    signals: Signals,
}

/// Opens state for the configuration that was read from `path`, and takes its ports out of
/// `sockets`, or opens them.
///
/// # Errors
/// See [`ServeError`]; nothing serves then.
pub fn start(path: &Path, config: Config, mut sockets: Sockets) -> Result<Started, ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("background")
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    let config = Arc::new(config);
    let shared = Arc::new(runtime.block_on(open_state(&config, &runtime))?);
    let snapshot = runtime.block_on(async {
        let snapshot = Snapshot::build(config.clone(), &shared, None)?;
        snapshot.clusters.start(FIRST_ROUND).await;
        Ok::<_, ServeError>(Arc::new(ArcSwap::from_pointee(snapshot)))
    })?;
    let signals = runtime.block_on(async { Signals::take() }).map_err(ServeError::Signals)?;
    let server = Server::new_with_opt_and_conf(None, server_conf());
    let kept = sockets.are_kept();
    let (ports, handle) = bind(&config, &mut sockets, &shared, &snapshot, &server.configuration)?;
    let admin = admin_socket(&config, &mut sockets)?;
    sockets.finish()?;
    let reloader =
        Arc::new(Reloader::new(path.to_owned(), shared.clone(), snapshot.clone(), handle));
    Ok(Started { runtime, shared, snapshot, reloader, ports, admin, kept, server, signals })
}

fn admin_socket(config: &Config, sockets: &mut Sockets) -> Result<Option<TcpListener>, ServeError> {
    let Some(address) = config.admin.as_ref().map(|admin| admin.address) else { return Ok(None) };
    let socket = sockets.take_or_open(address);
    socket.map(Some).map_err(|error| ServeError::Admin { address, error })
}

async fn open_state(config: &Config, runtime: &Runtime) -> Result<Shared, ServeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::default());
    let directory = &config.state.directory;
    let file = |path: &Path, error| ServeError::File { path: path.to_owned(), error };
    std::fs::create_dir_all(directory).map_err(|error| file(directory, error))?;
    let log = &config.observe.access_log;
    let access_log = AccessLog::open(log, metrics.clone())
        .map_err(|error| file(&PathBuf::from(format!("{log:?}")), error))?;
    let fleet = open_fleet(config, runtime)?;
    let quotas = open_quotas(config, fleet.clone(), &clock, &metrics).await?;
    let counted = quotas.partitions().iter().any(|partition| partition.accounts > 0);
    let cache = keys::cache_settings(directory, &config.cache)?;
    let accounts = keys::account_hasher(&config.state, counted)?;
    let vault = open_vault(config, &cache, &accounts, &clock, &metrics)?;
    Ok(Shared::new(Parts {
        access_log,
        keyrings: Keyrings::new(runtime.handle().clone(), clock.clone(), metrics.clone()),
        accounts,
        quotas,
        fleet,
        vault,
        resolver: Arc::new(Resolver::from_system()?),
        clock,
        metrics,
    }))
}

fn open_fleet(config: &Config, runtime: &Runtime) -> Result<Option<Arc<Fleet>>, ServeError> {
    let Some(settings) = &config.fleet else { return Ok(None) };
    // A resolver of its own: it belongs to the runtime that serves requests.
    let fleet = Fleet::open((**settings).clone(), Arc::new(Resolver::from_system()?))?;
    let fleet = Arc::new(fleet);
    let refreshed = fleet.clone();
    runtime.spawn(async move { refreshed.refresh_for_ever().await });
    Ok(Some(fleet))
}

/// Counts are exact only on topics that are set up for it.
async fn refuse_unsafe_topics(config: &Config) -> Result<(), ServeError> {
    let config = config.clone();
    let asked = tokio::task::spawn_blocking(move || topics::refuse_unsafe(&config, KAFKA_PATIENCE));
    for finding in asked.await.map_err(|_| JournalError::Closed)?? {
        tracing::warn!(%finding, "`tollgate kafka check` says more");
    }
    Ok(())
}

async fn open_quotas(
    config: &Config,
    fleet: Option<Arc<Fleet>>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Quotas>, ServeError> {
    let directory = config.state.directory.join("journal");
    let mut patience = Patience::default();
    let journal: Arc<dyn Journal> = match &config.kafka {
        Some(kafka) => {
            refuse_unsafe_topics(config).await?;
            // Others may have been given its partitions after a whole session.
            patience.silence = kafka.session_timeout / 2;
            let key = keys::fleet_key(&config.state)?;
            Arc::new(Kafka::open(kafka, &directory, &key, metrics.clone()).await?)
        }
        None => Arc::new(Embedded::open(&directory, config.state.partitions, metrics.clone())?),
    };
    let name = fleet.as_ref().map_or_else(|| "embedded".into(), |fleet| fleet.name().clone());
    let (clock, metrics) = (clock.clone(), metrics.clone());
    Ok(Quotas::open_with(journal, clock, metrics, &name, fleet, patience).await?)
}

fn open_vault(
    config: &Config,
    cache: &CacheSettings,
    accounts: &AccountHasher,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<&'static Vault, VaultError> {
    let directory = &config.state.directory;
    let (clock, metrics) = (clock.clone(), metrics.clone());
    let vault = match &config.kafka {
        Some(kafka) => Vault::open_fed(directory, cache, kafka, accounts.clone(), clock, metrics)?,
        None => Vault::open(directory, cache, clock, metrics)?,
    };
    vault.know_routes(&config.routes);
    Ok(vault)
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
        Control::new(self.shared.clone(), self.snapshot.clone(), self.reloader.clone())
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
    /// configuration again, and so does a changed file.
    pub fn serve(self) {
        let Self {
            runtime, shared, snapshot, reloader, mut ports, kept, mut server, signals, ..
        } = self;
        let Signals { hangup, stop } = signals;
        tell_start(&snapshot.load().config, &reloader);
        runtime.spawn(signals::reload_on_hangup(hangup, reloader.clone(), shared.clone()));
        runtime.spawn(signals::reload_on_change(reloader.clone()));
        ports.set_chore(supervisor::report(shared.clone(), runtime.handle().clone()));
        server.bootstrap();
        server.add_service(ports);
        let shutdown_signal = Box::new(Drain::new(stop, shared.clone(), reloader, kept));
        server.run(RunArgs { shutdown_signal });
        runtime.block_on(shared.quotas.close());
        shared.vault.close();
        shared.access_log.flush();
        runtime.shutdown_timeout(Duration::from_secs(1));
        tracing::info!("stopped");
    }
}
