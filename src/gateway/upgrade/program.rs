use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What this process was started as: a later version stands at the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl Program {
    /// Of this process. To be called at its start: the file may be replaced later.
    pub fn own() -> Self {
        let mut arguments = env::args_os();
        let called = arguments.next().map(PathBuf::from).unwrap_or_default();
        // Where the system doesn't say it, what it was called must do.
        let path = place(&called, env::current_exe().unwrap_or_else(|_| called.clone()));
        Self { path, arguments: arguments.collect() }
    }
}

/// The path by which it was called, if that leads to the program: it may be a link that an upgrade
/// turns to another file.
fn place(called: &Path, program: PathBuf) -> PathBuf {
    Some(called)
        .filter(|called| called.components().count() > 1)
        .and_then(|called| std::path::absolute(called).ok())
        .filter(|called| fs::canonicalize(called).ok() == fs::canonicalize(&program).ok())
        .unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_by_which_it_was_called_is_kept_and_a_made_up_name_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (program, link) = (folder.path().join("v1"), folder.path().join("current"));
        fs::write(&program, "").unwrap();
        std::os::unix::fs::symlink(&program, &link).unwrap();
        assert_eq!(place(&link, program.clone()), link);
        assert_eq!(place(Path::new("tollgate"), program.clone()), program);
        assert_eq!(place(&folder.path().join("other"), program.clone()), program);
    }
}
