//! Backends that fail, are slow, or are several.

mod choosing;
mod failing;
mod retries;
mod target;

use serde_json::Value;

use crate::support::gateway::base_config;
use crate::support::{Answer, Bank, Tollgate};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A gateway with one cluster more, `own`, and a public route to it that passes `/own/…` on.
async fn start(bank: &Bank, cluster: &str, routes: &str) -> Tollgate {
    Tollgate::start(&config(bank, cluster, routes)).await
}

fn config(bank: &Bank, cluster: &str, routes: &str) -> String {
    format!(
        "{}  own: {{ {cluster} }}\nroutes:\n  - id: own\n    match: {{ path: \"/own/{{*rest}}\" }}\n    \
         authenticate: none\n    cluster: own\n    rewrite: {{ path: \"/v1/{{rest}}\" }}\n{routes}",
        base_config(bank)
    )
}

/// A public route to the cluster `own` under `/ID/{account}`.
fn route(id: &str, rest: &str) -> String {
    format!(
        "  - id: {id}\n    match: {{ path: \"/{id}/{{account}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cluster: own\n{rest}"
    )
}

fn endpoint(bank: &Bank, service: &str) -> String {
    format!("127.0.0.1:{}", bank.port(service))
}

fn refused(answer: &Answer, status: u16, kind: &str) {
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (status, kind), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let text = String::from_utf8_lossy(&answer.body);
    assert!(!text.contains("127.0.0.1") && !text.contains("own"), "nothing internal: {text}");
}

/// What operators see of the cluster `own`.
async fn cluster(gateway: &Tollgate) -> Value {
    let clusters = gateway.view("/clusters").await;
    let own = clusters.as_array().unwrap().iter().find(|cluster| cluster["name"] == "own");
    own.unwrap_or_else(|| panic!("{clusters}")).clone()
}

/// The values of a field as the bank's `/echo` tells them.
fn field(echo: &Value, name: &str) -> Vec<String> {
    let fields = echo["headers"].as_array().unwrap().iter();
    let named = fields.filter(|field| field[0] == name);
    named.map(|field| field[1].as_str().unwrap().to_owned()).collect()
}
