//! Wall clocks that can be stepped, one for each gateway: a library that is loaded before libc
//! (`clock.c`) adds the seconds that stand in a file.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A process's wall clock.
pub struct WallClock {
    file: PathBuf,
    library: PathBuf,
}

impl WallClock {
    /// `None` where no C compiler is found.
    pub fn new(folder: &Path, name: &str) -> Option<Self> {
        let library = library(folder)?;
        let file = folder.join(format!("clock-{name}"));
        fs::write(&file, [0; 8]).unwrap();
        Some(Self { file, library })
    }

    /// What a process needs to have it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.library)),
            ("CHAOS_CLOCK".to_owned(), text(&self.file)),
        ]
    }

    /// So many seconds off what it would say.
    pub fn set(&self, seconds: i64) {
        // In place: the process has this file in its memory.
        let file = fs::File::options().write(true).open(&self.file).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}

fn library(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("clock.so");
    if library.exists() {
        return Some(library);
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chaos/clock.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([source, "-ldl"])
        .output();
    match built {
        Ok(output) if output.status.success() => Some(library),
        other => {
            eprintln!("skipped: no clock can be stepped: {other:?}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(command: &mut Command) -> i64 {
        let output = command.args(["+%s"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_process_sees_the_stepped_time_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let Some(clock) = WallClock::new(folder.path(), "test") else { return };
        clock.set(-3600);
        let stepped = seconds(Command::new("date").envs(clock.environment()));
        let real = seconds(&mut Command::new("date"));
        assert!((3590..=3610).contains(&(real - stepped)), "{real} {stepped}");
    }
}
