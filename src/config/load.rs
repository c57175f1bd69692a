use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::model::Config;
use super::problem::Problems;
use super::report::Report;
use super::schema::form;
use super::source::{self, Environment, Tree};
use super::{check, structure};

/// Stack of the thread that loads; only what is used takes memory.
const STACK: usize = 64 << 20;

/// Reads, checks and returns a configuration with all that it includes and refers to.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(path: &Path) -> Result<Config, Problems> {
    load_with(path, &Environment::new(&|name| std::env::var(name).ok()))
}

/// [`load`] for several configurations that have nothing to do with each other.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn load_many(paths: &[PathBuf]) -> Result<Vec<Config>, Problems> {
    let mut problems = Problems::default();
    let mut configs = Vec::with_capacity(paths.len());
    for path in paths {
        match load(path) {
            Ok(config) => configs.push(config),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(configs) } else { Err(problems) }
}

/// [`load`] with the main file's text from elsewhere: `path` only gives it a name and a folder.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load_text(path: &Path, text: &str) -> Result<Config, Problems> {
    apart(path, || {
        let environment = Environment::new(&|name| std::env::var(name).ok());
        let mut report = Report::default();
        let tree = source::load_text(path, text, &environment, &mut report);
        judge(tree, report)
    })
}

/// [`load`] with another environment than the process's.
pub(super) fn load_with(path: &Path, environment: &Environment<'_>) -> Result<Config, Problems> {
    apart(path, || {
        let mut report = Report::default();
        let tree = source::load(path, environment, &mut report);
        judge(tree, report)
    })
}

fn judge(tree: Option<Tree>, mut report: Report) -> Result<Config, Problems> {
    let Some(mut tree) = tree else { return Err(report.into_problems()) };
    let broken = structure::check(&mut tree.root, form(), &mut report);
    match check::check(&tree.root, &broken, &mut report) {
        Some(config) => Ok(Config {
            shown: tree.shown.into(),
            revision: revision(&report).into(),
            files: report.files().to_vec(),
            warnings: report.warnings().to_vec(),
            ..config
        }),
        None => Err(report.into_problems()),
    }
}

/// Runs `work` on a thread with room for deeply nested input, which parsers meet with recursion. A
/// panic in one of them is a problem of the file, not the end of the process.
fn apart(
    path: &Path,
    work: impl FnOnce() -> Result<Config, Problems> + Send,
) -> Result<Config, Problems> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("config-load".into()).stack_size(STACK);
        match thread.spawn_scoped(scope, work).map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(failed(path, "the file made the check itself fail")),
            Err(error) => Err(failed(path, &format!("the check can't start: {error}"))),
        }
    })
}

fn failed(path: &Path, message: &str) -> Problems {
    let mut report = Report::default();
    report.error_with_file(path, message);
    report.into_problems()
}

/// SHA-256 over all files, each with its length before it.
fn revision(report: &Report) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(bytes);
    };
    for source in report.sources() {
        add(source.text.as_bytes());
    }
    for digest in report.others() {
        add(digest);
    }
    let digest = context.finish();
    hex::encode(digest)
}
