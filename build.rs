//! Puts the commit into `tollgate --version`, so that an operator knows which sources run.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=TOLLGATE_COMMIT");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
    let commit = std::env::var("TOLLGATE_COMMIT").ok().or_else(commit_of_checkout);
    // A build from an archive has no commit to name.
    println!("cargo::rustc-env=TOLLGATE_COMMIT={}", commit.unwrap_or_else(|| "unknown".into()));
}

fn commit_of_checkout() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
