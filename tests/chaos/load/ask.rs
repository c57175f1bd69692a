//! One request, and what a client does when it is not answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Account, ENOUGH, Load};
use crate::seen::{Outcome, Seen};

/// How long a client waits for an answer.
pub const LONGEST: Duration = Duration::from_secs(20);
/// After so long without an answer an account is asked for by others, too.
pub const HEDGE: Duration = Duration::from_millis(300);
/// Between those requests.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_AT_MOST: Duration = Duration::from_millis(800);
/// How often an account is asked for at the end, beyond its limit, until it is refused.
const TRIES: u64 = 40;

impl Load {
    /// Asks, and goes on asking through other gateways until the quota has answered: that is how
    /// long the account was without one.
    pub(super) async fn ask_and_pursue(
        self: &Arc<Self>,
        number: usize,
        entry: usize,
        unsafe_method: bool,
    ) {
        let sent = self.now();
        let load = Arc::clone(self);
        let mut asking = tokio::spawn(async move { load.ask(number, entry, unsafe_method).await });
        let definite = match timeout(HEDGE, &mut asking).await {
            Ok(outcome) => outcome.unwrap().is_definite(),
            Err(_) => false,
        };
        if !definite {
            self.pursue(number, sent).await;
        }
        if !asking.is_finished() {
            asking.await.unwrap();
        }
    }

    async fn pursue(self: &Arc<Self>, number: usize, since: u32) {
        let account = &self.accounts[number];
        let Ok(permit) = self.pursuits.try_acquire() else { return };
        if account.pursued.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut pause = AGAIN;
        let mut asking = JoinSet::new();
        while account.answered.load(Ordering::SeqCst) <= since && !self.is_stopped() {
            let (load, entry) = (Arc::clone(self), self.next_entry());
            asking.spawn(async move { load.ask(number, entry, false).await });
            // The next one early, once this one is answered.
            let _ = timeout(pause, asking.join_next()).await;
            sleep(AGAIN / 2).await;
            pause = (pause * 3 / 2).min(AGAIN_AT_MOST);
        }
        account.pursued.store(false, Ordering::SeqCst);
        drop(permit);
        while asking.join_next().await.is_some() {}
    }

    async fn ask(&self, number: usize, entry: usize, unsafe_method: bool) -> Outcome {
        let account = &self.accounts[number];
        let sent = self.now();
        let method = if unsafe_method { Method::POST } else { Method::GET };
        let outcome = self.send(method, account, entry).await;
        let ended = self.now();
        if outcome == Outcome::Refused {
            account.refused.fetch_add(1, Ordering::SeqCst);
        }
        if outcome.is_definite() {
            account.answered.fetch_max(ended.max(1), Ordering::SeqCst);
        }
        let (account, gateway) = (number as u32, entry as u8);
        let seen = Seen { account, gateway, unsafe_method, sent, ended, outcome };
        self.seen.lock().unwrap().push(seen);
        outcome
    }

    async fn send(&self, method: Method, account: &Account, entry: usize) -> Outcome {
        let url = format!("{}{}", self.entries[entry].url, account.path());
        let answer = match self.client.request(method, url).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Outcome::Absent,
            Err(error) if error.is_timeout() => return Outcome::Unanswered,
            Err(_) => return Outcome::Broken,
        };
        let status = answer.status().as_u16();
        match (status, answer.text().await) {
            (_, Err(_)) => Outcome::Broken,
            (200, Ok(_)) => Outcome::Served,
            (429, Ok(text)) if text.contains("quota-exceeded") => Outcome::Refused,
            (status, Ok(_)) => Outcome::Failed(status),
        }
    }

    /// Asks for an account until it is refused, once all is well again.
    ///
    /// # Errors
    /// It never is, or another answer comes.
    pub async fn use_up(&self, number: usize) -> Result<(), String> {
        let account = &self.accounts[number];
        let mut failures = 0;
        for turn in 0..account.rule.limit + TRIES {
            match self.ask(number, turn as usize % self.entries.len(), false).await {
                Outcome::Refused => {
                    account.refused.fetch_max(ENOUGH, Ordering::SeqCst);
                    return Ok(());
                }
                Outcome::Served => {}
                // Right after the faults a pooled connection may turn out dead.
                other if failures == 3 => {
                    return Err(format!("{}: {other:?} although nothing is wrong", account.path()));
                }
                _ => {
                    failures += 1;
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
        Err(format!("{} is never refused", account.path()))
    }
}
