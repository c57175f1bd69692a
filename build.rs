//! Puts the commit into `tollgate --version`, so that an operator knows which sources run, and
//! replaces a function of librdkafka that corrupts memory.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=TOLLGATE_COMMIT");
    // What changes with the commit. In a linked worktree `.git` is no folder, so git says where;
    // a path that isn't there would have cargo build everything anew each time.
    for changing in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", changing])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit =
        std::env::var("TOLLGATE_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    // A build from an archive has no commit to name.
    println!("cargo::rustc-env=TOLLGATE_COMMIT={}", commit.unwrap_or_else(|| "unknown".into()));
    leave_leader_hints_alone();
}

/// See the C file. librdkafka is linked statically, so the linker can put another function in the
/// place of one of its own.
fn leave_leader_hints_alone() {
    const SOURCE: &str = "src/journal/kafka/leader_hints.c";
    println!("cargo::rerun-if-changed={SOURCE}");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        // An object and no library: linkers take from libraries only what they know they need.
        for object in cc::Build::new().file(SOURCE).compile_intermediates() {
            println!("cargo::rustc-link-arg={}", object.display());
        }
        println!("cargo::rustc-link-arg=-Wl,--wrap=rd_kafka_metadata_update_op");
    }
}

/// What git answers; nothing where there is no git or no checkout.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| answer.trim().to_owned())
}
