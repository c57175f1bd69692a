//! What the service manager sees, and what the gateway makes of the limits that it is given.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::support::gateway::base_config;
use crate::support::{Bank, Tollgate, eventually, own_address};

const HELLO: &str = "routes:\n  - { id: hello, match: { path: /hello }, authenticate: none, answer: { body: hello } }\n";

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, folder }
    }

    /// As it would set it for the gateway.
    fn environment(&self) -> Vec<(String, String)> {
        let socket = self.folder.path().join("notify").display().to_string();
        [("NOTIFY_SOCKET".into(), socket), ("WATCHDOG_USEC".into(), "300000".into())].into()
    }

    /// Waits for a message with a line that begins so; what was in it, and in all before it.
    async fn told(&self, line: &str) -> Vec<String> {
        let mut all = Vec::new();
        eventually(line, async || {
            let mut bytes = [0; 4096];
            while let Ok(length) = self.socket.recv(&mut bytes) {
                all.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
                if all.last().unwrap().lines().any(|one| one.starts_with(line)) {
                    return Ok(());
                }
            }
            Err(())
        })
        .await;
        all
    }
}

#[tokio::test]
async fn the_service_manager_is_told_of_start_reload_life_and_stop() {
    let bank = Bank::start().await;
    let manager = Manager::new();
    let config = base_config(&bank) + HELLO;
    let gateway = Tollgate::start_in(own_address(), &config, manager.environment());
    manager.told("READY=1").await;
    let answer = gateway.client().get(gateway.url("/hello")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "it serves when it says so");
    manager.told("WATCHDOG=1").await;
    manager.told("WATCHDOG=1").await;

    gateway.rewrite_config(&config.replace("body: hello", "body: changed"));
    let reload = manager.told("RELOADING=1").await;
    assert!(reload.last().unwrap().contains("MONOTONIC_USEC="), "{reload:?}");
    let done = manager.told("READY=1").await;
    assert!(done.last().unwrap().contains("STATUS=serving\n"), "{done:?}");
    gateway.rewrite_config("listen: [");
    manager.told("RELOADING=1").await;
    let refused = manager.told("READY=1").await;
    assert!(refused.last().unwrap().contains("the last reload was refused"), "{refused:?}");

    gateway.terminate();
    let stopping = manager.told("STOPPING=1").await;
    assert!(stopping.last().unwrap().contains("EXTEND_TIMEOUT_USEC="), "{stopping:?}");
    let ended = tokio::time::timeout(Duration::from_secs(30), gateway.ended()).await;
    assert!(ended.unwrap().success());
}

#[tokio::test]
async fn a_start_that_reads_counts_asks_for_more_time_before_any_port_is_open() {
    let bank = Bank::start().await;
    let manager = Manager::new();
    let state = tempfile::tempdir().unwrap();
    // Whoever reads a pipe waits until somebody writes: the start stands still where it has read
    // counts and needs their key.
    let key = state.path().join("account.key");
    assert!(Command::new("mkfifo").arg(&key).status().unwrap().success());
    let folder = state.path().display().to_string();
    let config = base_config(&bank).replace("FOLDER/state", &folder) + HELLO;
    let gateway = Tollgate::start_in(own_address(), &config, manager.environment());
    let told = manager.told("STATUS=starting: reading counts").await;
    assert!(told.last().unwrap().contains("\nEXTEND_TIMEOUT_USEC=30000000\n"), "{told:?}");
    let refused = gateway.client().get(gateway.url("/hello")).send().await;
    assert!(refused.unwrap_err().is_connect(), "no port is open yet");
    // Not waited for: should the gateway be gone, nobody will read it.
    std::thread::spawn(move || std::fs::write(key, "A".repeat(43) + "="));
    let ready = manager.told("READY=1").await;
    assert!(ready.last().unwrap().contains("STATUS=serving\n"), "{ready:?}");
    let after = manager.told("WATCHDOG=1").await;
    assert!(!after.iter().any(|told| told.contains("STATUS=starting")), "{after:?}");
}

