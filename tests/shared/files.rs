//! Folders as they are.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// Copies all that stands in a folder.
pub fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a kill would leave: the files as they are now.
pub fn killed(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(directory, copy.path());
    copy
}
