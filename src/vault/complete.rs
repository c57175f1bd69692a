use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A file beside the table. It is there as long as the table has every purge that was asked for.
///
/// When the disk fails, a purge is kept in memory and done as soon as the disk works again. If the
/// process ends before that, the next one must not take the table for good. A full disk lets
/// nothing be written, but it lets a file be removed.
#[derive(Debug)]
pub(super) struct Complete {
    file: PathBuf,
}

impl Complete {
    pub(super) fn of(table: &Path) -> Self {
        Self { file: table.with_extension("complete") }
    }

    pub(super) fn is_marked(&self) -> bool {
        self.file.exists()
    }

    /// The table has all. If this can't be written, it begins anew at the next start: no answer is
    /// worth more than that.
    pub(super) fn mark(&self) {
        if let Err(error) = File::create(&self.file) {
            tracing::warn!(
                file = %self.file.display(), %error,
                "the account cache can't be marked as complete; it starts empty next time"
            );
        }
    }

    /// The table lacks a purge.
    pub(super) fn unmark(&self) {
        let gone = fs::remove_file(&self.file).and_then(|()| self.sync_folder());
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::error!(
                file = %self.file.display(), %error,
                "if the gateway ends before its disk works again, purged answers may come back"
            ),
            _ => {}
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}
