//! A disk that is full, read-only, shared or damaged: clear words, and no confirmed use is lost.

mod files;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use files::files;
use futures::future::join_all;

use crate::quota::{a_while_ago, used};
use crate::shared::files::copy_all;
use crate::shared::small_disk::SmallDisk;
use crate::support::gateway::base_config;
use crate::support::wire::logged;
use crate::support::{Answer, Bank, Process, Tollgate, eventually, own_address};

const FAST_LIMIT: u64 = 20;
const UNCONFIRMED: u64 = 5;

fn config(bank: &Bank) -> String {
    let mut text = base_config(bank) + "quotas:\n";
    let start = a_while_ago();
    for (rule, limit) in [("deny", 1000), ("allow", 1000), ("local", 3), ("few", 3)] {
        let unavailable = if rule == "few" { "deny" } else { rule };
        text += &format!(
            "  {rule}: {{ per: [account], limit: {limit}, window: 24h, offset: {start}s, \
             unavailable: {unavailable} }}\n"
        );
    }
    text += &format!(
        "  fast: {{ per: [account], limit: {FAST_LIMIT}, window: 24h, offset: {start}s, \
         accuracy: {{ fast: {UNCONFIRMED} }} }}\nroutes:\n"
    );
    let cache = ", cache: { fresh: 1h, visible_to: client }";
    for (id, rule, more) in [
        ("deny", "deny", ""),
        ("allow", "allow", ""),
        ("local", "local", ""),
        ("few", "few", ""),
        ("fast", "fast", ""),
        ("kept", "allow", cache),
    ] {
        text += &format!(
            "  - {{ id: {id}, match: {{ path: \"/{id}/{{account}}\" }}, authenticate: bank, \
             account: path.account, quotas: [{rule}], cluster: checking, \
             rewrite: {{ path: \"/v1/{{account}}\" }}{more} }}\n"
        );
    }
    text
}

/// The same gateway with its state on a disk of its own.
fn on(disk: &SmallDisk, config: &str) -> String {
    config.replace("FOLDER/state", &disk.path().join("state").display().to_string())
}

/// Runs a start that must fail: its exit status and what it said.
async fn failed_start(config: &Path) -> (Option<i32>, String) {
    let said = config.with_extension("said");
    let mut process = Process::start(
        Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["run", "--config"])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap()),
    );
    let status = eventually("the start to fail", async || process.exited().ok_or("it runs")).await;
    (status.code(), fs::read_to_string(said).unwrap())
}

fn state(gateway: &Tollgate) -> PathBuf {
    gateway.folder().join("state")
}

/// Whether it has this status, and says that it was not counted or doesn't.
fn is(answer: &Answer, status: u16, unaccounted: bool) -> bool {
    answer.status == status && (answer.header("x-quota-unaccounted") == "true") == unaccounted
}

#[tokio::test]
async fn a_second_process_on_the_same_state_is_told_so_and_the_first_serves_on() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let token = bank.token("budget-app").await;
    assert_eq!(gateway.get("/deny/4711", &token).await.status, 200);
    let text = fs::read_to_string(gateway.folder().join("tollgate.yaml")).unwrap();
    let second = gateway.folder().join("second.yaml");
    let other = own_address().to_string();
    fs::write(&second, text.replace(&gateway.address().to_string(), &other)).unwrap();
    let (status, said) = failed_start(&second).await;
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains(&state(&gateway).display().to_string()), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    assert!(said.contains("give this one a state directory of its own"), "{said}");
    assert_eq!(gateway.get("/deny/4711", &token).await.status, 200);
    assert_eq!(used(&gateway, "4711", "deny").await, 2);
}

