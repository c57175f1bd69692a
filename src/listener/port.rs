use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use super::certificates::PemFiles;
use super::error::ListenerError;
use super::seats::Seats;
use super::tls::{CertificateView, TlsFront};
use crate::config::model::Listener;
use crate::observe::Metrics;
use crate::request::Refusal;

/// Writes the answer to an HTTP/1 request that a port refuses because its head must not be passed
/// on. The gateway is the only writer of answers, so it lends its pen.
pub trait EarlyAnswer: Send + Sync {
    /// A whole HTTP/1.1 response with `Connection: close`.
    fn answer(&self, request: &EarlyRequest<'_>) -> Bytes;
}

/// A request whose head must not be passed on, as far as it can be told. Texts are as the caller
/// sent them, and empty where nothing was found.
#[derive(Clone, Copy, Debug)]
pub struct EarlyRequest<'r> {
    /// Why it is refused.
    pub refusal: &'r Refusal,
    /// When its first byte came.
    pub began: Instant,
    /// Where it came from.
    pub address: IpAddr,
    /// The method.
    pub method: &'r str,
    /// What the Host field says.
    pub host: &'r str,
    /// The target up to its query, not decoded.
    pub path: &'r str,
}

/// One port and what it needs to let connections in.
pub(super) struct Port {
    address: SocketAddr,
    settings: ArcSwap<Settings>,
    seats: Arc<Seats>,
    metrics: Arc<Metrics>,
    answers: Arc<dyn EarlyAnswer>,
    closing: watch::Receiver<bool>,
    trouble: Mutex<Option<String>>,
}

/// The part of a port that a reload replaces; a connection keeps what it began with.
pub(super) struct Settings {
    pub listener: Arc<Listener>,
    pub tls: Option<TlsFront>,
}

/// A port, for the operators' views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerView {
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections that are open.
    pub connections: usize,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Its certificates.
    pub certificates: Vec<CertificateView>,
    /// Why changed certificate files are not in use, if so.
    pub trouble: Option<String>,
}

impl Settings {
    /// Reads the files that a listener names.
    pub fn load(listener: Arc<Listener>) -> Result<Self, ListenerError> {
        let tls = listener.tls.as_ref().map(|tls| {
            TlsFront::load(listener.address, tls, listener.http2, &PemFiles::read(tls)?)
        });
        Ok(Self { tls: tls.transpose()?, listener })
    }

    /// New settings if the files have changed.
    fn renewed(&self) -> Result<Option<Self>, ListenerError> {
        let (Some(front), Some(tls)) = (&self.tls, &self.listener.tls) else { return Ok(None) };
        let files = PemFiles::read(tls)?;
        if front.is_from(&files) {
            return Ok(None);
        }
        let listener = self.listener.clone();
        let front = TlsFront::load(listener.address, tls, listener.http2, &files)?;
        Ok(Some(Self { listener, tls: Some(front) }))
    }
}

impl Port {
    pub fn new(
        address: SocketAddr,
        settings: Settings,
        metrics: Arc<Metrics>,
        answers: Arc<dyn EarlyAnswer>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        Self {
            address,
            settings: ArcSwap::from_pointee(settings),
            seats: Arc::default(),
            metrics,
            answers,
            closing,
            trouble: Mutex::default(),
        }
    }

    /// Where it listens: with the port that the system gave, where the configuration says 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    pub fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub fn answers(&self) -> &dyn EarlyAnswer {
        &*self.answers
    }

    /// Whether connections that wait for a request are to end.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.clone()
    }

    pub fn replace(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
        self.note(None);
    }

    /// Takes certificate files into use if they have changed and are good; says whether. Bad ones
    /// leave those in use.
    pub fn refresh(&self) -> Result<bool, ListenerError> {
        match self.settings().renewed() {
            Ok(None) => {
                self.note(None);
                Ok(false)
            }
            Ok(Some(settings)) => {
                self.replace(settings);
                tracing::info!(address = %self.address, "changed certificates are in use");
                Ok(true)
            }
            Err(error) => {
                if self.note(Some(error.to_string())) {
                    tracing::error!(address = %self.address, %error, "certificates are kept");
                }
                Err(error)
            }
        }
    }

    /// Notes what is wrong with the files; says whether that is news.
    fn note(&self, trouble: Option<String>) -> bool {
        let mut noted = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *noted != trouble;
        *noted = trouble;
        is_news
    }

    pub fn view(&self) -> ListenerView {
        let settings = self.settings();
        let front = settings.tls.as_ref();
        ListenerView {
            address: self.address,
            connections: self.seats.taken(),
            tls: front.is_some(),
            certificates: front.map(|front| front.certificates().to_vec()).unwrap_or_default(),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
