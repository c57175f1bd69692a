//! A note beside the store of the last commit that was confirmed.
//!
//! fjall cuts a torn end off its write-ahead log at start, as it must: a write that was in
//! progress at a crash was never confirmed. But from the log alone a torn end can't be told from
//! one that was confirmed and later lost, and counts would silently be too low. So every commit's
//! number is noted here *after* its fsync: a note that is ahead of the store proves a loss, and a
//! note that is behind it (the machine itself crashed; the note isn't fsynced for each commit)
//! proves nothing and does no harm.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8; 8] = b"tollconf";
/// Mixed into the check, so that a file of zeros is no note.
const SALT: u64 = 0x9e37_79b9_7f4a_7c15;

/// The file `confirmed`.
#[derive(Debug)]
pub(super) struct Witness(File);

impl Witness {
    /// Opens or makes the file.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("confirmed");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self(file))
    }

    /// Number of the last commit noted; zero if there is no note that can be read.
    pub fn confirmed(&self) -> io::Result<u64> {
        let mut bytes = [0; 24];
        // A file that is shorter leaves zeros, which are no note.
        self.0.read_at(&mut bytes, 0)?;
        let number = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        match (bytes.starts_with(MAGIC), number(8), number(16)) {
            (true, Some(commit), Some(check)) if check == commit ^ SALT => Ok(commit),
            _ => Ok(0),
        }
    }

    /// Notes a commit. A failure is no harm: the note stays behind.
    pub fn note(&self, commit: u64) {
        let mut bytes = [0; 24];
        let parts =
            MAGIC.iter().copied().chain(commit.to_be_bytes()).chain((commit ^ SALT).to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        if let Err(error) = self.0.write_all_at(&bytes, 0) {
            tracing::debug!(%error, "the note of the last commit could not be written");
        }
    }

    /// Makes the note durable, as at an orderly end.
    pub fn sync(&self) {
        if let Err(error) = self.0.sync_data() {
            tracing::debug!(%error, "the note of the last commit could not be synced");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let witness = Witness::open(directory.path()).unwrap();
        assert_eq!(witness.confirmed().unwrap(), 0);
        witness.note(41);
        witness.note(42);
        assert_eq!(Witness::open(directory.path()).unwrap().confirmed().unwrap(), 42);
    }

    #[test]
    fn a_damaged_note_is_no_note() {
        let directory = tempfile::tempdir().unwrap();
        Witness::open(directory.path()).unwrap().note(42);
        let path = directory.path().join("confirmed");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[15] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Witness::open(directory.path()).unwrap().confirmed().unwrap(), 0);
        std::fs::write(&path, [0; 24]).unwrap();
        assert_eq!(Witness::open(directory.path()).unwrap().confirmed().unwrap(), 0);
    }
}