#[tokio::test]
async fn while_the_disk_is_full_each_rule_does_what_it_says_and_nothing_confirmed_is_lost() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&on(&disk, &config(&bank))).await;
    let token = bank.token("budget-app").await;
    let mut confirmed = 0;
    for _ in 0..5 {
        confirmed += u64::from(is(&gateway.get("/deny/4711", &token).await, 200, false));
    }
    assert_eq!(confirmed, 5);
    assert_eq!(gateway.get("/kept/4711", &token).await.status, 200);

    let ballast = disk.fill();
    let refused = eventually("the disk to be full", async || {
        let answer = gateway.get("/deny/4711", &token).await;
        confirmed += u64::from(answer.status == 200);
        if answer.status == 200 { Err(confirmed) } else { Ok(answer) }
    })
    .await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "quota-unavailable"));
    assert!(refused.json()["detail"].as_str().unwrap().contains("'deny'"), "{refused:?}");
    // It tries again and again, and what is small may find a last bit of room in between.
    let without_count = async |path: &str| {
        eventually("an answer that isn't counted", async || {
            let answer = gateway.get(path, &token).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            if answer.header("x-quota-unaccounted") == "true" {
                Ok(answer)
            } else {
                Err(path.len())
            }
        })
        .await
    };
    without_count("/allow/4711").await;
    without_count("/allow/new").await;
    assert!(without_count("/kept/4711").await.is_hit());
    assert_eq!(gateway.get("/kept/new", &token).await.status, 200, "a fault of the disk is a miss");
    let mut counted_here = 0;
    while gateway.get("/local/4711", &token).await.status == 200 {
        counted_here += 1;
    }
    assert!((3..=6).contains(&counted_here), "counted in memory: {counted_here}");
    eventually("a refusal again", async || {
        let status = gateway.get("/deny/4711", &token).await.status.as_u16();
        confirmed += u64::from(status == 200);
        if status == 503 { Ok(()) } else { Err(status) }
    })
    .await;

    fs::remove_file(ballast).unwrap();
    eventually("the disk to be used again", async || {
        let answer = gateway.get("/deny/4711", &token).await;
        confirmed += u64::from(answer.status == 200);
        if is(&answer, 200, false) { Ok(()) } else { Err(answer.status) }
    })
    .await;
    assert!(used(&gateway, "4711", "deny").await >= confirmed);
    assert_eq!(used(&gateway, "new", "deny").await, 0);
    eventually("what was served without counting to be counted", async || {
        let counted = used(&gateway, "new", "allow").await;
        if counted >= 2 { Ok(()) } else { Err(counted) }
    })
    .await;
    gateway.crash_and_restart().await;
    let kept = used(&gateway, "4711", "deny").await;
    assert!(kept >= confirmed, "{kept} of {confirmed}");
}

#[tokio::test]
async fn a_fast_rule_that_can_write_nothing_serves_and_loses_no_more_than_it_may() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&on(&disk, &config(&bank))).await;
    let token = bank.token("budget-app").await;
    let accounts = ["fast-0", "fast-1", "fast-2", "fast-3"];
    for account in accounts {
        for _ in 0..3 {
            assert_eq!(gateway.get(&format!("/fast/{account}"), &token).await.status, 200);
        }
        eventually("the count", async || {
            let counted = used(&gateway, account, "fast").await;
            if counted == 3 { Ok(()) } else { Err(counted) }
        })
        .await;
    }
    let ballast = disk.fill();
    eventually("the disk to be full", async || {
        let status = gateway.get("/deny/4711", &token).await.status;
        if status == 503 { Ok(()) } else { Err(status) }
    })
    .await;
    let mut served = [3; 4];
    let asked = (0..4 * (UNCONFIRMED + 3)).map(|number| {
        let which = (number % 4) as usize;
        let (path, gateway, token) = (format!("/fast/{}", accounts[which]), &gateway, &token);
        async move { (which, gateway.get(&path, token).await.status.as_u16()) }
    });
    for (which, status) in join_all(asked).await {
        assert!([200, 503].contains(&status), "{status}");
        served[which] += u64::from(status == 200);
    }
    gateway.process().kill();
    fs::remove_file(ballast).unwrap();
    gateway.crash_and_restart().await;
    for (account, served) in accounts.into_iter().zip(served) {
        let counted = used(&gateway, account, "fast").await;
        println!("{account}: {served} served, {counted} counted");
        assert!((3..=served).contains(&counted), "{account}: {counted} of {served}");
        assert!(served - counted <= UNCONFIRMED, "{account}: {counted} of {served}");
        let mut total = served;
        while gateway.get(&format!("/fast/{account}"), &token).await.status == 200 {
            total += 1;
        }
        assert!((FAST_LIMIT..=FAST_LIMIT + UNCONFIRMED).contains(&total), "{account}: {total}");
    }
}

