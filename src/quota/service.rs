use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use super::charge::Charge;
use super::others::Others;
use super::owner::{Answer, Bounds, Event, Out, Place, Role};
use super::partition::{Means, Partition};
use super::remote::DELIVERY;
use super::reservation::limit_state;
use super::view::{BucketView, PartitionView};
use crate::account::{AccountKey, Fleet};
use crate::config::model::QuotaRule;
use crate::journal::{Bucket, Journal, JournalError};
use crate::observe::Metrics;
use crate::request::{Clock, LimitState};

/// Counts in memory at most, over all partitions: one for each bucket, period and epoch, of 64 to
/// 140 bytes. With more, a rule's `unavailable` decides.
const MOST_ENTRIES: usize = 16_000_000;
/// How long after its end a period is closed for good: clocks may differ by this much without
/// anyone being refused for it.
const GRACE: Duration = Duration::from_secs(300);
/// Between looks at whether all is written, at an orderly end.
const DRAIN_STEP: Duration = Duration::from_millis(5);

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the journal, before a rule's `unavailable` decides.
    pub answer: Duration,
    /// For something to be read back, before a gateway holds itself for no owner.
    pub silence: Duration,
    /// For another gateway to take a partition that is handed to it.
    pub hand_over: Duration,
    /// Between removals of ended periods.
    pub sweep: Duration,
    /// The age at which a claim is made anew, in a journal that doesn't keep it for good. Counts
    /// then take a little more room each time, so it should not be much shorter than need be.
    pub renewal: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(2),
            silence: Duration::from_secs(5),
            hand_over: Duration::from_secs(3),
            sweep: Duration::from_secs(60),
            renewal: None,
        }
    }
}

/// Why quotas can't be kept, or an operator's call can't be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A partition could not be taken.
    #[error("quota partition {partition} could not be taken")]
    NotOwned {
        /// The partition.
        partition: u32,
    },
    /// The journal did not confirm in time.
    #[error("the quota journal did not confirm in time; what was asked may or may not be done")]
    NotConfirmed,
}

