//! What the service manager is told of a start before anything serves: what it is at, and that it
//! is to be waited for. A journal with many counts takes longer to read than a start may take that
//! says nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::supervisor;
use super::upgrade::Predecessor;
use crate::quota::{PartitionView, Quotas, Role};

/// Between words to the manager, which waits three times as long for the next.
const EVERY: Duration = Duration::from_secs(10);

/// What a start is at.
#[derive(Clone, Default)]
pub(super) enum Step {
    /// Opening the journal; in a fleet, waiting for Kafka.
    #[default]
    Journal,
    /// Reading counts.
    Counts(Arc<Quotas>),
    /// Opening the account cache.
    Cache,
}

impl Step {
    fn words(&self) -> String {
        match self {
            Self::Journal => "opening the journal".to_owned(),
            Self::Counts(quotas) => counted(&quotas.partitions()),
            Self::Cache => "opening the account cache".to_owned(),
        }
    }
}

fn counted(partitions: &[PartitionView]) -> String {
    let taken = partitions.iter().filter(|one| matches!(one.role, Role::Owning { .. })).count();
    let accounts: usize = partitions.iter().map(|one| one.accounts).sum();
    let all = partitions.len();
    format!("reading counts: {taken} of {all} partitions are done, {accounts} accounts so far")
}

/// A start that goes on, and of which the manager hears until this is ended or dropped.
pub(super) struct Starting {
    step: watch::Sender<Step>,
    telling: Option<JoinHandle<()>>,
}

impl Starting {
    /// Tells the manager from now on, on threads that the start does not hold up. Of a process that
    /// takes over from another one it hears nothing: it listens to that one yet.
    pub fn begin(background: &Handle, predecessor: Option<&Predecessor>) -> Self {
        let (step, steps) = watch::channel(Step::default());
        let telling = predecessor
            .is_none()
            .then(|| background.spawn(tell_on(steps, EVERY, supervisor::tell_start)));
        Self { step, telling }
    }

    /// The start is at another step now.
    pub fn at(&self, step: Step) {
        self.step.send_replace(step);
    }

    /// Nothing is told any more once this is done.
    pub async fn end(self) {
        let Self { step, telling } = self;
        drop(step);
        if let Some(telling) = telling {
            // An error means that it has ended all the same.
            let _ = telling.await;
        }
    }
}

/// Tells each step as it begins, and again and again while it lasts; until there are no more.
async fn tell_on(mut steps: watch::Receiver<Step>, every: Duration, tell: impl Fn(&str)) {
    loop {
        let step = steps.borrow_and_update().clone();
        tell(&step.words());
        drop(step);
        if let Ok(Err(_)) = timeout(every, steps.changed()).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_is_told_at_once_and_again_and_again_until_the_start_is_over() {
        let (step, steps) = watch::channel(Step::default());
        let (told, mut heard) = mpsc::unbounded_channel();
        let tell = move |words: &str| told.send(words.to_owned()).unwrap();
        let began = Instant::now();
        let telling = tokio::spawn(tell_on(steps, EVERY, tell));
        for _ in 0..3 {
            assert_eq!(heard.recv().await.unwrap(), "opening the journal");
        }
        assert!(began.elapsed() >= 2 * EVERY && began.elapsed() < 3 * EVERY);
        step.send_replace(Step::Cache);
        assert_eq!(heard.recv().await.unwrap(), "opening the account cache");
        assert!(began.elapsed() < 3 * EVERY, "not only when it is time again");
        drop(step);
        telling.await.unwrap();
        assert_eq!(heard.recv().await, None);
        assert!(began.elapsed() < 3 * EVERY);
    }
}