#[tokio::test]
async fn a_read_only_disk_is_named_at_start_and_nothing_on_it_is_lost() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&on(&disk, &config(&bank))).await;
    let token = bank.token("budget-app").await;
    for _ in 0..2 {
        assert_eq!(gateway.get("/deny/4711", &token).await.status, 200);
    }
    gateway.process().kill();
    disk.remount("ro");
    let (status, said) = failed_start(&gateway.folder().join("tollgate.yaml")).await;
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains(&disk.path().join("state").display().to_string()), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    disk.remount("rw");
    gateway.crash_and_restart().await;
    assert_eq!(used(&gateway, "4711", "deny").await, 2);
}

#[tokio::test]
async fn a_damaged_cache_is_put_aside_and_the_counts_are_kept() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&config(&bank)).await;
    let token = bank.token("budget-app").await;
    assert_eq!(gateway.get("/kept/4711", &token).await.status, 200);
    assert!(gateway.get("/kept/4711", &token).await.is_hit());
    eventually("the answer to be on disk", async || {
        let view = gateway.view("/cache/4711").await;
        let kept = view["answers"][0]["kept"].as_str().unwrap_or_default().to_owned();
        if kept.contains("disk") { Ok(()) } else { Err(kept) }
    })
    .await;
    gateway.crash_and_restart().await;
    assert!(gateway.get("/kept/4711", &token).await.is_hit(), "it is on disk");
    gateway.process().kill();
    for file in files(&state(&gateway).join("cache")) {
        let length = fs::metadata(&file).unwrap().len();
        fs::write(&file, vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
    }
    gateway.crash_and_restart().await;
    assert!(gateway.log().contains("the account cache can't be read"), "{}", gateway.log());
    assert_eq!(used(&gateway, "4711", "allow").await, 3);
    let view = gateway.view("/cache/4711").await;
    assert_eq!(view["answers"], serde_json::json!([]));
    let calls = bank.calls().await;
    let asked = gateway.get("/kept/4711", &token).await;
    assert!(asked.status == 200 && !asked.is_hit(), "{asked:?}");
    assert_eq!(bank.calls().await, calls + 1);
    assert!(gateway.get("/kept/4711", &token).await.is_hit(), "it keeps answers again");
    assert_eq!(used(&gateway, "4711", "allow").await, 5);
}

/// Damage to a state directory, and what the refusal must say.
#[tokio::test]
async fn the_account_key_may_move_into_the_configuration_and_not_change_there() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&config(&bank)).await;
    let token = bank.token("budget-app").await;
    assert_eq!(gateway.get("/deny/4711", &token).await.status, 200);
    let with_key = |key: &str| {
        let state = format!("state: {{ account_key: \"{key}\", directory");
        config(&bank).replace("state: { directory", &state)
    };
    gateway.process().kill();
    gateway.rewrite_config(&with_key(&"another ".repeat(4)));
    let (status, said) = failed_start(&gateway.folder().join("tollgate.yaml")).await;
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains("not the one under which the journal's counts were made"), "{said}");
    assert!(said.contains("state.account_key") && !said.contains("another another"), "{said}");

    let kept = fs::read_to_string(state(&gateway).join("account.key")).unwrap();
    gateway.rewrite_config(&with_key(kept.trim()));
    gateway.crash_and_restart().await;
    assert_eq!(used(&gateway, "4711", "deny").await, 1);
}

#[tokio::test]
async fn the_number_of_partitions_spreads_accounts_and_is_fixed_once_there_are_counts() {
    let bank = Bank::start().await;
    let with = |partitions: &str| config(&bank).replace("FOLDER/state", partitions);
    let mut one = Tollgate::start(&with("FOLDER/state, partitions: 1")).await;
    let many = Tollgate::start(&config(&bank)).await;
    let token = bank.token("budget-app").await;
    let mut places = [BTreeSet::new(), BTreeSet::new()];
    for account in 0..8 {
        for (gateway, places) in [&one, &many].into_iter().zip(&mut places) {
            // Of three uses all are counted here, so the fourth is refused with its place.
            let path = format!("/few/{account}");
            for _ in 0..3 {
                assert_eq!(gateway.get(&path, &token).await.status, 200);
            }
            let refused = gateway.get(&path, &token).await;
            let line = logged(gateway, refused.header("x-request-id")).await;
            let detail = line["tollgate"]["detail"].as_str().unwrap().to_owned();
            places.insert(detail.rsplit_once(" of partition ").unwrap().1.to_owned());
        }
    }
    assert_eq!(places[0], BTreeSet::from(["0".to_owned()]));
    assert!(places[1].len() > 1, "eight accounts in sixteen partitions: {places:?}");
    one.process().kill();
    one.rewrite_config(&with("FOLDER/state, partitions: 2"));
    let (status, said) = failed_start(&one.folder().join("tollgate.yaml")).await;
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains("has 1 partitions and the configuration says 2"), "{said}");
}