#[tokio::test]
async fn an_upgrade_makes_another_process_the_main_one_and_that_one_gives_the_signs_of_life() {
    let bank = Bank::start().await;
    let manager = Manager::new();
    let config = base_config(&bank) + HELLO;
    let gateway = Tollgate::start_in(own_address(), &config, manager.environment());
    manager.told("READY=1").await;
    // At once: like the real one, it must read what it is told, or the gateway waits for it.
    let (done, before) = tokio::join!(gateway.upgrade(), manager.told("MAINPID="));
    assert_eq!(done.status, 200, "{done:?}; {}", gateway.log());
    let process = done.json()["process"].to_string();
    assert!(before.last().unwrap().starts_with(&format!("MAINPID={process}\n")), "{before:?}");
    assert!(!before.iter().any(|told| told.contains("READY=1")), "not before it is the main one");
    manager.told("READY=1").await;
    // Long after the last one that the old process can have sent.
    eventually("the old process to end", async || match gateway.processes() {
        left if left.len() == 1 => Ok(()),
        left => Err(left),
    })
    .await;
    while manager.socket.recv(&mut [0; 4096]).is_ok() {}
    manager.told("WATCHDOG=1").await;
    let stopped = Command::new("kill").args(["-TERM", &process]).status();
    assert!(stopped.unwrap().success());
    manager.told("STOPPING=1").await;
}

#[tokio::test]
async fn a_stuck_gateway_gives_no_sign_of_life() {
    let bank = Bank::start().await;
    let manager = Manager::new();
    let config = base_config(&bank) + HELLO;
    let mut gateway = Tollgate::start_in(own_address(), &config, manager.environment());
    manager.told("WATCHDOG=1").await;
    gateway.process().signal("STOP");
    // What was on its way by then.
    while manager.socket.recv(&mut [0; 4096]).is_ok() {}
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(manager.socket.recv(&mut [0; 4096]).is_err(), "three periods passed");
    gateway.process().signal("CONT");
    manager.told("WATCHDOG=1").await;
}

#[tokio::test]
async fn open_files_are_raised_to_what_the_system_grants_and_too_few_are_told() {
    let bank = Bank::start().await;
    let config = base_config(&bank) + HELLO;
    let limits = async |shell: &str| {
        let exec = format!("{shell}; exec \"$@\"");
        let under = ["sh", "-c", &exec, "sh"].map(str::to_owned).to_vec();
        let gateway = Tollgate::start_under(under, own_address(), &config);
        gateway.until_ready().await;
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let soft = line.split_whitespace().nth(3).unwrap().to_owned();
        (soft, gateway.log())
    };
    let (soft, log) = limits("ulimit -Sn 200").await;
    assert_ne!(soft, "200", "{log}");
    let (soft, log) = limits("ulimit -n 900").await;
    assert_eq!(soft, "900");
    assert!(log.contains("LimitNOFILE"), "{log}");
}

#[tokio::test]
async fn a_health_check_needs_no_other_program() {
    let bank = Bank::start().await;
    let ask = |gateway: &Tollgate| {
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["ready", "--admin", &gateway.admin_url("")])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let gateway = Tollgate::start(&(base_config(&bank) + HELLO)).await;
    assert_eq!(ask(&gateway), (Some(0), "ready\n".to_owned()));
    let guarded =
        "  - { id: own, match: { path: /own }, authenticate: bank, answer: { body: own } }\n";
    let nobody = base_config(&bank).replace(&bank.issuer(), "http://127.0.0.1:9");
    let nobody = nobody + HELLO + guarded;
    let waiting = Tollgate::start_unready(&nobody);
    eventually("it to say what it waits for", async || {
        let (status, told) = ask(&waiting);
        let says = told.starts_with("not ready\n  ") && told.contains("bank");
        if status == Some(1) && says { Ok(()) } else { Err((status, told)) }
    })
    .await;
}
