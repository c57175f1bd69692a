use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::serve_error::ServeError;
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::{keys, state};
use crate::config::model::Config;
use crate::config::{self, Problems};
use crate::journal::topics::{self, TopicsError};
use crate::listener::PortsHandle;
use crate::observe::Event;

/// How long a reload waits for the first health checks of new clusters.
const FIRST_ROUND: Duration = Duration::from_secs(2);

/// Longest wait for what Kafka says of its topics.
const KAFKA_PATIENCE: Duration = Duration::from_secs(20);

/// Loads the configuration again and swaps it in whole, or changes nothing.
pub struct Reloader {
    path: PathBuf,
    shared: Arc<Shared>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    ports: PortsHandle,
    /// One reload at a time.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<LastReload>,
    seen: Mutex<Seen>,
    /// Told of each reload, whoever asked for it.
    pub(super) reloaded: Notify,
}

/// What the last load saw.
#[derive(Clone, PartialEq, Eq)]
struct Seen {
    /// Read or looked for.
    files: Vec<PathBuf>,
    /// The revision that the files make, or what is wrong with them.
    came_to: Result<Arc<str>, String>,
}

impl Seen {
    fn of(loaded: &Result<Config, Problems>) -> Self {
        match loaded {
            Ok(config) => Self::in_use(config),
            Err(problems) => {
                Self { files: problems.files().to_vec(), came_to: Err(problems.to_string()) }
            }
        }
    }

    fn in_use(config: &Config) -> Self {
        Self { files: config.files.clone(), came_to: Ok(config.revision.clone()) }
    }
}

/// How the last reload went.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LastReload {
    /// When, in RFC 3339; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why the new configuration is not in use; absent if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// This revision is in use now.
    Swapped(Arc<str>),
    /// The files say what was in use already.
    Unchanged,
}

impl Reloader {
    /// For the configuration at a path.
    pub fn new(
        path: PathBuf,
        shared: Arc<Shared>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        ports: PortsHandle,
    ) -> Self {
        let turn = tokio::sync::Mutex::default();
        let seen = Mutex::new(Seen::in_use(&snapshot.load().config));
        let (last, reloaded) = (Mutex::default(), Notify::new());
        Self { path, shared, snapshot, ports, turn, last, seen, reloaded }
    }

    /// The ports as they are now.
    pub(super) fn ports(&self) -> &PortsHandle {
        &self.ports
    }

    /// The configuration in use.
    pub(super) fn config(&self) -> Arc<Config> {
        self.snapshot.load().config.clone()
    }

    /// Loads, checks, builds and swaps. Must run where background tasks can be started.
    ///
    /// # Errors
    /// A text that says what is wrong and where; the configuration in use stays.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        let _turn = self.turn.lock().await;
        let outcome = self.take(config::load(&self.path)).await;
        // Whoever asks may have mended Kafka's topics and wants to see it.
        self.shared.topics.look_soon();
        outcome
    }

    /// Reloads if the files no longer say what the last load saw.
    pub async fn catch_up(&self) {
        let _turn = self.turn.lock().await;
        let loaded = config::load(&self.path);
        if Seen::of(&loaded) != self.seen() {
            // Refusals are logged, counted and shown.
            let _ = self.take(loaded).await;
        }
    }

    async fn take(&self, loaded: Result<Config, Problems>) -> Result<Reloaded, String> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::of(&loaded);
        self.shared.supervisor.reloading();
        let outcome = self.put_to_work(loaded).await;
        self.shared.supervisor.reloaded(outcome.as_ref().map(|_| ()).map_err(String::as_str));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = LastReload {
            at: Some(self.shared.clock.now().rfc3339()),
            error: outcome.as_ref().err().cloned(),
        };
        self.shared.metrics.record(Event::Reload { ok: outcome.is_ok() });
        match &outcome {
            Ok(Reloaded::Swapped(revision)) => tracing::info!(%revision, "configuration reloaded"),
            Ok(Reloaded::Unchanged) => tracing::debug!("configuration unchanged"),
            Err(error) => tracing::error!("reload refused, nothing changed:\n{error}"),
        }
        self.reloaded.notify_one();
        outcome
    }

    async fn put_to_work(&self, loaded: Result<Config, Problems>) -> Result<Reloaded, String> {
        let new = loaded.map_err(|problems| problems.to_string())?;
        let current = self.snapshot.load_full();
        if new.revision == current.config.revision {
            return Ok(Reloaded::Unchanged);
        }
        let restarts = config::restart_needed(&current.config, &new);
        if !restarts.is_empty() {
            return Err(format!("this needs a restart:\n  {}", restarts.join("\n  ")));
        }
        refuse_short_topics(&current.config, &new).await?;
        let revision = new.revision.clone();
        let next = Snapshot::build(Arc::new(new), &self.shared.ground(), Some(&current))
            .map_err(|error| error.to_string())?;
        let ports =
            self.ports.prepare(&next.config.all_listeners()).map_err(|error| error.to_string())?;
        let cache = keys::cache_settings(&next.config.state.directory, &next.config.cache)
            .map_err(|error| error.to_string())?;
        self.shared.vault.reconfigure(&cache).map_err(|error| error.to_string())?;
        self.shared.vault.know_routes(&next.config.routes);
        next.clusters.start(FIRST_ROUND).await;
        ports.commit();
        if let (Some(fleet), Some(settings)) = (&self.shared.fleet, &next.config.fleet) {
            fleet.take_files(settings);
        }
        self.snapshot.store(Arc::new(next));
        Ok(Reloaded::Swapped(revision))
    }

    /// The files in which a change is a reason to load again: the main one and whatever the last
    /// reload read or looked for, so that the correction of a refused file is seen too.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.seen().files;
        files.push(self.path.clone());
        files
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the last reload went.
    pub fn last(&self) -> LastReload {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Kafka's topics were looked at for the windows that are in use; a longer one they may not outlive,
/// and what they lose of it is admitted again. So where that can't be told, it is not used.
async fn refuse_short_topics(current: &Config, new: &Config) -> Result<(), String> {
    if new.kafka.is_none() || !topics::counts_longer(new, current) {
        return Ok(());
    }
    let looked = timeout(KAFKA_PATIENCE, state::refuse_unsafe_topics(new, topics::PATIENCE));
    let reason = match looked.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error @ ServeError::Topics(TopicsError::Unsafe(_)))) => {
            return Err(error.to_string());
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", KAFKA_PATIENCE.as_secs()),
    };
    Err(format!(
        "the longest window is longer than before, and Kafka can't be asked whether its topics \
         outlive it: {reason}. Reload again when it can"
    ))
}
