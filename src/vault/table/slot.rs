use fjall::{AbstractTree, Keyspace};

use crate::vault::change::TableError;

/// Stands in a keyspace to be the newest there. No other key begins so.
const MARK: &[u8] = b"-";

/// Empties a keyspace, so that something else can stand in it. When it returns, the disk space is
/// free and no crash brings back what stood there. Nobody may write to it meanwhile.
///
/// What the store offers for that does not do: its list of keyspaces grows with each one made and
/// deleted, for ever; and `clear` leaves the files where they are until the next start. After a
/// crash between, some of the old records may stand there again: empty it again then.
pub(super) fn empty(keyspace: &Keyspace) -> Result<(), TableError> {
    let tree = &keyspace.tree;
    {
        // Nothing may be moved from memory to a file in between: `clear` would forget the file.
        let _unmoved = tree.get_flush_lock();
        tree.drop_range::<&[u8], _>(..).map_err(fjall::Error::from)?;
        tree.clear().map_err(fjall::Error::from)?;
    }
    // The old records stand in the log still. Of a log the store takes over at start only what is
    // newer than everything in the keyspace's files, so from now on none of them. And without any
    // file of the keyspace it would keep that log for ever.
    move_to_file(keyspace)?;
    let moving = tree.get_flush_lock();
    tree.flush(&moving, 0).map_err(fjall::Error::from)?;
    Ok(())
}

/// Has what stands in memory moved to a file, so that the log need not wait for it. Also lets go of
/// files that were removed.
pub(super) fn move_to_file(keyspace: &Keyspace) -> Result<(), TableError> {
    // The log waits for what is newer than all in the files, and would wait for ever where the
    // newest was a removal that the store has dropped from them since.
    keyspace.insert(MARK, Vec::new())?;
    keyspace.rotate_memtable()?;
    Ok(())
}
