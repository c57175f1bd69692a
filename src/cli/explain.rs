use std::{fs, io};

use super::Exit;
use super::args::ExplainArgs;
use crate::config;
use crate::gateway::{Explanation, Question, explain as explain_request};

/// Prints what would happen to a request.
pub(super) fn explain(request: &ExplainArgs) -> Exit {
    let config = match config::load(&request.config) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Exit::Refused;
        }
    };
    let body = match body(request.body.as_deref().unwrap_or_default()) {
        Ok(body) => body,
        Err(error) => {
            eprintln!("the body can't be read: {error}");
            return Exit::Usage;
        }
    };
    let question = match Question::parse(&request.method, &request.url, &request.headers, body) {
        Ok(question) => question,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    let explanation = explain_request(&config, &question);
    if request.json {
        println!("{:#}", serde_json::json!(explanation));
    } else {
        print(&explanation);
    }
    if explanation.refused.is_some() { Exit::Refused } else { Exit::Done }
}

/// A text, or the content of the file that it names.
fn body(text: &str) -> io::Result<Vec<u8>> {
    match text.strip_prefix('@') {
        Some(file) => fs::read(file),
        None => Ok(text.as_bytes().to_vec()),
    }
}

fn print(explanation: &Explanation) {
    for finding in &explanation.stages {
        println!("{:<9} {:<7} {}", finding.stage, finding.decision, finding.why);
    }
}