/// All quotas of this gateway.
pub struct Quotas {
    pub(super) partitions: Vec<Arc<Partition>>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) name: Arc<str>,
    pub(super) others: Arc<Others>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) patience: Patience,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Quotas {
    /// Reads the journal and takes the partitions that are this gateway's share at once. `name`
    /// tells this gateway from others.
    ///
    /// # Errors
    /// If a partition can't be read or taken.
    pub async fn open(
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        name: &str,
    ) -> Result<Arc<Self>, QuotaError> {
        Self::open_with(journal, clock, metrics, name, None, Patience::default()).await
    }

    /// [`Quotas::open`] with other waits.
    pub async fn open_with(
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        name: &str,
        fleet: Option<Arc<Fleet>>,
        patience: Patience,
    ) -> Result<Arc<Self>, QuotaError> {
        let quotas = Self::begin(journal, clock, metrics, name, fleet, patience);
        quotas.until_taken().await?;
        Ok(quotas)
    }

    /// Begins to read the journal; [`Quotas::until_taken`] waits for it. In between it can be seen
    /// how far that is.
    pub fn begin(
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        name: &str,
        fleet: Option<Arc<Fleet>>,
        patience: Patience,
    ) -> Arc<Self> {
        let name: Arc<str> = name.into();
        let count = journal.partitions();
        let entries = MOST_ENTRIES / count.max(1) as usize;
        let Patience { silence, hand_over, .. } = patience;
        let others = Arc::new(Others::new(fleet));
        let bounds = Bounds { silence, hand_over, entries };
        let gatherer = Arc::default();
        let means = Means { journal, clock, metrics, others, gatherer };
        let partitions: Vec<_> =
            (0..count).map(|number| Partition::new(number, &name, bounds, &means)).collect();
        let mut tasks: Vec<_> = partitions
            .iter()
            .map(|partition| tokio::spawn(Arc::clone(partition).follow(patience.renewal)))
            .collect();
        let Means { journal, metrics, others, gatherer, .. } = means;
        let gathered = partitions.clone();
        tasks.push(tokio::spawn(gatherer.run(move |number| {
            if let Some(partition) = gathered.get(number as usize) {
                partition.step([Event::Flush]);
            }
        })));
        let swept = sweep_for_ever(partitions.clone(), Arc::clone(&journal), patience.sweep);
        tasks.push(tokio::spawn(swept));
        // From here on dropping it ends the tasks.
        let tasks = Mutex::new(tasks);
        Arc::new(Self { partitions, journal, name, others, metrics, patience, tasks })
    }

    /// Waits until the partitions that are this gateway's share at once are read and taken.
    ///
    /// # Errors
    /// If one of them can't be.
    pub async fn until_taken(&self) -> Result<(), QuotaError> {
        for partition in &self.partitions {
            if !partition.is_shared_out() {
                continue;
            }
            let mut role = partition.role();
            let settled = role.wait_for(|role| match role {
                Role::Owning { .. } => true,
                Role::Out(Out::Idle) | Role::Claiming { .. } | Role::Settling { .. } => false,
                Role::Out(_) => true,
            });
            let owning = settled.await.is_ok_and(|role| matches!(*role, Role::Owning { .. }));
            // In a fleet no other gateway reads on behind it either, and all the rest is served.
            let passed_over = partition.is_damaged() && self.others.is_fleet();
            if !owning && !passed_over {
                let unknown = QuotaError::NotOwned { partition: partition.number };
                return Err(partition.error().map_or(unknown, QuotaError::Journal));
            }
        }
        Ok(())
    }

    /// The partition of an account; `None` only if there are none.
    pub(super) fn partition_of(&self, account: &AccountKey) -> Option<&Arc<Partition>> {
        self.partitions.get(self.partition_number(account) as usize)
    }

    /// Where a charge would find its bucket, without charging: for `explain`.
    pub fn peek(&self, charge: &Charge) -> LimitState {
        let standing = self.partition_of(&charge.account()).map(|partition| {
            let now = partition.wall();
            (partition.owner().standing(charge.bucket(), charge.terms(), now), now)
        });
        let (standing, now) = standing.unwrap_or_default();
        limit_state(charge, standing, now)
    }

    /// All buckets of an account that count now. `rules` are those of the configuration; of a
    /// bucket whose rule is no longer there, the limit is unknown.
    pub fn account(&self, account: &AccountKey, rules: &[Arc<QuotaRule>]) -> Vec<BucketView> {
        let Some(partition) = self.partition_of(account) else { return Vec::new() };
        let now = partition.wall();
        let owner = partition.owner();
        let found = owner.ledger().account(account.as_bytes());
        let horizon = now.max(owner.ledger().horizon());
        found
            .into_iter()
            .filter_map(|(label, counted)| BucketView::of(&label, counted, rules, horizon))
            .collect()
    }

    /// [`Quotas::reset`] by this gateway.
    pub(super) async fn reset_here(&self, account: &AccountKey) -> Result<usize, QuotaError> {
        let Some(partition) = self.partition_of(account) else { return Ok(0) };
        // Of some nothing counts any more; they are cleared too, but nobody gets anything back.
        let count = self.account(account, &[]).len();
        let buckets: Vec<Bucket> = partition.owner().buckets(account.as_bytes());
        let deadline = Instant::now() + self.patience.answer;
        let pending: Vec<_> = buckets.into_iter().map(|bucket| partition.reset(bucket)).collect();
        for mut pending in pending {
            match pending.answer(deadline).await {
                Some(Answer::Reset) => {}
                Some(Answer::Unavailable(_)) | None => return Err(QuotaError::NotConfirmed),
                // The answers to an ask.
                Some(Answer::Admitted(..) | Answer::Exceeded(_)) => {}
            }
        }
        Ok(count)
    }

    /// Each partition's state.
    pub fn partitions(&self) -> Vec<PartitionView> {
        self.partitions.iter().map(|partition| PartitionView::of(partition)).collect()
    }

    /// Closes periods that ended a while ago and removes them from memory and journal; also done
    /// from time to time without being asked.
    pub fn sweep(&self) {
        sweep(&self.partitions, &*self.journal);
    }

    /// Waits until all that was counted is written, here or by the owners it has to be delivered
    /// to; at most as long as for an answer and a delivery.
    pub async fn drain(&self) {
        let deadline = Instant::now() + self.patience.answer + DELIVERY;
        let busy = |partition: &&Arc<Partition>| !partition.is_idle();
        while Instant::now() < deadline {
            let busy: Vec<_> = self.partitions.iter().filter(busy).collect();
            if busy.is_empty() {
                return;
            }
            for partition in busy {
                partition.step([Event::Flush]);
                partition.deliver_leftovers();
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }

    /// Gives all partitions to other gateways, if there are any, and waits until they have them:
    /// from then on this gateway only passes requests on. Until then it serves: each partition
    /// goes over when its next owner asks for it.
    pub async fn hand_over(&self, within: Duration) {
        let others = self.owners().iter().any(|owner| **owner != *self.name);
        self.journal.resign().await;
        if !others {
            return;
        }
        let deadline = Instant::now() + within;
        for partition in &self.partitions {
            let mut place = partition.place();
            let gone = place.wait_for(|place| *place != Place::Here);
            if timeout_at(deadline, gone).await.is_err() {
                tracing::warn!(partition = partition.number, "no other gateway has taken it");
            }
        }
    }

    /// [`Quotas::drain`], then the end: nothing is admitted any more.
    pub async fn close(&self) {
        self.drain().await;
        for task in self.take_tasks() {
            task.abort();
            // It was aborted: that is the error.
            let _ = task.await;
        }
        self.partitions.iter().for_each(|partition| partition.step([Event::Halt]));
    }

    fn take_tasks(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Quotas {
    fn drop(&mut self) {
        self.take_tasks().iter().for_each(JoinHandle::abort);
    }
}

/// By the journal's clock, should this machine's be ahead of it: a period that is closed stays so
/// for good, in every gateway.
fn sweep(partitions: &[Arc<Partition>], journal: &dyn Journal) {
    let ahead = u64::try_from(journal.clock_ahead()).unwrap_or(0);
    let late = GRACE.saturating_add(Duration::from_millis(ahead));
    for partition in partitions {
        partition.step([Event::Sweep(partition.wall().minus(late))]);
    }
}

async fn sweep_for_ever(
    partitions: Vec<Arc<Partition>>,
    journal: Arc<dyn Journal>,
    every: Duration,
) {
    let mut times = tokio::time::interval(every);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        sweep(&partitions, &*journal);
    }
}
