use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::model::Secret;

/// Random bytes of a secret that is made here.
const LENGTH: usize = 32;

/// A file with a secret can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}", path = path.display())]
pub struct KeyFileError {
    /// Which.
    pub path: PathBuf,
    /// What is wrong with it, and the remedy.
    pub error: io::Error,
}

/// Where a secret is kept that is made at first use.
///
/// It is kept as text, so that it can be copied into the configuration and is the same secret
/// there.
pub(super) struct KeyFile {
    path: PathBuf,
    /// What else can be done where the secret is lost, as in "remove the cache".
    way_out: &'static str,
}

impl KeyFile {
    pub(super) fn new(path: PathBuf, way_out: &'static str) -> Self {
        Self { path, way_out }
    }

    /// The secret; `None` if there is no file.
    ///
    /// # Errors
    /// The file can't be read or isn't one that was made here.
    pub(super) fn read(&self) -> Result<Option<Secret>, KeyFileError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(self.failed(error)),
        };
        let secret = text.trim();
        if !STANDARD.decode(secret).is_ok_and(|bytes| bytes.len() == LENGTH) {
            return Err(self.lost("was damaged: it is not 32 bytes in base64"));
        }
        // Some platforms widen the mode of mounted volumes at each start, so this is no refusal.
        let mode = fs::metadata(&self.path).map(|file| file.permissions().mode());
        if mode.unwrap_or_default() & 0o077 != 0 {
            tracing::warn!(path = %self.path.display(), "others may read this secret");
        }
        Ok(Some(Secret::new(secret)))
    }

    /// The secret, in a file that only this user can read; made at first use. It reaches the disk
    /// before it is used: what is made with it must be found again after a crash.
    ///
    /// # Errors
    /// As [`KeyFile::read`], or the file can't be made.
    pub(super) fn read_or_make(&self) -> Result<Secret, KeyFileError> {
        match self.read()? {
            Some(secret) => Ok(secret),
            None => make(&self.path).map_err(|error| self.failed(error)),
        }
    }

    /// Why the secret can't be used, with what to do about it.
    pub(super) fn lost(&self, what: &str) -> KeyFileError {
        let remedy = format!("{what}; restore it from a backup, or {}", self.way_out);
        self.failed(io::Error::other(remedy))
    }

    fn failed(&self, error: io::Error) -> KeyFileError {
        KeyFileError { path: self.path.clone(), error }
    }
}

fn make(path: &Path) -> io::Result<Secret> {
    let mut secret = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| io::Error::other("no random numbers"))?;
    let text = STANDARD.encode(secret);
    write(path, &text)?;
    Ok(Secret::new(text))
}

/// Writes one line into a file of this user's own.
pub(super) fn write(path: &Path, line: &str) -> io::Result<()> {
    // Written beside and renamed, so that no crash leaves half a line under the name. What a
    // crash left beside may have another mode, so it isn't written over.
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path) -> KeyFile {
        KeyFile::new(folder.join("account.key"), "begin at zero")
    }

    #[test]
    fn a_secret_is_made_once_and_for_this_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        assert!(file.read().unwrap().is_none());
        let made = file.read_or_make().unwrap();
        assert_eq!(made.reveal().len(), 44);
        assert_eq!(file.read_or_make().unwrap(), made);
        assert_eq!(file.read().unwrap(), Some(made));
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_a_crash_left_beside_it_is_no_secret_and_in_nobody_s_way() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        fs::write(file.path.with_added_extension("new"), "half").unwrap();
        assert!(file.read().unwrap().is_none());
        assert_eq!(file.read_or_make().unwrap(), file.read().unwrap().unwrap());
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_damaged_is_not_taken_for_a_secret_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        let short = STANDARD.encode([7; 31]);
        let equals = "=".repeat(44);
        for left in [&b""[..], b"oops", short.as_bytes(), equals.as_bytes(), &[0xff; 32]] {
            fs::write(&file.path, left).unwrap();
            let error = file.read_or_make().unwrap_err().to_string();
            assert!(error.contains("account.key: was damaged"), "{error}");
            assert!(error.contains("restore it from a backup, or begin at zero"), "{error}");
            assert_eq!(fs::read(&file.path).unwrap(), left);
        }
    }
}
