use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;

use super::cluster::LiveCluster;
use crate::config::model::RetryCause;
use crate::observe::Event;
use crate::request::UnixMillis;

/// Seconds that are looked back on.
const WINDOW: u64 = 10;
/// Retries that a cluster with little traffic may always make in a window: ten percent of three
/// requests would be none.
const ALWAYS: u64 = 3;

/// Counts a cluster's requests and retries over the last ten seconds, so that retries stay a
/// share of the traffic: a backend that fails everything gets a little more than its usual load,
/// not a multiple of it.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// One for each second, by its number modulo ten.
    seconds: [AtomicU64; WINDOW as usize],
}

/// One second's counts, packed so that they change together: 20 bits of the second's number, 24
/// bits of requests, 20 bits of retries.
#[derive(Clone, Copy)]
struct Second {
    number: u64,
    requests: u64,
    retries: u64,
}

impl Second {
    const NUMBERS: u64 = 1 << 20;
    const MOST_REQUESTS: u64 = (1 << 24) - 1;
    const MOST_RETRIES: u64 = (1 << 20) - 1;

    fn unpack(packed: u64) -> Self {
        Self {
            number: packed >> 44,
            requests: (packed >> 20) & Self::MOST_REQUESTS,
            retries: packed & Self::MOST_RETRIES,
        }
    }

    fn pack(self) -> u64 {
        self.number << 44
            | self.requests.min(Self::MOST_REQUESTS) << 20
            | self.retries.min(Self::MOST_RETRIES)
    }

    /// These counts if they are of that second, else none.
    fn of(packed: u64, number: u64) -> Self {
        let second = Self::unpack(packed);
        if second.number == number { second } else { Self { number, requests: 0, retries: 0 } }
    }

    fn is_within(self, now: u64) -> bool {
        // Numbers wrap after twelve days; a second of the future (a clock set back) is too old.
        now.wrapping_sub(self.number) % Self::NUMBERS < WINDOW
    }
}

impl RetryBudget {
    /// Counts a request, retries excluded.
    pub fn request(&self, now: UnixMillis) {
        let (slot, number) = self.slot(now);
        let count = |packed| {
            let mut second = Second::of(packed, number);
            second.requests += 1;
            Some(second.pack())
        };
        // The closure never gives up, so neither does the update.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
    }

    /// Takes one retry if `percent` of the window's requests allow it. Exact under concurrency
    /// within a second, since only its counts change and a change of them is seen; where one
    /// second becomes the next, each thread that was about to take one may take it in both.
    pub fn take(&self, now: UnixMillis, percent: u8) -> bool {
        let (slot, number) = self.slot(now);
        slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let mut second = Second::of(packed, number);
            (self.left(now, percent) > 0).then(|| {
                second.retries += 1;
                second.pack()
            })
        })
        .is_ok()
    }

    /// Retries that `percent` of the window's requests still allow.
    pub fn left(&self, now: UnixMillis, percent: u8) -> u64 {
        if percent == 0 {
            return 0;
        }
        let number = now.seconds() % Second::NUMBERS;
        let (mut requests, mut retries) = (0, 0);
        for packed in &self.seconds {
            let second = Second::unpack(packed.load(Ordering::Relaxed));
            if second.is_within(number) {
                requests += second.requests;
                retries += second.retries;
            }
        }
        let allowed = (requests * u64::from(percent) / 100).max(ALWAYS);
        allowed.saturating_sub(retries)
    }

    fn slot(&self, now: UnixMillis) -> (&AtomicU64, u64) {
        let [first, ..] = &self.seconds;
        let index = usize::try_from(now.seconds() % WINDOW).unwrap_or(0);
        (self.seconds.get(index).unwrap_or(first), now.seconds() % Second::NUMBERS)
    }
}

impl LiveCluster {
    /// Whether a request may be tried again, and if so, takes it from the budget.
    ///
    /// `tries` is how often it was tried so far. `reached_backend` is whether the backend may have
    /// seen it: then only idempotent requests are tried again (RFC 9110 section 9.2.2), and only
    /// while their body can be sent again.
    pub fn may_retry(
        &self,
        cause: RetryCause,
        method: &Method,
        reached_backend: bool,
        body_replayable: bool,
        tries: u32,
    ) -> bool {
        let Some(retries) = &self.model().retries else { return false };
        let safe = !reached_backend || (method.is_idempotent() && body_replayable);
        if !safe || tries > retries.attempts || !retries.on.contains(&cause) {
            return false;
        }
        let taken = self.budget().take(self.now(), retries.budget_percent);
        let cluster = self.name();
        self.record(match taken {
            true => Event::Retried { cluster },
            false => Event::RetryBudgetSpent { cluster },
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const START: UnixMillis = UnixMillis(1_700_000_000_000);

    fn take_all(budget: &RetryBudget, now: UnixMillis, percent: u8) -> usize {
        (0..10_000).take_while(|_| budget.take(now, percent)).count()
    }

    #[test]
    fn a_quiet_cluster_may_retry_a_little() {
        let budget = RetryBudget::default();
        budget.request(START);
        assert_eq!(take_all(&budget, START, 20), 3);
    }

    #[test]
    fn a_busy_cluster_may_retry_its_percentage_of_ten_seconds() {
        let budget = RetryBudget::default();
        for second in 0..10 {
            for _ in 0..100 {
                budget.request(START.plus(Duration::from_secs(second)));
            }
        }
        let last = START.plus(Duration::from_secs(9));
        assert_eq!(budget.left(last, 20), 200);
        assert_eq!(take_all(&budget, last, 20), 200);
        assert_eq!(budget.left(last, 20), 0);
    }

    #[test]
    fn what_is_older_than_ten_seconds_no_longer_counts() {
        let budget = RetryBudget::default();
        for _ in 0..1000 {
            budget.request(START);
        }
        assert_eq!(take_all(&budget, START, 10), 100);
        let later = START.plus(Duration::from_secs(9));
        assert_eq!(budget.left(later, 10), 0);
        let later = START.plus(Duration::from_secs(10));
        assert_eq!(budget.left(later, 10), 3);
    }

    #[test]
    fn zero_percent_is_no_retry_at_all() {
        assert!(!RetryBudget::default().take(START, 0));
    }

    #[test]
    fn threads_together_take_no_more_than_the_budget() {
        let budget = RetryBudget::default();
        for _ in 0..1000 {
            budget.request(START);
        }
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| take_all(&budget, START, 20))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 200);
    }

    proptest! {
        #[test]
        fn retries_never_exceed_the_share_of_the_last_ten_seconds(
            steps in proptest::collection::vec((0u64..4000, any::<bool>()), 1..300),
            percent in 1u8..=100,
        ) {
            let budget = RetryBudget::default();
            let mut now = START;
            let mut requests: Vec<u64> = Vec::new();
            let mut retries: Vec<u64> = Vec::new();
            for (pause, is_request) in steps {
                now = now.plus(Duration::from_millis(pause));
                let within = |at: &&u64| now.seconds() - **at < WINDOW;
                let allowed = (requests.iter().filter(within).count() as u64 * u64::from(percent) / 100).max(ALWAYS);
                let used = retries.iter().filter(within).count() as u64;
                if is_request {
                    budget.request(now);
                    requests.push(now.seconds());
                } else {
                    let taken = budget.take(now, percent);
                    prop_assert_eq!(taken, used < allowed);
                    if taken {
                        retries.push(now.seconds());
                    }
                }
            }
        }
    }
}
