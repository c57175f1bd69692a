//! What is known of a disk at fault.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::change::Scope;
use super::complete::Complete;
use super::table::Table;

/// Wait between two tries to use the disk again, the first and the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// Purges that a broken disk owes. With more, it owes them all: the table starts empty.
const MOST_OWED: usize = 10_000;

/// A disk that can't be used, until it can be.
pub(super) struct Broken {
    /// The table that failed. It must be let go of before it can be opened again, and lookups may
    /// still hold it.
    pub(super) table: Option<Arc<Table>>,
    /// Purges that could not be done. They are done before anybody reads the table again.
    pub(super) owed: Vec<Scope>,
    pub(super) retry: Instant,
    wait: Duration,
}

impl Broken {
    /// A table failed.
    pub(super) fn holding(table: Option<Arc<Table>>) -> Self {
        Self { table, owed: Vec::new(), retry: Instant::now() + FIRST_RETRY, wait: FIRST_RETRY }
    }

    /// There was no room to open the table with. What may lack a purge is not believed later either.
    pub(super) fn from_the_start(path: &Path) -> Self {
        let owed = if Complete::of(path).is_marked() { Vec::new() } else { vec![Scope::All] };
        Self { owed, ..Self::holding(None) }
    }

    /// A purge could not be done: until it is, no start may believe what stands at the path.
    pub(super) fn owe(&mut self, scope: Scope, path: &Path) {
        if self.owed.is_empty() {
            Complete::of(path).unmark();
        }
        if self.owed.len() >= MOST_OWED {
            self.owed = vec![Scope::All];
        } else if self.owed != [Scope::All] {
            self.owed.push(scope);
        }
    }

    /// The next try failed too.
    pub(super) fn wait_longer(&mut self) {
        self.wait = (self.wait * 2).min(LONGEST_RETRY);
        self.retry = Instant::now() + self.wait;
    }
}
