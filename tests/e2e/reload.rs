//! A changed configuration takes effect whole and loses nothing; a wrong one changes nothing. And
//! the orderly end of a gateway.

mod ending;
mod files;
mod serving;

use serde_json::{Value, json};

use crate::support::gateway::base_config;
use crate::support::wire::metric;
use crate::support::{Bank, Tollgate, eventually};

/// A public route with a fixed answer: its text tells which configuration is in use.
fn saying(path: &str, text: &str) -> String {
    format!(
        "  - id: {path}\n    match: {{ path: /{path} }}\n    authenticate: none\n    \
         answer: {{ body: \"{text}\" }}\n"
    )
}

fn config(bank: &Bank, text: &str) -> String {
    format!("{}routes:\n{}", base_config(bank), saying("version", text))
}

async fn until_says(gateway: &Tollgate, path: &str, text: &str) {
    eventually(&format!("{path} to say {text}"), async || {
        let answer = gateway.get(path, "").await;
        let told = String::from_utf8(answer.body).unwrap();
        if answer.status == 200 && told == text { Ok(()) } else { Err((answer.status, told)) }
    })
    .await;
}

async fn says(gateway: &Tollgate, path: &str) -> String {
    String::from_utf8(gateway.get(path, "").await.body).unwrap()
}

async fn reload(gateway: &Tollgate) -> Value {
    let answer = gateway.command("/reload", json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The state of the last reload: its error, once the metric says the same.
async fn until_refused(gateway: &Tollgate) -> String {
    eventually("a refused reload", async || {
        let view = gateway.view("/config").await["last_reload"].clone();
        let refused = metric(gateway, "tollgate_last_reload_ok").await == 0;
        match view["error"].as_str() {
            Some(error) if refused => Ok(error.to_owned()),
            _ => Err((view, refused)),
        }
    })
    .await
}
