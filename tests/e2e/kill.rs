//! kill -9 at random moments under load, counted from outside: by what clients saw.

mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use load::Load;

use crate::quota::{a_while_ago, used};
use crate::shared::dice::Dice;
use crate::support::gateway::base_config;
use crate::support::{Bank, Tollgate, eventually};

const KILLS: usize = 200;
/// After so many kills the counts are compared with nothing under way.
const AUDITED: usize = 10;
const CLIENTS: usize = 10;
const ACCOUNTS: usize = 300;
/// Between two kills.
const SERVES_LONGEST: Duration = Duration::from_millis(400);
/// Rule and limit; accounts take them in turn.
const STRICT: [(&str, u64); 3] = [("three", 3), ("eight", 8), ("twenty", 20)];

/// The same every time, unless the environment says otherwise.
fn seed() -> u64 {
    let seed = std::env::var("TOLLGATE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(20_260);
    println!("TOLLGATE_TEST_SEED={seed}");
    seed
}

fn route(rule: &str) -> String {
    format!(
        "  - {{ id: {rule}, match: {{ path: \"/{rule}/{{account}}\" }}, authenticate: bank, \
         account: path.account, quotas: [{rule}], cluster: checking, \
         rewrite: {{ path: /echo/kill }} }}\n"
    )
}

fn strict_config(bank: &Bank) -> String {
    let start = a_while_ago();
    // Few partitions: each start claims them all, and 200 starts are to be quick.
    base_config(bank).replace("FOLDER/state", "FOLDER/state, partitions: 4")
        + &format!(
            "quotas:\n\
             \x20 three: {{ per: [account], limit: 3, window: 24h, offset: {start}s }}\n\
             \x20 eight: {{ per: [account, client], limit: 8, window: 24h, rolling: true }}\n\
             \x20 twenty: {{ per: [account], limit: 20, window: 24h, offset: {start}s }}\n\
             routes:\n"
        )
        + &STRICT.map(|(rule, _)| route(rule)).concat()
}

/// What is known of each account from the last time that nothing was under way.
struct Audit(Vec<Known>);

#[derive(Clone, Copy, Default)]
struct Known {
    confirmed: u64,
    counted: u64,
}

impl Audit {
    /// All that was confirmed since the last time must have been added to the count.
    async fn check(&mut self, gateway: &Tollgate, load: &Load) {
        for (number, (known, account)) in self.0.iter_mut().zip(load.accounts()).enumerate() {
            let (confirmed, _) = account.seen();
            if confirmed == known.confirmed {
                continue;
            }
            let counted = counted(gateway, number).await;
            let new = confirmed - known.confirmed;
            let before = known.counted;
            assert!(counted >= before + new, "{}: {before} + {new} are {counted}", account.path);
            *known = Known { confirmed, counted };
        }
    }
}

async fn counted(gateway: &Tollgate, number: usize) -> u64 {
    used(gateway, &format!("acc-{number}"), STRICT[number % STRICT.len()].0).await
}

/// Kills it at random moments, some of them before it has started.
async fn kill_again_and_again(gateway: &mut Tollgate, load: &Arc<Load>, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut audit = Audit(vec![Known::default(); ACCOUNTS]);
    let mut clients = load.start(CLIENTS, seed);
    for kill in 1..=KILLS {
        // Fresh accounts come in all the time, so that until the end some are used up, some are
        // half used and some are new.
        load.open_up_to(ACCOUNTS * (kill + 20) / (KILLS + 20));
        if dice.below(5) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
        } else {
            gateway.until_ready().await;
            load.until_served(dice.below(16), SERVES_LONGEST).await;
            tokio::time::sleep(Duration::from_micros(dice.below(5_000))).await;
        }
        if kill % AUDITED == 0 {
            gateway.process().kill();
            load.stop(clients).await;
            gateway.crash_and_restart().await;
            audit.check(gateway, load).await;
            clients = load.start(CLIENTS, seed + kill as u64);
        } else {
            gateway.crash_and_relaunch();
        }
    }
    gateway.until_ready().await;
    load.stop(clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_lose_no_confirmed_use_and_admit_none_too_many() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&strict_config(&bank)).await;
    let seed = seed();
    let accounts = (0..ACCOUNTS).map(|number| {
        let (rule, limit) = STRICT[number % STRICT.len()];
        (format!("/{rule}/acc-{number}"), limit)
    });
    let load = Arc::new(Load::new(gateway.url(""), bank.token("budget-app").await, accounts));
    let started = Instant::now();
    kill_again_and_again(&mut gateway, &load, seed).await;
    let (confirmed, unknown) = load.totals();
    println!("{KILLS} kills in {:?}: {confirmed} confirmed, {unknown} unknown", started.elapsed());
    assert!(confirmed.min(unknown) > 2 * KILLS as u64, "there was too little load");
    load.assert_only_expected_answers();

    let mut wrong = Vec::new();
    let mut had_room = 0;
    for (number, account) in load.accounts().iter().enumerate() {
        let limit = account.limit;
        let (confirmed, unknown) = account.seen();
        let counted = counted(&gateway, number).await;
        if !(confirmed..=limit.min(confirmed + unknown)).contains(&counted) {
            wrong.push(format!(
                "{}: {counted} counted, {confirmed} confirmed, {unknown} unknown",
                account.path
            ));
        }
        had_room += u64::from(counted < limit);
    }
    assert_eq!(wrong, Vec::<String>::new(), "counts are not what clients saw");
    let used_up = ACCOUNTS as u64 - had_room;
    assert!(had_room > 30 && used_up > 30, "{had_room} have room, {used_up} are used up");

    load.use_up_all(CLIENTS).await;
    load.assert_only_expected_answers();
    for account in load.accounts() {
        let (confirmed, unknown) = account.seen();
        let allowed = account.limit.saturating_sub(unknown)..=account.limit;
        assert!(
            allowed.contains(&confirmed),
            "{}: {confirmed} served, {unknown} unknown",
            account.path
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_rule_loses_at_most_its_unconfirmed_uses_in_each_crash() {
    const ALLOWED: u64 = 5;
    const CRASHES: u64 = 12;
    const LIMIT: u64 = 400;
    let bank = Bank::start().await;
    let rule = format!(
        "quotas:\n  fast: {{ per: [account], limit: {LIMIT}, window: 24h, rolling: true, \
         accuracy: {{ fast: {ALLOWED} }} }}\nroutes:\n"
    );
    let mut gateway = Tollgate::start(&(base_config(&bank) + &rule + &route("fast"))).await;
    let seed = seed();
    let only = [("/fast/acc".to_owned(), LIMIT)].into_iter();
    let load = Arc::new(Load::new(gateway.url(""), bank.token("budget-app").await, only));
    load.open_up_to(1);
    let (mut confirmed_before, mut counted_before) = (0, 0);
    for crash in 0..CRASHES {
        let clients = load.start(CLIENTS, seed + crash);
        eventually("some answers", async || {
            let (confirmed, _) = load.totals();
            if confirmed >= confirmed_before + 20 { Ok(()) } else { Err(confirmed) }
        })
        .await;
        gateway.process().kill();
        load.stop(clients).await;
        gateway.crash_and_restart().await;
        let (confirmed, _) = load.totals();
        let counted = used(&gateway, "acc", "fast").await;
        let lost = (confirmed - confirmed_before).saturating_sub(counted - counted_before);
        println!("crash {crash}: {confirmed} confirmed, {counted} counted, {lost} lost");
        assert!(lost <= ALLOWED, "crash {crash} lost {lost} uses");
        (confirmed_before, counted_before) = (confirmed, counted);
    }
    load.use_up_all(CLIENTS).await;
    load.assert_only_expected_answers();
    let (confirmed, unknown) = load.totals();
    let allowed = LIMIT - unknown..=LIMIT + ALLOWED * CRASHES;
    assert!(allowed.contains(&confirmed), "{confirmed} served, {unknown} unknown");
}
