//! What a request allocates on the paths that have budgets: the gateway runs in this process, and
//! every allocation of the process counts, also those of its journal, cache and log. Bounds, so
//! that nobody adds to them unseen; when a change needs less, lower them.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests before anything is counted: pools, caches and counters are there then.
const WARM_UP: usize = 200;
const COUNTED: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_request_allocates_no_more_than_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let bank = Bank::start(folder.path());
    let token = bank.token();
    let port = start_gateway(folder.path(), &bank.issuer(), start_backend());
    let mut client = Client::connect(port);
    for (what, path, most) in [
        ("proxied without policies", "/plain/1", 175.0),
        ("proxied with everything on", "/full/1", 245.0),
        ("answered from the cache", "/cached/1", 170.0),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: bank.example\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        (0..WARM_UP).for_each(|_| client.exchange(request.as_bytes()));
        let region = Region::new(ALLOCATOR);
        (0..COUNTED).for_each(|_| client.exchange(request.as_bytes()));
        let change = region.change();
        let each = (change.allocations + change.reallocations) as f64 / COUNTED as f64;
        let bytes = change.bytes_allocated as f64 / COUNTED as f64;
        println!("{what}: {each:.1} allocations, {bytes:.0} bytes");
        assert!(each <= most, "{what}: {each:.1} allocations for each request, {most} allowed");
    }
}

fn start_gateway(folder: &Path, issuer: &str, backend: u16) -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = folder.join("tollgate.yaml");
    let config = json!({
        "listen": [{ "address": format!("127.0.0.1:{port}") }],
        "state": { "directory": folder.join("state") },
        "observe": { "access_log": { "file": folder.join("access.log") }, "log": "warn" },
        "identity": { "bank": {
            "issuer": issuer, "audience": "accounts", "algorithms": ["ES256"],
        } },
        "clusters": { "backend": { "endpoints": [format!("127.0.0.1:{backend}")] } },
        "rates": { "generous": { "per": ["client"], "rate": "1000000/s", "burst": 1_000_000 } },
        "quotas": { "generous": {
            "per": ["account", "client"], "limit": 1_000_000_000, "window": "24h",
            "accuracy": { "fast": 1_000_000 },
        } },
        "routes": [
            route("full", json!({ "cluster": "backend" })),
            route("cached", json!({
                "cluster": "backend", "cache": { "fresh": "1h", "visible_to": "client" },
            })),
            {
                "id": "plain", "match": { "path": "/plain/{any}" },
                "authenticate": "none", "cluster": "backend",
            },
        ],
    });
    std::fs::write(&path, config.to_string()).unwrap();
    let config = tollgate::config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    let origin = tollgate::gateway::Origin::find().unwrap();
    let started = tollgate::gateway::start(&path, config, origin).unwrap();
    std::thread::spawn(move || started.serve());
    port
}

/// With everything on.
fn route(id: &str, more: Value) -> Value {
    let mut route = json!({
        "id": id, "match": { "path": format!("/{id}/{{account}}") },
        "authenticate": "bank", "scopes": ["accounts:read"], "rates": ["generous"],
        "account": "path.account", "quotas": ["generous"],
    });
    let (Value::Object(route), Value::Object(more)) = (&mut route, more) else { unreachable!() };
    route.extend(more);
    Value::Object(std::mem::take(route))
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
struct Client {
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

    fn exchange(&mut self, request: &[u8]) {
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
