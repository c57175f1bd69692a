use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::Exit;
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
    start_log(&config.observe.log);
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

/// The program's own log: JSON lines on standard error, Pingora's among them.
fn start_log(filter: &str) {
    // The check has read the filter; RUST_LOG wins for the case that nobody may edit the file.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
}
