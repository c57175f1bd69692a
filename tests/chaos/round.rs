//! One round: load, faults alone, a storm of faults, healing, judgement.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep};

use crate::fault::{Fault, GATEWAYS};
use crate::judge::{Case, Done, Verdict};
use crate::load::{Account, Load};
use crate::plan::{Lane, Round};
use crate::seen::{Millis, Outage, Seen, outages};
use crate::world::World;

/// Accounts that one round may use.
const ACCOUNTS: usize = 6_000;
/// Before the first fault.
const WARM_UP: Duration = Duration::from_secs(3);
/// After a fault that comes alone, beyond the time until all accounts are answered.
const REST: Duration = Duration::from_millis(1_500);
const REST_AT_MOST: Duration = Duration::from_secs(25);
/// Questions at once to gateways that are well.
const AT_ONCE: usize = 16;
/// A slower answer is an outage.
pub const PATIENCE: Millis = 250;
/// How long replicas may take to be equal.
const EQUAL_IN: Duration = Duration::from_secs(30);

/// What a round came to.
pub struct Played {
    pub done: Vec<Done>,
    pub seen: Vec<Seen>,
    pub outages: Vec<Outage>,
    pub verdicts: Vec<(&'static str, Verdict)>,
    /// Beyond those of accounts.
    pub violations: Vec<String>,
    pub lasted: Duration,
}

struct Stage<'a> {
    world: &'a World,
    load: Arc<Load>,
    done: Mutex<Vec<Done>>,
    violations: Mutex<Vec<String>>,
}

/// Plays a round, until `until` at the latest: faults that are planned beyond it are left out.
pub async fn play(world: &World, plan: &Round, turn: usize, seed: u64, until: Instant) -> Played {
    let started = Instant::now();
    let urls = (0..GATEWAYS).map(|one| (world.url(one, ""), world.admin_url(one, "")));
    let load = Load::new(turn, ACCOUNTS, urls.collect());
    let stage = Stage { world, load, done: Mutex::default(), violations: Mutex::default() };
    world.witness.may_fail(true);
    let clients = tokio::spawn(Arc::clone(&stage.load).run(seed));
    sleep(WARM_UP).await;
    stage.one_by_one(&plan.alone, until).await;
    let lanes = plan.storm.iter().map(|lane| stage.one_after_the_other(lane, until));
    futures::future::join_all(lanes).await;
    let settled = world.until_settled().await;
    stage.load.stop();
    clients.await.unwrap();
    // Gateways that are not well can't be asked for each account.
    let accounts = if settled.is_ok() { stage.load.opened() } else { &[] };
    stage.note(settled);
    stage.judge(accounts, started).await
}

impl Stage<'_> {
    fn note(&self, result: Result<(), String>) {
        if let Err(error) = result {
            println!("  wrong: {error}");
            self.violations.lock().unwrap().push(error);
        }
    }

    async fn one_by_one(&self, faults: &[Fault], until: Instant) {
        for fault in faults.iter().take_while(|_| Instant::now() < until) {
            self.inflict(fault, true).await;
            let over = Instant::now();
            sleep(REST).await;
            while self.load.is_pursuing() && over.elapsed() < REST_AT_MOST {
                sleep(Duration::from_millis(50)).await;
            }
            self.done.lock().unwrap().last_mut().unwrap().to = self.load.now();
        }
    }

    async fn one_after_the_other(&self, lane: &Lane, until: Instant) {
        for (pause, fault) in lane.iter().take_while(|_| Instant::now() < until) {
            sleep(*pause).await;
            self.inflict(fault, false).await;
        }
    }

    async fn inflict(&self, fault: &Fault, alone: bool) {
        let from = self.load.now();
        self.note(self.world.inflict(fault).await);
        self.note(self.world.revive().await);
        let to = self.load.now();
        println!("  {from:>7} to {to:>7} ms: {fault}");
        self.done.lock().unwrap().push(Done { fault: fault.clone(), from, to, alone });
    }

    /// Nothing is under way any more, and nothing is wrong.
    async fn judge(&self, accounts: &[Account], started: Instant) -> Played {
        let healed_at = self.load.now();
        self.world.witness.may_fail(false);
        let healed = self.of_each(accounts, async |_, account| self.used(0, account).await).await;
        let used_up = self.of_each(accounts, async |number, _| self.load.use_up(number).await);
        for result in used_up.await {
            self.note(result);
        }
        let folds = self.of_each(accounts, async |_, account| self.folds(account).await).await;
        let done = std::mem::take(&mut *self.done.lock().unwrap());
        let seen = self.load.seen();
        let mut by_account: Vec<Vec<Seen>> = vec![Vec::new(); self.load.accounts.len()];
        seen.iter().for_each(|seen| by_account[seen.account as usize].push(*seen));
        let resumed = self.world.resumed().await;
        let (mut verdicts, mut all_outages) = (Vec::new(), Vec::new());
        for (number, account) in accounts.iter().enumerate() {
            let requests = &by_account[number];
            all_outages.extend(outages(number as u32, requests, PATIENCE));
            let case = Case {
                name: &account.name,
                rule: account.rule,
                requests,
                faults: &done,
                backend: self.world.witness.served(&account.path()),
                resumed,
                healed: healed[number],
                healed_at,
                folds: &folds[number],
            };
            verdicts.push((account.rule.name, case.judge()));
        }
        let violations = std::mem::take(&mut *self.violations.lock().unwrap());
        let lasted = started.elapsed();
        Played { done, seen, outages: all_outages, verdicts, violations, lasted }
    }

    async fn of_each<T>(
        &self,
        accounts: &[Account],
        what: impl AsyncFn(usize, &Account) -> T,
    ) -> Vec<T> {
        let each = accounts.iter().enumerate().map(|(number, account)| what(number, account));
        futures::stream::iter(each).buffered(AT_ONCE).collect().await
    }

    async fn used(&self, gateway: usize, account: &Account) -> u64 {
        match self.world.used(gateway, &account.name, account.rule.name).await {
            Ok(used) => used,
            Err(error) => {
                self.note(Err(format!("gateway {gateway} on {}: {error}", account.name)));
                0
            }
        }
    }

    /// At each gateway, once they are equal, or the time for that is over.
    async fn folds(&self, account: &Account) -> Vec<u64> {
        let asked = Instant::now();
        loop {
            let mut folds = Vec::new();
            for gateway in 0..GATEWAYS {
                folds.push(self.used(gateway, account).await);
            }
            let equal = folds.iter().all(|fold| *fold == folds[0]);
            if equal || asked.elapsed() > EQUAL_IN {
                return folds;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}
