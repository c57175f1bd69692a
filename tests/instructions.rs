//! What a request costs in instructions of the thread that serves it, counted by Valgrind: what
//! else the machine does changes nothing, so a few per cent are seen. The baseline stands beside
//! this file; it holds for one compiler, which it names.
//!
//!     TOLLGATE_INSTRUCTIONS=write cargo test --test instructions    # a new baseline
//!     TOLLGATE_INSTRUCTIONS=target/release/tollgate cargo test --test instructions -- --nocapture
//!
//! The second counts another build and compares nothing.

mod replay;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use replay::{Replay, WORKS};
use serde::{Deserialize, Serialize};

/// Requests before anything is counted: pools, caches and counters are there then.
const WARM_UP: usize = 60;
const COUNTED: u64 = 200;
/// Share by which a count may differ from the baseline, either way: what was won must be written
/// down, or the next change may lose it unseen.
const TOLERANCE: f64 = 0.03;

/// Copies are made the same way on all processors: some have an instruction for them, of which Valgrind
/// counts one for each byte.
const ALIKE: &str = "glibc.cpu.x86_rep_movsb_threshold=1073741824";

const BASELINE: &str = "tests/instructions.json";

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Baseline {
    /// As `rustc --version` has it.
    rustc: String,
    /// Instructions for one request, by the name of the work.
    unoptimised: BTreeMap<String, u64>,
}

#[test]
fn a_request_costs_the_instructions_that_it_did() {
    let wish = std::env::var("TOLLGATE_INSTRUCTIONS").ok();
    let other = wish.as_deref().filter(|wish| *wish != "write");
    let counted = count(other.unwrap_or(env!("CARGO_BIN_EXE_tollgate")));
    counted.iter().for_each(|(work, each)| println!("{work}: {each} instructions"));
    if other.is_some() {
        return;
    }
    let measured = Baseline { rustc: rustc(), unoptimised: counted };
    if wish.is_some() {
        let text = serde_json::to_string_pretty(&measured).unwrap();
        std::fs::write(BASELINE, text + "\n").unwrap();
        return;
    }
    let baseline: Baseline = serde_json::from_slice(&std::fs::read(BASELINE).unwrap()).unwrap();
    if baseline.rustc != measured.rustc {
        println!("not compared: the baseline is of {}", baseline.rustc);
        return;
    }
    for (work, each) in &measured.unoptimised {
        let before = baseline.unoptimised[work];
        let change = *each as f64 / before as f64 - 1.0;
        assert!(
            change.abs() <= TOLERANCE,
            "{work}: {each} instructions, {before} before ({:+.1} %). If that is meant: \
             TOLLGATE_INSTRUCTIONS=write cargo test --test instructions",
            change * 100.0
        );
    }
}

/// Instructions for one request of each work.
fn count(program: &str) -> BTreeMap<String, u64> {
    let replay = Replay::start();
    let gateway = Counted::start(program, &replay);
    let mut client = replay.connect();
    WORKS
        .into_iter()
        .map(|(work, path)| {
            let request = replay.request(path);
            (0..WARM_UP).for_each(|_| client.exchange(&request));
            gateway.control("--zero");
            (0..COUNTED).for_each(|_| client.exchange(&request));
            gateway.control("--dump");
            (work.to_owned(), gateway.busiest_thread() / COUNTED)
        })
        .collect()
}

/// A gateway under Valgrind, with one thread that serves.
struct Counted {
    process: Child,
    folder: PathBuf,
}

impl Counted {
    fn start(program: &str, replay: &Replay) -> Self {
        let folder = replay.config().with_file_name("counts");
        std::fs::create_dir(&folder).unwrap();
        let process = Command::new("taskset")
            .args(["--cpu-list", &first_processor()])
            .args(["valgrind", "--quiet", "--tool=callgrind", "--separate-threads=yes"])
            .arg(format!("--callgrind-out-file={}", folder.join("dump").display()))
            .args([Path::new(program), Path::new("run"), Path::new("--config")])
            .arg(replay.config())
            .env("GLIBC_TUNABLES", ALIKE)
            .stdin(Stdio::null())
            .spawn()
            .expect("taskset and valgrind are needed: scripts/setup.sh installs them");
        Self { process, folder }
    }

    fn control(&self, what: &str) {
        let process = self.process.id().to_string();
        let done = Command::new("callgrind_control").args([what, &process]).output().unwrap();
        assert!(done.status.success(), "callgrind_control {what}: {done:?}");
    }

    /// What the busiest thread did up to the last dump: the one that serves.
    fn busiest_thread(&self) -> u64 {
        let dumps = std::fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        let totals = dumps.map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
            total.map_or(0, |total| total.trim().parse().unwrap())
        });
        totals.max().expect("callgrind_control made no dump")
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// With one processor, the gateway has one thread that serves.
fn first_processor() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    allowed.trim().chars().take_while(char::is_ascii_digit).collect()
}

fn rustc() -> String {
    let said = Command::new("rustc").arg("--version").output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}
