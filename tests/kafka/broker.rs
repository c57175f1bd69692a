//! Real brokers for tests, by `scripts/kafka.sh`. They die with the test's process, however it ends.
//!
//! Calls block. Other test programs take this file by `#[path]`.
#![allow(dead_code, reason = "not every test program uses all of it")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};

/// A name is free for every run, also on a broker that outlives them.
fn fresh_name() -> String {
    format!("test-{}", uuid::Uuid::new_v4().simple())
}

/// One or three brokers.
pub struct Broker {
    bootstrap: String,
    admin: String,
    process: Option<Process>,
}

struct Process {
    folder: PathBuf,
    child: Child,
    pipes: Mutex<(Option<ChildStdin>, BufReader<ChildStdout>)>,
}

impl Broker {
    /// The one broker that all tests of this process share: plain text, nothing forbidden. It
    /// starts with the first call. `TOLLGATE_TEST_KAFKA=HOST:PORT` uses one that runs already.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("TOLLGATE_TEST_KAFKA") {
            Ok(bootstrap) => Self { admin: bootstrap.clone(), bootstrap, process: None },
            Err(_) => Self::own(&[]),
        })
    }

    /// Brokers of the test's own, which may hurt them. For the options see the script.
    pub fn own(options: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("tollgate-kafka-{}", fresh_name()));
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka.sh"))
            .arg("run")
            .arg(&folder)
            .arg("--temporary")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        expect(&mut output, "ready");
        let address = |name| std::fs::read_to_string(folder.join(name)).unwrap().trim().to_owned();
        Self {
            bootstrap: address("bootstrap"),
            admin: address("admin"),
            process: Some(Process { folder, child, pipes: Mutex::new((input, output)) }),
        }
    }

    /// Where clients go: `HOST:PORT`, or several with commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where all is allowed in plain text, whatever clients must do.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// A topic prefix that no other test has.
    pub fn topic_prefix(&self) -> String {
        fresh_name()
    }

    /// Data, logs and, with `--tls`, certificates (`tls/ca.pem` and so on).
    pub fn folder(&self) -> &Path {
        &self.process().folder
    }

    /// Kills a broker (1 to 3). Returns when it is gone.
    pub fn kill(&self, number: u32) {
        self.command(&format!("kill {number}"));
    }

    /// Ends a broker gracefully. Returns when it is gone.
    pub fn stop(&self, number: u32) {
        self.command(&format!("stop {number}"));
    }

    /// Starts a broker again on what it had. Returns when it answers.
    pub fn start(&self, number: u32) {
        self.command(&format!("start {number}"));
    }

    /// Sends a broker a signal: `STOP` (returns when it is frozen), `CONT`.
    pub fn signal(&self, number: u32, signal: &str) {
        let pid = self.pid(number).to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(sent.success());
        // On a busy machine a process goes on for a while before it notices.
        while signal == "STOP" && !is_frozen(&pid) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// A broker's process.
    pub fn pid(&self, number: u32) -> u32 {
        let file = self.folder().join(format!("broker-{number}.pid"));
        std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
    }

    /// Runs a command of Kafka's tools as a person would type it in a folder.
    pub fn tool(command: &str, folder: &Path) -> Output {
        static TOOLS: OnceLock<String> = OnceLock::new();
        let tools = TOOLS.get_or_init(|| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka.sh");
            let output = Command::new(script).arg("fetch").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        });
        let path = format!("{tools}/bin:{}", std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-c", command]).env("PATH", path).current_dir(folder).output().unwrap()
    }

    /// [`Broker::tool`] that must succeed; gives what it wrote.
    #[track_caller]
    pub fn tool_works(command: &str, folder: &Path) -> String {
        let output = Self::tool(command, folder);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{text}{errors}");
        text
    }

    fn command(&self, line: &str) {
        let (input, output) = &mut *self.process().pipes.lock().unwrap();
        writeln!(input.as_mut().unwrap(), "{line}").unwrap();
        expect(output, "done");
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("a test that hurts the broker needs its own")
    }
}

/// Whether every thread of a process is stopped. One that is gone counts as well.
fn is_frozen(pid: &str) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state stands behind the name in parentheses, which may contain anything.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 'Z', 'X']))
    })
}

#[track_caller]
fn expect(output: &mut impl BufRead, wanted: &str) {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), wanted, "scripts/kafka.sh failed");
}

/// The script ends with its standard input; then all that it started is gone.
impl Drop for Process {
    fn drop(&mut self) {
        self.pipes.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).0.take();
        let _ = self.child.wait();
    }
}
