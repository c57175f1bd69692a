//! Cuts a torn last write off fjall's write-ahead log.
//!
//! A killed process leaves a prefix of its last write, which fjall cuts off itself. A machine that
//! loses power may leave the last write with a hole in the middle: disks write blocks in any
//! order. fjall takes that for damage and refuses to open. But every write of ours is fsynced
//! before the next one starts, so a hole in the *last* write is a write that was never confirmed
//! and may be cut off like any torn end. That it was the last, and unconfirmed, is not assumed:
//! the caller compares what is left with the [witness](super::witness).

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Ends each write in fjall 3's log (`FJL` and the format's version).
const TRAILER: &[u8] = b"FJL\x03";

/// A cut that can be taken back.
pub(super) struct Cut {
    log: PathBuf,
    kept: PathBuf,
}

impl Cut {
    /// Cuts the last write off the newest log file, after it was copied to a file beside it.
    /// `None`: there is no write to cut off.
    pub fn last_write(store: &Path) -> io::Result<Option<Self>> {
        let Some(log) = newest_log(store)? else { return Ok(None) };
        let bytes = fs::read(&log)?;
        let mut ends =
            bytes.windows(TRAILER.len()).enumerate().rev().filter(|(_, window)| *window == TRAILER);
        if ends.next().is_none() {
            return Ok(None);
        }
        let keep = ends.next().map_or(0, |(at, _)| at + TRAILER.len());
        let kept = log.with_extension("torn");
        fs::copy(&log, &kept)?;
        let file = OpenOptions::new().write(true).open(&log)?;
        file.set_len(u64::try_from(keep).unwrap_or(u64::MAX))?;
        file.sync_all()?;
        Ok(Some(Self { log, kept }))
    }

    /// The copy from before the cut.
    pub fn kept(&self) -> &Path {
        &self.kept
    }

    /// Puts the log back as it was.
    pub fn take_back(self) -> io::Result<()> {
        fs::rename(self.kept, self.log)
    }
}

fn newest_log(store: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let number = path
            .extension()
            .filter(|extension| *extension == "jnl")
            .and_then(|_| path.file_stem()?.to_str()?.parse().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(highest, _)| *highest < number)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}
