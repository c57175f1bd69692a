//! The program's own log: JSON lines on standard error, those of the libraries among them.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use tracing::level_filters::LevelFilter;
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::EnvFilter;

/// What libraries tell beneath warnings is for those who write them. Whoever names one in the
/// filter gets what he asks for.
const LIBRARIES: &str = "fjall=warn,lsm_tree=warn,pingora_core=warn,pingora_proxy=warn,\
                         pingora_cache=warn,pingora_load_balancing=warn";

/// Starts it, with what the configuration wants of it.
pub(super) fn start(filter: &str) {
    // The check has read the filter; RUST_LOG wins for the case that nobody may edit the file.
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let filter = wanted.as_deref().unwrap_or(filter);
    let filter = EnvFilter::new(format!("{LIBRARIES},{filter}"));
    let json = tracing_subscriber::fmt().json().with_env_filter(filter);
    let lines = json.with_writer(std::io::stderr).finish();
    // Both fail only if a log was started before; that one goes on then.
    let _ = tracing::subscriber::set_global_default(lines);
    let _ = log::set_boxed_logger(Box::new(Libraries(LogTracer::new())));
    log::set_max_level(LevelFilter::current().as_log());
    std::panic::set_hook(Box::new(tell_panic));
}

/// Libraries' lines without their source files: those are paths of the machine that built this.
struct Libraries(LogTracer);

impl log::Log for Libraries {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut told = log::Record::builder();
        told.metadata(record.metadata().clone()).args(*record.args());
        self.0.log(&told.build());
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// A panic is a line like any other.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let at = panic.location().map(|at| format!("{}:{}", source(at.file()), at.line()));
    let thread = std::thread::current();
    let (thread, at) = (thread.name().unwrap_or_default(), at.unwrap_or_default());
    // Only where RUST_BACKTRACE asks for it.
    let trace = Backtrace::capture();
    match trace.status() {
        BacktraceStatus::Captured => {
            tracing::error!(thread, at, %trace, "panic: {message}");
        }
        _ => tracing::error!(thread, at, "panic: {message}"),
    }
}

/// A source file from its crate on.
fn source(file: &str) -> &str {
    match file.split_once("/registry/src/") {
        Some((_, rest)) => rest.split_once('/').map_or(rest, |(_, file)| file),
        None => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_file_is_named_from_its_crate_on() {
        let registry = "/home/builder/.cargo/registry/src/index.crates.io-1949/fjall-3.1/src/a.rs";
        assert_eq!(source(registry), "fjall-3.1/src/a.rs");
        assert_eq!(source("src/cli/log.rs"), "src/cli/log.rs");
    }
}
