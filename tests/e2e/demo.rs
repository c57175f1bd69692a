//! `make demo`'s script, as a newcomer sees it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Process, eventually};

/// The ports that the demo says it needs.
const PORTS: [u16; 9] = [8080, 9901, 7101, 7102, 7103, 7104, 7105, 7106, 7107];

/// All processes of a terminal's foreground job; ends them with the test.
struct Job(Process);

impl Job {
    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args([&format!("-{signal}"), "--", &group]).status();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

#[tokio::test]
async fn the_demo_holds_every_step_and_leaves_nothing_behind_on_ctrl_c() {
    if PORTS.iter().any(|port| TcpListener::bind(("127.0.0.1", *port)).is_err()) {
        eprintln!("skipped: another process has one of the demo's ports");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (work, said) = (folder.path().join("work"), folder.path().join("said"));
    fs::create_dir(&work).unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_tollgate")).parent().unwrap();
    let output = File::create(&said).unwrap();
    let mut command = Command::new("bash");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo.sh"))
        .arg(programs)
        .env("TMPDIR", &work)
        .env_remove("ONCE")
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .process_group(0);
    let mut job = Job(Process::start(&mut command));
    let read = || fs::read_to_string(&said).unwrap();
    eventually("the story to end", async || {
        let text = read();
        assert!(job.0.is_running(), "{text}");
        if text.contains("Still running") { Ok(()) } else { Err(text) }
    })
    .await;
    let text = read();
    assert!(text.contains("Every step held.") && !text.contains("WRONG"), "{text}");
    assert_eq!(fs::read_dir(&work).unwrap().count(), 1, "{text}");
    job.signal("INT");
    eventually("the demo to end", async || job.0.exited().ok_or("it runs")).await;
    let left: Vec<_> = fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?} is left; {}", read());
}
