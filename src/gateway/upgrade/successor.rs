use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::line::{self, CHANGED, ERRAND, Handed, TAKES_OVER};
use super::program::Program;
use crate::account::{AccountKey, CallError};
use crate::quota;

/// For the new process to make a change durable.
const CHANGE: Duration = Duration::from_secs(30);
/// For a process that failed to end by itself.
pub(super) const ENDING: Duration = Duration::from_secs(2);
/// Longest wait until it is known whether it takes over; beyond it something is very wrong.
const DECISION: Duration = Duration::from_secs(60);

/// The line to a process that is to take over from this one.
pub struct Successor {
    sender: SendRequest<Full<Bytes>>,
    phase: watch::Sender<Phase>,
}

/// Whether it has taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Undecided,
    Serves,
    Failed,
}

/// Why it did not do what was asked.
pub(super) enum Trouble {
    /// It says why.
    Refused(String),
    /// The line has broken: it has ended, or is about to.
    Broken(String),
}

impl Successor {
    /// Starts the program with the sockets.
    pub(super) async fn launch(
        program: &Program,
        handed: &Handed,
        sockets: &[TcpListener],
    ) -> Result<(Self, Child), String> {
        let place = program.path.display();
        let failed = |error: std::io::Error| format!("{place} can't be started: {error}");
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        // Sent before it starts: it waits in the line.
        line::hand(&ours, handed, sockets).map_err(failed)?;
        let mut child = start(program, theirs).map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let line = TokioIo::new(tokio::net::UnixStream::from_std(ours).map_err(failed)?);
        let Ok((sender, connection)) = http2::handshake(TokioExecutor::new(), line).await else {
            return Err(how_it_ended(&mut child).await);
        };
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the line to the new process has failed");
            }
        });
        Ok((Self { sender, phase: watch::Sender::new(Phase::Undecided) }, child))
    }

    /// Asks, and waits for the answer however long it takes.
    pub(super) async fn ask(&self, path: &str, body: Vec<u8>) -> Result<Bytes, Trouble> {
        let broken = |error: hyper::Error| Trouble::Broken(error.to_string());
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(broken)?;
        let request = Request::post(format!("http://successor{path}"))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Trouble::Broken(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(broken)?.to_bytes();
        match status {
            StatusCode::OK => Ok(body),
            _ => Err(Trouble::Refused(String::from_utf8_lossy(&body).into_owned())),
        }
    }

    /// It serves: what waits is sent to it.
    pub(super) fn serves(&self) {
        self.phase.send_replace(Phase::Serves);
    }

    /// It does not serve: whoever waits must turn to this process.
    pub(super) fn failed(&self) {
        self.phase.send_replace(Phase::Failed);
    }

    async fn took_over(&self) -> bool {
        let mut phase = self.phase.subscribe();
        let decided = phase.wait_for(|phase| *phase != Phase::Undecided);
        let decided = timeout(DECISION, decided).await;
        decided.is_ok_and(|phase| phase.is_ok_and(|phase| *phase == Phase::Serves))
    }

    /// Has it remove the answers about an account that was changed. `false`: it has not taken over.
    ///
    /// # Errors
    /// Why they may not be gone for good.
    pub async fn account_changed(&self, account: &AccountKey) -> Result<bool, String> {
        if !self.took_over().await {
            return Ok(false);
        }
        match timeout(CHANGE, self.ask(CHANGED, account.as_bytes().to_vec())).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(Trouble::Refused(why) | Trouble::Broken(why))) => Err(why),
            Err(_) => Err("the new process did not answer in time".to_owned()),
        }
    }
}

#[async_trait]
impl quota::Successor for Successor {
    async fn call(&self, errand: Vec<u8>, within: Duration) -> Result<Bytes, CallError> {
        if !self.took_over().await {
            return Err(CallError::NotReached("it has not taken over".to_owned()));
        }
        match timeout(within, self.ask(ERRAND, errand)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(Trouble::Refused(_))) => Err(CallError::Refused(StatusCode::CONFLICT)),
            Ok(Err(Trouble::Broken(why))) => Err(CallError::NoAnswer(why)),
            Err(_) => Err(CallError::NoAnswer("it did not answer in time".to_owned())),
        }
    }
}

/// The line to it has broken.
pub(super) async fn how_it_ended(child: &mut Child) -> String {
    match timeout(ENDING, child.wait()).await {
        Ok(Ok(status)) => {
            format!("the new process ended before it was ready ({status}); its log says why")
        }
        _ => "the new process closed the line before it was ready".to_owned(),
    }
}

fn start(program: &Program, line: UnixStream) -> std::io::Result<Child> {
    Command::new(&program.path)
        .args(&program.arguments)
        .env(TAKES_OVER, "1")
        // These speak of this process alone.
        .env_remove("WATCHDOG_PID")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_FDNAMES")
        .stdin(Stdio::from(OwnedFd::from(line)))
        .spawn()
}
