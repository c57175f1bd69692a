use std::env;
use std::io;

use super::line::TAKES_OVER;
use super::predecessor::Predecessor;
use crate::listener::{ListenerError, Sockets};

/// What a process finds at its start.
pub struct Origin {
    /// The sockets that somebody has opened for it.
    pub sockets: Sockets,
    /// The process that it takes over from; `None`: it is the first.
    pub predecessor: Option<Predecessor>,
}

/// Why a process can't find out what it was started for.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// What the service manager passed is no good.
    #[error(transparent)]
    Sockets(#[from] ListenerError),
    /// It should take over from another process, and that one is not there.
    #[error("{TAKES_OVER} is set, but no process hands over on standard input: {0}")]
    Predecessor(#[from] io::Error),
}

impl Origin {
    /// Looks into the environment and changes it: to be called once, before any other thread is
    /// started.
    ///
    /// # Errors
    /// See [`OriginError`].
    pub fn find() -> Result<Self, OriginError> {
        if env::var_os(TAKES_OVER).is_none() {
            return Ok(Self { sockets: Sockets::from_manager()?, predecessor: None });
        }
        let (predecessor, sockets) = Predecessor::meet()?;
        Ok(Self { sockets, predecessor: Some(predecessor) })
    }
}
