//! Who else counts: the other gateways of a fleet, and the process that takes over from this one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::errand::{Errand, Reply};
use crate::account::{CallError, Fleet};

/// A process that takes over all partitions of this one and does its errands from then on. Until
/// it is known to have taken over, calls wait.
#[async_trait]
pub trait Successor: Send + Sync {
    /// Sends an errand, to be done within a time from when it was sent.
    ///
    /// # Errors
    /// [`CallError::NotReached`] if it did not take over after all: then this process has the
    /// partitions again. See [`CallError`] for the others.
    async fn call(&self, errand: Vec<u8>, within: Duration) -> Result<Bytes, CallError>;
}

/// By this name [`Place::There`](super::Place::There) knows it. Gateways of a fleet are called
/// by an address.
pub(super) const SUCCESSOR: &str = "the process that takes over";

/// How long a claim of another process under this gateway's name is trouble: it makes the next one
/// sooner.
const NAMESAKE: Duration = Duration::from_secs(120);

/// Those who can be sent errands.
#[derive(Default)]
pub(super) struct Others {
    fleet: Option<Arc<Fleet>>,
    successor: Mutex<Option<Arc<dyn Successor>>>,
    namesake: Mutex<Option<Instant>>,
}

impl Others {
    pub fn new(fleet: Option<Arc<Fleet>>) -> Self {
        Self { fleet, successor: Mutex::default(), namesake: Mutex::default() }
    }

    /// Another process has claimed something under this gateway's name; says whether that is news.
    pub fn note_namesake(&self) -> bool {
        let news = !self.has_namesake();
        *self.namesake.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        news
    }

    /// Whether another process has this gateway's name.
    pub fn has_namesake(&self) -> bool {
        let seen = *self.namesake.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_some_and(|seen| seen.elapsed() < NAMESAKE)
    }

    pub fn set_successor(&self, successor: Option<Arc<dyn Successor>>) {
        *self.successor.lock().unwrap_or_else(PoisonError::into_inner) = successor;
    }

    pub fn successor(&self) -> Option<Arc<dyn Successor>> {
        self.successor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there are other gateways.
    pub fn is_fleet(&self) -> bool {
        self.fleet.is_some()
    }

    /// Whether an owner of this name can be sent anything.
    pub fn reaches(&self, owner: &str) -> bool {
        owner == SUCCESSOR || self.is_fleet()
    }

    /// Sends an errand.
    pub async fn send(
        &self,
        owner: &str,
        errand: &Errand,
        within: Duration,
    ) -> Result<Reply, CallError> {
        let malformed = |error: serde_json::Error| CallError::NoAnswer(error.to_string());
        let nobody = || CallError::NotReached("there is nobody of that name".to_owned());
        let text = serde_json::to_vec(errand).map_err(malformed)?;
        let reply = if owner == SUCCESSOR {
            self.successor().ok_or_else(nobody)?.call(text, within).await?
        } else {
            self.fleet.as_ref().ok_or_else(nobody)?.call(owner, text, within).await?
        };
        serde_json::from_slice(&reply).map_err(malformed)
    }
}
