//! When uses that nobody waits for are sent: all partitions' at the same moments, so that what they
//! gathered shares one durable write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::request::since_boot;

/// How long uses gather, at most.
const GATHER: Duration = Duration::from_millis(10);
/// Moments without anything to send after which it sleeps until there is: a second.
const QUIET: u32 = 100;

/// The partitions that have gathered something since the last moment.
///
/// Requests only note it. Waking another thread for each would cost them more than all else that a
/// use needs: tens of microseconds where its processor is asleep.
#[derive(Default)]
pub(super) struct Gatherer {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    due: Vec<u32>,
    asleep: bool,
}

impl Gatherer {
    /// A partition has begun to gather.
    pub fn note(&self, partition: u32) {
        let mut state = self.state();
        state.due.push(partition);
        if std::mem::take(&mut state.asleep) {
            self.wake.notify_one();
        }
    }

    /// Has the partitions flushed that gathered something, for good.
    pub async fn run(self: Arc<Self>, flush: impl Fn(u32)) {
        let mut quiet = 0;
        loop {
            let passed = since_boot().subsec_nanos() % GATHER.subsec_nanos();
            tokio::time::sleep(GATHER.saturating_sub(Duration::from_nanos(passed.into()))).await;
            let due = std::mem::take(&mut self.state().due);
            quiet = if due.is_empty() { quiet + 1 } else { 0 };
            due.into_iter().for_each(&flush);
            if quiet == QUIET {
                self.sleep().await;
                quiet = 0;
            }
        }
    }

    async fn sleep(&self) {
        {
            let mut state = self.state();
            if !state.due.is_empty() {
                return;
            }
            state.asleep = true;
        }
        self.wake.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_gathers_is_flushed_also_after_a_sleep() {
        let (flushed, mut flushes) = mpsc::unbounded_channel();
        let gatherer = Arc::<Gatherer>::default();
        let running = Arc::clone(&gatherer).run(move |number| flushed.send(number).unwrap());
        let task = tokio::spawn(running);
        for number in [3, 4] {
            gatherer.note(number);
            assert_eq!(timeout(PATIENCE, flushes.recv()).await.unwrap(), Some(number));
            let asleep = async {
                while !gatherer.state().asleep {
                    tokio::time::sleep(GATHER).await;
                }
            };
            timeout(PATIENCE, asleep).await.unwrap();
        }
        task.abort();
    }
}
