use std::net::TcpListener;
use std::path::Path;

use rustix::fs::Mode;

use super::output::complain;
use super::{Exit, limits, log};
use crate::admin::{AdminPort, router};
use crate::config;
use crate::gateway::{self, Origin, Started};

/// Serves until stopped.
pub(super) fn run(path: &Path) -> Exit {
    // First of all: it looks into the environment, which other threads must not see change.
    let origin = match Origin::find() {
        Ok(origin) => origin,
        Err(error) => return cannot_start(&error),
    };
    let predecessor = origin.predecessor.clone();
    let refuse = |reason: &dyn ToString| {
        if let Some(predecessor) = &predecessor {
            predecessor.refuse(reason);
        }
    };
    let config = match config::load(path) {
        Ok(config) => config,
        Err(problems) => {
            complain(&problems);
            refuse(&problems);
            return Exit::Refused;
        }
    };
    log::start(&config.observe.log);
    limits::raise_open_files(&config);
    limits::warn_of_little_memory(&config);
    // Counts, keys and kept answers are this user's alone, in whatever way a file of them is made.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let mut started = match gateway::start(path, config, origin) {
        Ok(started) => started,
        Err(error) => {
            refuse(&error);
            return cannot_start(&error);
        }
    };
    if let Some(socket) = started.admin_socket() {
        serve_admin(&started, socket);
    }
    started.serve();
    Exit::Done
}

fn cannot_start(error: &impl std::fmt::Display) -> Exit {
    complain(format_args!("tollgate can't start: {error}"));
    Exit::Failed
}

fn serve_admin(started: &Started, socket: TcpListener) {
    let control = started.control();
    let gate = control.gate().clone();
    started.runtime().spawn(AdminPort::new(socket).serve(router(control), gate));
}
