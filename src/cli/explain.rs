use std::{fs, io};

use super::args::ExplainArgs;
use super::output::complain;
use super::{Exit, Output, admin_client};
use crate::config;
use crate::gateway::{Explanation, Finding, Question, explain as explain_request};

/// Prints what would happen to a request.
pub(super) fn explain(out: &mut Output, request: &ExplainArgs) -> Exit {
    let config = match config::load(&request.config) {
        Ok(config) => config,
        Err(problems) => {
            complain(&problems);
            return Exit::Refused;
        }
    };
    let body = match body(request.body.as_deref().unwrap_or_default()) {
        Ok(body) => body,
        Err(error) => {
            complain(format_args!("the body can't be read: {error}"));
            return Exit::Usage;
        }
    };
    let question = match Question::parse(&request.method, &request.url, &request.headers, body) {
        Ok(question) => question,
        Err(error) => {
            complain(&error);
            return Exit::Usage;
        }
    };
    let mut explanation = explain_request(&config, &question);
    let named = name_owner(&mut explanation, request.admin.as_deref());
    if request.json {
        out.line(format_args!("{:#}", serde_json::json!(explanation)));
    } else {
        print(out, &explanation);
    }
    if let Err(error) = named {
        complain(format_args!("nobody could be asked who owns the account: {error}"));
        return Exit::Unreachable;
    }
    if explanation.refused.is_some() { Exit::Refused } else { Exit::Done }
}

/// Adds what a running gateway knows: who owns the account.
fn name_owner(
    explanation: &mut Explanation,
    admin: Option<&str>,
) -> Result<(), Box<dyn std::error::Error>> {
    let fleet = explanation.stages.iter_mut().find(|finding| finding.stage == "fleet");
    let Some(finding) = fleet else {
        if admin.is_some() {
            complain("nobody was asked: no other gateway is concerned with this request");
        }
        return Ok(());
    };
    let Some(account) = &explanation.account else { return Ok(()) };
    let owner = match admin {
        Some(admin) => admin_client::owner_of(admin, account.as_str())?,
        None => "--admin asks a gateway who that is".to_owned(),
    };
    finding.why.push_str(": ");
    finding.why.push_str(&owner);
    Ok(())
}

/// A text, or the content of the file that it names.
fn body(text: &str) -> io::Result<Vec<u8>> {
    match text.strip_prefix('@') {
        Some(file) => fs::read(file),
        None => Ok(text.as_bytes().to_vec()),
    }
}

fn print(out: &mut Output, explanation: &Explanation) {
    for finding in &explanation.stages {
        let Finding { stage, decision, why } = finding;
        out.line(format_args!("{stage:<9} {decision:<7} {why}"));
    }
}
