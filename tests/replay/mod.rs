//! The same requests again and again: a gateway's configuration with the paths that have budgets, a
//! backend, an identity provider, and a client. What tests count by it is the gateway's alone.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take; far above what it takes, so that only a failure reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The paths that have budgets: a name, and what is asked.
pub const WORKS: [(&str, &str); 4] = [
    ("proxied without policies", "/plain/1"),
    ("proxied with everything on", "/full/1"),
    ("answered from the cache", "/cached/1"),
    ("the same, counted under a condition", "/conditional/1"),
];

/// All that a gateway needs to be asked, but the gateway.
pub struct Replay {
    folder: TempDir,
    bank: Bank,
    port: u16,
}

impl Replay {
    /// Starts the identity provider and the backend, and writes the configuration.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bank = Bank::start(folder.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = configuration(folder.path(), port, &bank.issuer(), start_backend());
        let replay = Self { folder, bank, port };
        std::fs::write(replay.config(), config.to_string()).unwrap();
        replay
    }

    /// The configuration of the gateway.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("tollgate.yaml")
    }

    /// A client, once the gateway is there.
    pub fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// What the client sends.
    pub fn request(&self, path: &str) -> Vec<u8> {
        let token = self.bank.token();
        format!(
            "GET {path} HTTP/1.1\r\nhost: bank.example\r\nauthorization: Bearer {token}\r\n\r\n"
        )
        .into_bytes()
    }
}

fn configuration(folder: &Path, port: u16, issuer: &str, backend: u16) -> Value {
    json!({
        "listen": [{ "address": format!("127.0.0.1:{port}") }],
        "state": { "directory": folder.join("state") },
        "observe": { "access_log": { "file": folder.join("access.log") }, "log": "warn" },
        "identity": { "bank": {
            "issuer": issuer, "audience": "accounts", "algorithms": ["ES256"],
        } },
        "clusters": { "backend": { "endpoints": [format!("127.0.0.1:{backend}")] } },
        "rates": { "generous": { "per": ["client"], "rate": "1000000/s", "burst": 1_000_000 } },
        "quotas": {
            "generous": quota(json!({})),
            "unattended": quota(json!({
                "when": "!('x-customer' in request.headers) || !isIP(request.headers['x-customer'])",
            })),
        },
        "routes": [
            route("full", json!({})),
            route("cached", json!({ "cache": { "fresh": "1h", "visible_to": "client" } })),
            route("conditional", json!({
                "cache": { "fresh": "1h", "visible_to": "client" }, "quotas": ["unattended"],
            })),
            {
                "id": "plain", "match": { "path": "/plain/{any}" },
                "authenticate": "none", "cluster": "backend",
            },
        ],
    })
}

/// With everything on.
fn route(id: &str, more: Value) -> Value {
    let route = json!({
        "id": id, "match": { "path": format!("/{id}/{{account}}") },
        "authenticate": "bank", "scopes": ["accounts:read"], "rates": ["generous"],
        "account": "path.account", "quotas": ["generous"], "cluster": "backend",
    });
    with(route, more)
}

fn quota(more: Value) -> Value {
    let quota = json!({
        "per": ["account", "client"], "limit": 1_000_000_000, "window": "24h",
        "accuracy": { "fast": 1_000_000 },
    });
    with(quota, more)
}

fn with(mut one: Value, more: Value) -> Value {
    let (Value::Object(members), Value::Object(more)) = (&mut one, more) else { unreachable!() };
    members.extend(more);
    one
}

/// Answers every request at once, and allocates nothing for it.
fn start_backend() -> u16 {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"balance\": 10}";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 16_384];
                while read_head(&mut connection, &mut buffer).is_some() {
                    if connection.write_all(ANSWER).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// Reads until a head is whole; its end and all that was read. `None`: the connection ended.
fn read_head(from: &mut TcpStream, buffer: &mut [u8]) -> Option<(usize, usize)> {
    let mut filled = 0;
    loop {
        match from.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return None,
            Ok(count) => filled += count,
        }
        let end = buffer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some(end) = end {
            return Some((end + 4, filled));
        }
    }
}

/// Asks one request after the other on one connection, and allocates nothing for it.
pub struct Client {
    connection: TcpStream,
    buffer: Box<[u8; 65_536]>,
}

impl Client {
    fn connect(port: u16) -> Self {
        let connection =
            eventually("the gateway's port", || TcpStream::connect(("127.0.0.1", port)).ok());
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { connection, buffer: Box::new([0; 65_536]) }
    }

    /// One request and its answer, which must be a 200.
    pub fn exchange(&mut self, request: &[u8]) {
        self.connection.write_all(request).unwrap();
        let (end, mut filled) = read_head(&mut self.connection, &mut self.buffer[..]).unwrap();
        let head = &self.buffer[..end];
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(head));
        let name = b"content-length: ";
        let at = head.windows(name.len()).position(|text| text.eq_ignore_ascii_case(name)).unwrap();
        let digits = head[at + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let length = digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        while filled < end + length {
            filled += self.connection.read(&mut self.buffer[filled..]).unwrap();
        }
    }
}

/// A bank in a box, for its identity provider.
struct Bank {
    process: Child,
    ports: Value,
}

impl Bank {
    fn start(folder: &Path) -> Self {
        let file = folder.join("ports.json");
        let process = Command::new(env!("CARGO_BIN_EXE_demo-bank"))
            .args(["--port-base", "0", "--ports-file"])
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let ports = eventually("the bank's ports", || {
            serde_json::from_slice(&std::fs::read(&file).ok()?).ok()
        });
        Self { process, ports }
    }

    fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports["identity"])
    }

    fn token(&self) -> String {
        let port = u16::try_from(self.ports["identity"].as_u64().unwrap()).unwrap();
        let form = "grant_type=client_credentials&scope=accounts:read\
                    &client_id=budget-app&client_secret=budget-secret";
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(
            connection,
            "POST /token HTTP/1.1\r\nhost: bank\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
            form.len()
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let json = answer.get(answer.find('{').unwrap()..=answer.rfind('}').unwrap()).unwrap();
        let granted: Value = serde_json::from_str(json).unwrap();
        granted["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not there within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
