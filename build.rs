//! Puts the commit into `tollgate --version`, so that an operator knows which sources run.

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
}

/// What git answers; nothing where there is no git or no checkout.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| answer.trim().to_owned())
}
