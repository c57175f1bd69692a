use pingora_cache::CacheKey;
use pingora_cache::lock::{CacheKeyLock, LockStatus, Locked, WritePermit};

use super::Vault;
use super::key::{Place, Ticket};

/// One fill at a time for each key; who asks meanwhile waits for it.
///
/// The proxy looks up first and takes the lock then. A fill that ends in between would leave the
/// late one with a lock of its own, and a second call to the backend. So whoever gets the right
/// to fill is checked once more: if an answer has arrived since its lookup, it is sent back to
/// look again.
impl CacheKeyLock for Vault {
    fn lock(&self, key: &CacheKey, stale_writer: bool) -> Locked {
        let locked = self.lock.lock(key, stale_writer);
        let Locked::Write(mut permit) = locked else { return locked };
        if !self.has_arrived(key) {
            return Locked::Write(permit);
        }
        // As a reader of its own fill, which then ends at once.
        let again = self.lock.lock(key, stale_writer);
        match again {
            Locked::Read(_) => self.lock.release(key, permit, LockStatus::Done),
            Locked::Write(_) => permit.unlock(LockStatus::Done),
        }
        again
    }

    fn release(&self, key: &CacheKey, permit: WritePermit, reason: LockStatus) {
        self.lock.release(key, permit, reason);
    }
}

impl Vault {
    /// Whether there is another answer in memory than the one that the key's last lookup saw.
    fn has_arrived(&self, key: &CacheKey) -> bool {
        let Some(ticket) = Ticket::of(key) else { return false };
        let place = Place::of(key, &ticket.name);
        let epoch = self.epochs.now(ticket.name.stripes);
        let there = self.in_memory(&place, epoch);
        there.is_some_and(|entry| ticket.seen() != Some(entry.meta.updated))
    }
}

#[cfg(test)]
mod tests {
    use pingora_cache::Storage;
    use pingora_cache::trace::Span;

    use super::*;
    use crate::vault::testing::{Asked, ok, open, policy, settings};

    #[tokio::test]
    async fn who_looked_up_just_before_the_answer_came_does_not_fetch_it_again() {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path(), &settings());
        let key = || Asked::account("1").key(&policy());
        let filling = opened.ask(key()).await.miss();
        let late = key();
        assert!(opened.vault.lookup(&late, &Span::inactive().handle()).await.unwrap().is_none());
        filling.fill(&opened, &policy(), ok(&[]), &[b"here"]).await;
        let Locked::Read(lock) = opened.vault.lock().lock(&late, false) else {
            panic!("it may fill although there is an answer");
        };
        assert_eq!(lock.lock_status(), LockStatus::Done);
    }

    #[tokio::test]
    async fn who_saw_the_answer_and_refuses_it_may_fetch_it_again() {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path(), &settings());
        let key = Asked::account("1").key(&policy());
        opened.visit(key.clone(), b"here").await;
        assert!(opened.vault.lookup(&key, &Span::inactive().handle()).await.unwrap().is_some());
        let Locked::Write(permit) = opened.vault.lock().lock(&key, true) else {
            panic!("nobody else fills");
        };
        opened.vault.lock().release(&key, permit, LockStatus::Done);
    }
}
