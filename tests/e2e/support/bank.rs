use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Process, eventually};

/// A bank in a box on ports of its own, without delay until one is set.
pub struct Bank {
    _process: Process,
    _folder: TempDir,
    ports: Value,
    client: reqwest::Client,
}

impl Bank {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports_file = folder.path().join("ports.json");
        let process = Process::start(
            Command::new(env!("CARGO_BIN_EXE_demo-bank"))
                .args(["--port-base", "0", "--delay", "0ms", "--ports-file"])
                .arg(&ports_file)
                .stdout(Stdio::null()),
        );
        let ports = eventually("the bank's ports", async || read_json(&ports_file)).await;
        Self { _process: process, _folder: folder, ports, client: reqwest::Client::new() }
    }

    pub fn port(&self, service: &str) -> u16 {
        self.ports[service].as_u64().unwrap_or_else(|| panic!("no service {service}")) as u16
    }

    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port("identity"))
    }

    fn control(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port("control"))
    }

    pub async fn put(&self, path: &str, body: Value) {
        let answer = self.client.put(self.control(path)).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.client.post(self.control(path)).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap_or(Value::Null)
    }

    /// A view of the control port.
    pub async fn get(&self, path: &str) -> Value {
        self.client.get(self.control(path)).send().await.unwrap().json().await.unwrap()
    }

    pub async fn fault(&self, service: &str, fault: &str) {
        self.put(&format!("/fault/{service}"), json!({ "fault": fault })).await;
    }

    pub async fn delay(&self, milliseconds: u64) {
        self.put("/delay", json!({ "ms": milliseconds })).await;
    }

    /// Calls of all services so far.
    pub async fn calls(&self) -> u64 {
        let counts: Value =
            self.client.get(self.control("/counts")).send().await.unwrap().json().await.unwrap();
        counts["total"].as_u64().unwrap()
    }

    /// Delay, faults, counters and transfers.
    pub async fn state(&self) -> Value {
        self.client.get(self.control("/state")).send().await.unwrap().json().await.unwrap()
    }

    /// The sum of one counter over all services: `requests`, `inFlight`, `abandoned`.
    pub async fn sum(&self, counter: &str) -> u64 {
        let state = self.state().await;
        let services = state["services"].as_object().unwrap();
        services.values().map(|service| service[counter].as_u64().unwrap()).sum()
    }

    /// A token as the identity provider gives it to a client.
    pub async fn token(&self, client: &str) -> String {
        let secret = client.replace("-app", "-secret").replace("client-", "secret-");
        let answer = self
            .client
            .post(format!("{}/token", self.issuer()))
            .basic_auth(client, Some(secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials&scope=accounts:read")
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        let granted: Value = answer.json().await.unwrap();
        granted["access_token"].as_str().unwrap().to_owned()
    }

    /// A token made to measure; see the bank's `/mint`.
    pub async fn mint(&self, wish: Value) -> String {
        self.post("/mint", wish).await["access_token"].as_str().unwrap().to_owned()
    }
}

pub fn read_json(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}
