//! Cuts a torn last write off fjall's write-ahead log.
//!
//! A killed process leaves a prefix of its last write, which fjall cuts off itself, as far as it
//! can read it. A disk that was full leaves one that ends at a page's edge, in the middle of a
//! length; a machine that loses power may leave the last write with a hole in the middle, since
//! disks write blocks in any order. fjall takes these for damage and refuses to open. But every
//! write of ours is fsynced before the next one starts, so a torn *last* write was never confirmed
//! and may be cut off. That it was the last, and unconfirmed, is not assumed: the caller compares
//! what is left with the [witness](super::witness).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Ends each write in fjall 3's log (`FJL` and the format's version).
const TRAILER: &[u8] = b"FJL\x03";

/// How much to cut off, in the order in which it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Torn {
    /// What lies behind the last whole write: the torn one never got its end.
    BehindLastWrite,
    /// The last write: it has its end, but a hole before it.
    LastWrite,
}

impl Torn {
    pub const STEPS: [Self; 2] = [Self::BehindLastWrite, Self::LastWrite];

    /// How long the log is without it; `None`: there is no such thing in it.
    fn keep(self, log: &[u8]) -> Option<usize> {
        let windows = log.windows(TRAILER.len()).enumerate().rev();
        let mut ends = windows
            .filter(|(_, window)| *window == TRAILER)
            .map(|(at, trailer)| at + trailer.len());
        match self {
            Self::BehindLastWrite => {
                let end = ends.next().unwrap_or(0);
                // fjall sets room aside, which is zeros.
                log.get(end..)?.iter().any(|byte| *byte != 0).then_some(end)
            }
            Self::LastWrite => {
                ends.next()?;
                Some(ends.next().unwrap_or(0))
            }
        }
    }
}

/// A cut that can be taken back.
pub(super) struct Cut {
    log: PathBuf,
    kept: PathBuf,
}

impl Cut {
    /// Cuts a part off the newest log file, after it was copied to a file beside it. `None`: there
    /// is no such part.
    pub fn off(torn: Torn, store: &Path) -> io::Result<Option<Self>> {
        let Some(log) = newest_log(store)? else { return Ok(None) };
        let bytes = fs::read(&log)?;
        let Some(keep) = torn.keep(&bytes) else { return Ok(None) };
        let kept = log.with_extension("torn");
        if let Err(error) = copy_to(&kept, &bytes) {
            // Half a copy is of no use, and on a disk that was full it would keep it full.
            let _ = fs::remove_file(&kept);
            return Err(error);
        }
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

/// The zeros at a log's end are room that was set aside for it: they take none in the copy.
fn copy_to(kept: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut file = File::create(kept)?;
    file.write_all(bytes.get(..written).unwrap_or_default())?;
    file.set_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    file.sync_all()
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
