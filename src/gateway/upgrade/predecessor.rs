use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::caching;
use super::super::shared::Shared;
use super::line::{self, CHANGED, ERRAND, Estate, MAIN, PREPARE, Prepared, TAKE};
use crate::account::AccountKey;
use crate::config::model::Config;
use crate::listener::Sockets;

/// For the old process to take in why this one gives up.
const PARTING: Duration = Duration::from_secs(5);

/// The process that this one takes over from.
#[derive(Clone)]
pub struct Predecessor(Arc<Inner>);

struct Inner {
    estate: Estate,
    stage: watch::Sender<Stage>,
    may_take: watch::Sender<bool>,
    is_main: watch::Sender<bool>,
    gone: watch::Sender<bool>,
    /// The other one waits for what this one says.
    is_asked: watch::Sender<bool>,
    state: OnceLock<Arc<Shared>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How far this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Prepared,
    Serving,
    Failed(String),
}

impl Predecessor {
    /// Takes the sockets from the process at the other end of standard input.
    ///
    /// # Errors
    /// There is none, or it says nothing sensible.
    pub(super) fn meet() -> io::Result<(Self, Sockets)> {
        let line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let (handed, sockets) = line::receive(&line)?;
        let inner = Arc::new(Inner {
            estate: handed.state,
            stage: watch::Sender::new(Stage::Starting),
            may_take: watch::Sender::new(false),
            is_main: watch::Sender::new(false),
            gone: watch::Sender::new(false),
            is_asked: watch::Sender::new(false),
            state: OnceLock::new(),
            thread: Mutex::default(),
        });
        let served = inner.clone();
        // Its own: it answers also while nothing else of this process runs yet, or any more.
        let thread = Builder::new().name("predecessor".into()).spawn(move || served.run(line))?;
        *inner.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        let sockets = handed.addresses.into_iter().zip(sockets).collect();
        Ok((Self(inner), Sockets::from_predecessor(sockets, handed.kept)))
    }

    /// Whether this configuration has the state that is handed over; if not, what differs.
    pub(in super::super) fn accepts(&self, config: &Config) -> Result<(), &'static str> {
        self.0.estate.differs(&Estate::of(config)).map_or(Ok(()), Err)
    }

    /// Says that this process can take over, and waits for the word. `false`: the other one has
    /// gone or wants it no more.
    pub(in super::super) async fn may_take(&self) -> bool {
        self.0.stage.send_replace(Stage::Prepared);
        let (mut may_take, mut gone) = (self.0.may_take.subscribe(), self.0.gone.subscribe());
        tokio::select! {
            biased;
            _ = may_take.wait_for(|may| *may) => true,
            _ = gone.wait_for(|gone| *gone) => false,
        }
    }

    /// Does its errands with this state from now on.
    pub(in super::super) fn open(&self, state: Arc<Shared>) {
        // Once for each process.
        let _ = self.0.state.set(state);
    }

    /// Says that this process serves, and waits until the service manager knows it.
    pub(in super::super) async fn took(&self) {
        self.0.stage.send_replace(Stage::Serving);
        let (mut is_main, mut gone) = (self.0.is_main.subscribe(), self.0.gone.subscribe());
        tokio::select! {
            _ = is_main.wait_for(|is| *is) => {}
            _ = gone.wait_for(|gone| *gone) => {}
        }
    }

    /// Whether it has ended.
    pub(in super::super) fn is_gone(&self) -> bool {
        *self.0.gone.borrow()
    }

    /// Says why this process can't take over. It serves on, then. Waits until it knows.
    pub fn refuse(&self, reason: &(impl ToString + ?Sized)) {
        self.0.stage.send_replace(Stage::Failed(reason.to_string()));
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let until = Instant::now() + PARTING;
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Inner {
    fn run(self: Arc<Self>, line: UnixStream) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.and_then(|runtime| runtime.block_on(self.clone().serve(line)));
        if let Err(error) = served {
            tracing::debug!(%error, "the line to the old process has failed");
        }
        self.gone.send_replace(true);
    }

    async fn serve(self: Arc<Self>, line: UnixStream) -> io::Result<()> {
        line.set_nonblocking(true)?;
        let line = TokioIo::new(tokio::net::UnixStream::from_std(line)?);
        let answering = self.clone();
        let service = service_fn(move |request| answering.clone().answer(request));
        let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(line, service);
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            served = serving.as_mut() => return served.map_err(io::Error::other),
            () = self.until_refused() => serving.as_mut().graceful_shutdown(),
        }
        serving.await.map_err(io::Error::other)
    }

    /// Waits until this process gives up and the other one is there to hear it.
    async fn until_refused(&self) {
        let (mut stage, mut is_asked) = (self.stage.subscribe(), self.is_asked.subscribe());
        let _ = stage.wait_for(|stage| matches!(stage, Stage::Failed(_))).await;
        let _ = timeout(PARTING, is_asked.wait_for(|asked| *asked)).await;
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await;
        let outcome = match body {
            Ok(body) => self.do_asked(&path, body.to_bytes()).await,
            Err(error) => Err(error.to_string()),
        };
        let (status, body) = match outcome {
            Ok(body) => (StatusCode::OK, body),
            Err(reason) => (StatusCode::CONFLICT, reason.into()),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        Ok(response)
    }

    async fn do_asked(&self, path: &str, body: Bytes) -> Result<Bytes, String> {
        match path {
            PREPARE => {
                self.is_asked.send_replace(true);
                self.reached(&Stage::Prepared).await?;
                let prepared = Prepared {
                    version: env!("CARGO_PKG_VERSION").into(),
                    commit: env!("TOLLGATE_COMMIT").into(),
                };
                serde_json::to_vec(&prepared).map(Bytes::from).map_err(|error| error.to_string())
            }
            TAKE => {
                self.may_take.send_replace(true);
                self.reached(&Stage::Serving).await.map(|()| Bytes::new())
            }
            MAIN => {
                self.is_main.send_replace(true);
                Ok(Bytes::new())
            }
            ERRAND => {
                let done = self.state()?.quotas.do_errand(&body).await;
                done.map_err(|error| error.to_string())
            }
            CHANGED => {
                let account = <[u8; 16]>::try_from(&*body).map_err(|error| error.to_string())?;
                let account = AccountKey::from_bytes(account);
                caching::account_changed(self.state()?, &account).await.map(|()| Bytes::new())
            }
            _ => Err(format!("{path} is not known to this version")),
        }
    }

    fn state(&self) -> Result<&Shared, String> {
        self.state.get().map(|state| &**state).ok_or_else(|| "the state is not open yet".to_owned())
    }

    /// Waits for a stage; tells why it can't be reached.
    async fn reached(&self, wanted: &Stage) -> Result<(), String> {
        let mut stage = self.stage.subscribe();
        let is_over = |stage: &Stage| stage == wanted || matches!(stage, Stage::Failed(_));
        match stage.wait_for(is_over).await.as_deref() {
            Ok(Stage::Failed(reason)) => Err(reason.clone()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