type Damage = (&'static str, fn(&Path), &'static [&'static str]);

fn log_of(state: &Path) -> PathBuf {
    let store = state.join("journal/store");
    let found =
        files(&store).into_iter().find(|path| path.extension().is_some_and(|end| end == "jnl"));
    found.unwrap_or_else(|| panic!("no log in {store:?}"))
}

/// Up to the last byte that isn't zero: the rest was only set aside.
fn written(log: &Path) -> Vec<u8> {
    let mut bytes = fs::read(log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes.truncate(end + 1);
    bytes
}

fn flip_in_the_middle(state: &Path) {
    let log = log_of(state);
    let mut bytes = written(&log);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(log, bytes).unwrap();
}

fn cut_in_half(state: &Path) {
    let log = log_of(state);
    let bytes = written(&log);
    fs::write(log, &bytes[..bytes.len() / 2]).unwrap();
}

fn overwrite_all(state: &Path) {
    for file in files(&state.join("journal/store")) {
        File::options().write(true).open(file).unwrap().write_all(&[0xa5; 64]).unwrap();
    }
}

const DAMAGES: [Damage; 8] = [
    ("a flipped byte", flip_in_the_middle, &["journal", "restore"]),
    ("a log cut in half", cut_in_half, &["journal", "counts were lost", "Restore"]),
    ("garbage", overwrite_all, &["journal", "restore"]),
    (
        "no store",
        |state| fs::remove_dir_all(state.join("journal/store")).unwrap(),
        &["journal", "counts were lost", "Restore"],
    ),
    (
        "no account key",
        |state| fs::remove_file(state.join("account.key")).unwrap(),
        &["account.key", "restore"],
    ),
    (
        "half an account key",
        |state| fs::write(state.join("account.key"), [b'A'; 22]).unwrap(),
        &["account.key", "restore"],
    ),
    (
        "another account key",
        |state| fs::write(state.join("account.key"), format!("{}=\n", "A".repeat(43))).unwrap(),
        &["account key is not the one", "put that one back", "begin at zero"],
    ),
    (
        "garbage for a sealing key",
        |state| fs::write(state.join("sealing.key"), [7; 16]).unwrap(),
        &["sealing.key", "restore", "remove it"],
    ),
];

#[tokio::test]
async fn damaged_counts_are_never_passed_over_the_start_says_what_is_wrong() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&config(&bank)).await;
    let token = bank.token("budget-app").await;
    for number in 0..40 {
        assert_eq!(gateway.get(&format!("/deny/{}", number % 4), &token).await.status, 200);
    }
    gateway.process().kill();
    let state = state(&gateway);
    let copy = tempfile::tempdir().unwrap();
    copy_all(&state, copy.path());
    for (what, damage, words) in DAMAGES {
        fs::remove_dir_all(&state).unwrap();
        copy_all(copy.path(), &state);
        damage(&state);
        let (status, said) = failed_start(&gateway.folder().join("tollgate.yaml")).await;
        assert_eq!(status, Some(4), "{what}: {said}");
        assert!(said.contains(&state.display().to_string()), "{what}: {said}");
        for word in words {
            assert!(said.contains(word), "{what}: '{word}' in {said}");
        }
    }
    fs::remove_dir_all(&state).unwrap();
    copy_all(copy.path(), &state);
    gateway.crash_and_restart().await;
    for account in ["0", "1", "2", "3"] {
        assert_eq!(used(&gateway, account, "deny").await, 10, "{account}");
    }
}
