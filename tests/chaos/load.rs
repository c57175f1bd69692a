//! Clients from outside. They ask for hundreds of accounts at a steady rate, whether or not answers
//! come, through whichever gateway a load balancer holds for ready, and note what they saw.

mod ask;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::{RULES, Rule};
use crate::fault::GATEWAYS;
use crate::seen::{Millis, Seen};
use crate::shared::dice::Dice;

/// Accounts that are asked for at a time.
const OPEN: usize = 240;
/// An account that was refused so often makes room for a fresh one.
const ENOUGH: u32 = 4;
/// Between two requests.
const PACE: Duration = Duration::from_millis(16);
/// Clients that are waiting at most.
const WAITING: usize = 1_500;
/// Between two looks of the load balancer.
const LOOK: Duration = Duration::from_millis(200);
/// Accounts that are asked for again and again at a time because they got no answer.
const PURSUED: usize = 12;

/// An account and what is under way for it.
pub struct Account {
    pub name: String,
    pub rule: Rule,
    refused: AtomicU32,
    /// When an answer of the quota last came.
    answered: AtomicU32,
    pursued: AtomicBool,
}

impl Account {
    pub fn path(&self) -> String {
        format!("/{}/{}", self.rule.name, self.name)
    }
}

/// A gateway as its clients know it.
struct Entry {
    url: String,
    ready_url: String,
    ready: AtomicBool,
}

pub struct Load {
    pub accounts: Vec<Account>,
    /// Accounts that have been asked for.
    opened: AtomicUsize,
    slots: Vec<AtomicUsize>,
    entries: Vec<Entry>,
    client: reqwest::Client,
    began: Instant,
    stopped: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    waiting: Arc<Semaphore>,
    pursuits: Arc<Semaphore>,
    turn: AtomicUsize,
}

impl Load {
    /// For gateways at these addresses, clients' and operators'. Accounts have the round in their
    /// names, so that each round has fresh ones.
    pub fn new(round: usize, most: usize, urls: Vec<(String, String)>) -> Arc<Self> {
        let accounts = (0..most).map(|number| Account {
            name: format!("r{round}-{number}"),
            rule: RULES[number % RULES.len()],
            refused: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            pursued: AtomicBool::new(false),
        });
        let entries = urls.into_iter().map(|(url, admin)| Entry {
            url,
            ready_url: format!("{admin}/ready"),
            ready: AtomicBool::new(true),
        });
        Arc::new(Self {
            accounts: accounts.collect(),
            opened: AtomicUsize::new(OPEN.min(most)),
            slots: (0..OPEN.min(most)).map(AtomicUsize::new).collect(),
            entries: entries.collect(),
            client: reqwest::Client::builder().timeout(ask::LONGEST).build().unwrap(),
            began: Instant::now(),
            stopped: AtomicBool::new(false),
            seen: Mutex::default(),
            waiting: Arc::new(Semaphore::new(WAITING)),
            pursuits: Arc::new(Semaphore::new(PURSUED)),
            turn: AtomicUsize::new(0),
        })
    }

    pub fn now(&self) -> Millis {
        self.began.elapsed().as_millis() as Millis
    }

    /// Those that have been asked for.
    pub fn opened(&self) -> &[Account] {
        &self.accounts[..self.opened.load(Ordering::SeqCst)]
    }

    /// All requests that have ended.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Whether some account is without an answer just now.
    pub fn is_pursuing(&self) -> bool {
        self.pursuits.available_permits() < PURSUED
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Asks until it is stopped, and all that is under way has ended.
    pub async fn run(self: Arc<Self>, seed: u64) {
        let balancer = tokio::spawn(Arc::clone(&self).look_for_ready_ones());
        let mut dice = Dice::new(seed);
        let mut pace = tokio::time::interval(PACE);
        let mut asking = JoinSet::new();
        while !self.is_stopped() {
            pace.tick().await;
            while asking.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&self.waiting).try_acquire_owned() else { continue };
            let (account, entry) = (self.some_account(&mut dice), self.some_entry(&mut dice));
            let unsafe_method = dice.below(8) == 0;
            let load = Arc::clone(&self);
            asking.spawn(async move {
                load.ask_and_pursue(account, entry, unsafe_method).await;
                drop(permit);
            });
        }
        while asking.join_next().await.is_some() {}
        balancer.abort();
    }

    /// Mostly one of those that are open; now and then one that was refused long ago.
    fn some_account(&self, dice: &mut Dice) -> usize {
        if dice.below(50) == 0 {
            return dice.below(self.opened.load(Ordering::SeqCst) as u64) as usize;
        }
        let slot = &self.slots[dice.below(self.slots.len() as u64) as usize];
        let number = slot.load(Ordering::SeqCst);
        let is_used_up = self.accounts[number].refused.load(Ordering::SeqCst) >= ENOUGH;
        if !is_used_up || self.opened.load(Ordering::SeqCst) == self.accounts.len() {
            return number;
        }
        let fresh = self.opened.fetch_add(1, Ordering::SeqCst);
        slot.store(fresh, Ordering::SeqCst);
        fresh
    }

    /// Mostly a gateway that is ready; now and then any, since balancers are late.
    fn some_entry(&self, dice: &mut Dice) -> usize {
        let any = dice.below(GATEWAYS as u64) as usize;
        if dice.below(20) == 0 { any } else { self.ready_from(any) }
    }

    /// The first that is ready, from one on.
    fn ready_from(&self, first: usize) -> usize {
        let in_turn = (0..GATEWAYS).map(|step| (first + step) % GATEWAYS);
        let ready = |number: &usize| self.entries[*number].ready.load(Ordering::SeqCst);
        in_turn.clone().find(ready).unwrap_or(first)
    }

    fn next_entry(&self) -> usize {
        self.ready_from(self.turn.fetch_add(1, Ordering::SeqCst) % GATEWAYS)
    }

    async fn look_for_ready_ones(self: Arc<Self>) {
        let looker = reqwest::Client::builder().timeout(LOOK * 2).build().unwrap();
        let look = async |entry: &Entry| {
            let answer = looker.get(&entry.ready_url).send().await;
            let ready = answer.is_ok_and(|answer| answer.status() == 200);
            entry.ready.store(ready, Ordering::SeqCst);
        };
        loop {
            futures::future::join_all(self.entries.iter().map(look)).await;
            tokio::time::sleep(LOOK).await;
        }
    }
}
