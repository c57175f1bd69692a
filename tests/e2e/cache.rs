//! The account cache, as callers and operators see it.

mod disk;
mod keeping;
mod poisoning;
mod purge;
mod sharing;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::gateway::base_config;
use crate::support::{Backend, Bank, Tollgate, eventually};

const SERVICES: [&str; 5] = ["checking", "savings", "cards", "loans", "investments"];

fn config(bank: &Bank, rest: &str) -> String {
    base_config(bank) + rest
}

/// A route of the checking service's accounts under `/ID/{account}`.
fn route(id: &str, cache: &str) -> String {
    format!(
        "  - id: {id}\n    match: {{ path: \"/{id}/{{account}}\" }}\n    authenticate: bank\n    \
         account: path.account\n    cache: {{ {cache} }}\n    cluster: checking\n    \
         rewrite: {{ path: \"/v1/{{account}}\" }}\n"
    )
}

/// A composition of all services' accounts under `/ID/{account}`.
fn composed(id: &str, cache: &str, part: &str) -> String {
    let mut text = format!(
        "  - id: {id}\n    match: {{ path: \"/{id}/{{account}}\", methods: [GET] }}\n    authenticate: bank\n    \
         account: path.account\n    cache: {{ {cache} }}\n    compose:\n      parts:\n"
    );
    for service in SERVICES {
        text.push_str(&format!(
            "        {service}: {{ cluster: {service}, path: \"/v1/{{account}}\"{part} }}\n"
        ));
    }
    text
}

async fn token(bank: &Bank, client: &str, subject: &str) -> String {
    bank.mint(json!({ "claims": { "client_id": client, "sub": subject } })).await
}

async fn until_on_disk(gateway: &Tollgate, entries: u64) {
    eventually("the answers to be on disk", async || {
        let vault = gateway.view("/cache").await;
        let written = vault["disk_entries"] == entries && vault["queued"] == 0;
        if written { Ok(()) } else { Err(vault) }
    })
    .await;
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// A public route to a backend of the test's own: `/own/{account}/{kind}`.
fn own_route(backend: &Backend, before: &str, cache: &str) -> String {
    format!(
        "  own: {{ endpoints: [127.0.0.1:{}] }}\n{before}routes:\n  - id: own\n    \
         match: {{ path: \"/{{account}}/{{kind}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cache: {{ {cache} }}\n    cluster: own\n",
        backend.port()
    )
}
