use std::path::PathBuf;

use serde_json::json;

use super::output::complain;
use super::{Exit, Output};
use crate::config;

/// Judges configurations and prints every problem, and what should be seen to though nothing is wrong
/// yet: that alone refuses none.
pub(super) fn check(out: &mut Output, files: &[PathBuf], json: bool) -> Exit {
    let mut exit = Exit::Done;
    let mut report = Vec::new();
    for file in files {
        match config::load(file) {
            Ok(config) if json => {
                let warnings = &config.warnings;
                report.push(json!({ "file": file, "problems": [], "warnings": warnings }));
            }
            Ok(config) => {
                config.warnings.iter().for_each(complain);
                let (file, routes) = (file.display(), config.routes.len());
                out.line(format_args!("{file}: ok ({routes} routes)"));
            }
            Err(problems) => {
                exit = Exit::Refused;
                if json {
                    report.push(json!({ "file": file, "problems": problems.to_json() }));
                } else {
                    complain(&problems);
                }
            }
        }
    }
    if json {
        out.line(format_args!("{:#}", json!(report)));
    }
    exit
}

/// Prints the JSON Schema.
pub(super) fn schema(out: &mut Output) -> Exit {
    out.line(format_args!("{:#}", config::written_schema()));
    Exit::Done
}

/// Prints the reference page.
pub(super) fn reference(out: &mut Output) -> Exit {
    out.text(config::reference_markdown());
    Exit::Done
}
