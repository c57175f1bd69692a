use std::path::Path;

use rustix::fs::Mode;

use super::{Exit, limits, log};
use crate::admin::{AdminPort, router};
use crate::config;
use crate::gateway::{self, Started};

/// Serves until stopped.
pub(super) fn run(path: &Path) -> Exit {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Exit::Refused;
        }
    };
    log::start(&config.observe.log);
    limits::raise_open_files(&config);
    // Counts, keys and kept answers are this user's alone, in whatever way a file of them is made.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let admin = config.admin.clone();
    let started = match gateway::start(path, config) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("tollgate can't start: {error}");
            return Exit::Failed;
        }
    };
    if let Some(admin) = admin
        && let Err(error) = serve_admin(&started, &admin)
    {
        eprintln!("tollgate can't start: admin.address {}: {error}", admin.address);
        return Exit::Failed;
    }
    started.serve();
    Exit::Done
}

fn serve_admin(started: &Started, admin: &config::model::Admin) -> std::io::Result<()> {
    let port = started.runtime().block_on(AdminPort::bind(admin.address))?;
    let router = router(started.control());
    started.runtime().spawn(port.serve(router));
    Ok(())
}
