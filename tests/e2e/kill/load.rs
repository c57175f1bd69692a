//! Clients that ask and ask, put up with a gateway that is gone, and remember what they saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::task::JoinHandle;

use crate::shared::dice::Dice;

/// Between looks whether the gateway is back.
const AWAY: Duration = Duration::from_millis(20);

/// What clients saw of one account.
pub struct Account {
    pub path: String,
    pub limit: u64,
    /// Answers of 200 that were read to their end.
    confirmed: AtomicU64,
    /// Requests that may have been counted: no answer came, or one that says nothing of it.
    unknown: AtomicU64,
}

impl Account {
    /// Confirmed, unknown.
    pub fn seen(&self) -> (u64, u64) {
        (self.confirmed.load(Ordering::SeqCst), self.unknown.load(Ordering::SeqCst))
    }
}

enum Outcome {
    Served,
    Refused,
    /// The gateway isn't there, or not yet: nothing was counted.
    Absent,
    Unknown,
}

pub struct Load {
    base: String,
    token: String,
    accounts: Vec<Account>,
    open: AtomicUsize,
    stopped: AtomicBool,
    /// Answers that say that something else went wrong: the last of each status.
    odd: Mutex<BTreeMap<u16, String>>,
}

impl Load {
    pub fn new(base: String, token: String, accounts: impl Iterator<Item = (String, u64)>) -> Self {
        let accounts = accounts
            .map(|(path, limit)| Account {
                path,
                limit,
                confirmed: AtomicU64::new(0),
                unknown: AtomicU64::new(0),
            })
            .collect();
        Self {
            base,
            token,
            accounts,
            open: AtomicUsize::new(1),
            stopped: AtomicBool::new(false),
            odd: Mutex::default(),
        }
    }

    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// How many of the accounts are asked for.
    pub fn open_up_to(&self, count: usize) {
        self.open.store(count.clamp(1, self.accounts.len()), Ordering::Relaxed);
    }

    /// Confirmed, unknown, over all accounts.
    pub fn totals(&self) -> (u64, u64) {
        let seen = self.accounts.iter().map(Account::seen);
        seen.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Waits for so many more answers of 200, but not for ever.
    pub async fn until_served(&self, more: u64, longest: Duration) {
        let (start, until) = (self.totals().0, Instant::now() + longest);
        while self.totals().0 < start + more && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn start(self: &Arc<Self>, clients: usize, seed: u64) -> Vec<JoinHandle<()>> {
        self.stopped.store(false, Ordering::SeqCst);
        let one = |number| Arc::clone(self).ask_on_and_on(Dice::new(seed * 1000 + number));
        (0..clients as u64).map(|number| tokio::spawn(one(number))).collect()
    }

    pub async fn stop(&self, clients: Vec<JoinHandle<()>>) {
        self.stopped.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }
    }

    async fn ask_on_and_on(self: Arc<Self>, mut dice: Dice) {
        let client = client();
        while !self.stopped.load(Ordering::SeqCst) {
            let open = self.open.load(Ordering::Relaxed);
            let account = &self.accounts[dice.below(open as u64) as usize];
            if let Outcome::Absent = self.ask(&client, account).await {
                tokio::time::sleep(AWAY).await;
            }
        }
    }

    async fn ask(&self, client: &reqwest::Client, account: &Account) -> Outcome {
        let request = client.get(format!("{}{}", self.base, account.path)).bearer_auth(&self.token);
        let outcome = match request.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                self.judge(status, answer.text().await.ok())
            }
            Err(error) if error.is_connect() => Outcome::Absent,
            Err(_) => Outcome::Unknown,
        };
        match outcome {
            Outcome::Served => _ = account.confirmed.fetch_add(1, Ordering::SeqCst),
            Outcome::Unknown => _ = account.unknown.fetch_add(1, Ordering::SeqCst),
            Outcome::Refused | Outcome::Absent => {}
        }
        outcome
    }

    fn judge(&self, status: u16, body: Option<String>) -> Outcome {
        match (status, body) {
            (200, Some(_)) => Outcome::Served,
            (429, _) => Outcome::Refused,
            // While it starts, it may not be able to tell yet who is calling.
            (503, Some(body)) if body.contains("identity-unavailable") => Outcome::Absent,
            (200, None) => Outcome::Unknown,
            (status, body) => {
                self.odd.lock().unwrap().insert(status, body.unwrap_or_default());
                Outcome::Unknown
            }
        }
    }

    /// Asks for each account until it is refused.
    pub async fn use_up_all(&self, clients: usize) {
        let client = client();
        let one = async |account: &Account| {
            // One more than the limit is already a failure, which the caller finds.
            for _ in 0..=account.limit * 2 {
                if let Outcome::Refused = self.ask(&client, account).await {
                    return;
                }
            }
            panic!("{} is never refused", account.path);
        };
        futures::stream::iter(&self.accounts).for_each_concurrent(clients, one).await;
    }

    pub fn assert_only_expected_answers(&self) {
        let odd = self.odd.lock().unwrap();
        assert!(odd.is_empty(), "answers that nobody expects: {odd:?}");
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap()
}
