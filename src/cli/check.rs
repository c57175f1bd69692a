use std::path::PathBuf;

use serde_json::json;

use super::Exit;
use crate::config;

/// Judges configurations and prints every problem.
pub(super) fn check(files: &[PathBuf], json: bool) -> Exit {
    let mut exit = Exit::Done;
    let mut report = Vec::new();
    for file in files {
        match config::load(file) {
            Ok(_) if json => report.push(json!({ "file": file, "problems": [] })),
            Ok(config) => {
                println!("{}: ok ({} routes)", file.display(), config.routes.len());
            }
            Err(problems) => {
                exit = Exit::Refused;
                if json {
                    report.push(json!({ "file": file, "problems": problems.to_json() }));
                } else {
                    eprintln!("{problems}");
                }
            }
        }
    }
    if json {
        println!("{:#}", json!(report));
    }
    exit
}

/// Prints the JSON Schema.
pub(super) fn schema() -> Exit {
    println!("{:#}", config::written_schema());
    Exit::Done
}

/// Prints the reference page.
pub(super) fn reference() -> Exit {
    print!("{}", config::reference_markdown());
    Exit::Done
}
