//! What a ledger costs: memory for each account, and time to read a journal at start.
//!
//! The sizes are small here, so that this runs with all other tests. For the figures in the
//! documentation, with the release profile and a million accounts on disk too:
//!
//! ```sh
//! TOLLGATE_FIGURES_ACCOUNTS=1000000 cargo test --release --test ledger_figures -- --nocapture
//! ```
//!
//! One test, so that nothing else uses memory or the processor meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tollgate::journal::{Bucket, Embedded, Journal, Label, Period, Record, Use};
use tollgate::observe::Metrics;
use tollgate::quota::{Ledger, Quotas};
use tollgate::request::{SystemClock, UnixMillis};

const PARTITIONS: u32 = 16;
const DAY: u64 = 86_400_000;
/// The design's bounds for the usual case: one rule on each account.
const BYTES_FOR_AN_ACCOUNT: u64 = 150;
const MILLION_REPLAYED: Duration = Duration::from_secs(10);

/// As the keyed hash would give it.
fn account(number: u64) -> [u8; 16] {
    let mix = |seed: u64| {
        let mut value = number.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        value ^= value >> 29;
        value = value.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value ^ (value >> 32)
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mix(1).to_be_bytes());
    bytes[8..].copy_from_slice(&mix(2).to_be_bytes());
    bytes
}

/// One use of one account, as it comes out of the journal: every record with texts of its own.
fn used(number: u64) -> Record {
    let client = number % 20;
    let label =
        Label { rule: "unattended".into(), dimensions: format!("client=client-{client}").into() };
    // Far from now, so that nothing is swept while this runs.
    let start = 1_000_000 * DAY;
    Record::Use(Use {
        bucket: Bucket { account: account(number), label: Arc::new(label) },
        period: Period { start: UnixMillis(start), ends: UnixMillis(start + DAY) },
        round: 0,
        epoch: 0,
        admitted: 1,
        refunded: 0,
    })
}

fn partition(number: u64) -> usize {
    (number % u64::from(PARTITIONS)) as usize
}

/// Resident memory of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn memory_of(accounts: u64) {
    let before = resident();
    let mut ledgers: Vec<Ledger> = (0..PARTITIONS).map(|_| Ledger::default()).collect();
    let started = Instant::now();
    for number in 0..accounts {
        ledgers[partition(number)].apply(number, &used(number));
    }
    let folded = started.elapsed();
    let bytes = (resident() - before) / accounts;
    let known: usize = ledgers.iter().map(Ledger::accounts).sum();
    println!("{accounts} accounts folded in {folded:?}, {bytes} bytes each");
    assert_eq!(known as u64, accounts);
    assert!(bytes <= BYTES_FOR_AN_ACCOUNT, "{bytes} bytes an account");
}

async fn replay_of(accounts: u64) {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let metrics = Arc::new(Metrics::default());
        Arc::new(Embedded::open(directory.path(), PARTITIONS, metrics).unwrap())
    };
    let journal = open();
    for chunk in 0..accounts.div_ceil(4096) {
        let numbers = chunk * 4096..((chunk + 1) * 4096).min(accounts);
        let appends = numbers.map(|number| journal.append(partition(number) as u32, used(number)));
        assert!(join_all(appends).await.iter().all(Result::is_ok));
    }
    drop(journal);
    let started = Instant::now();
    let journal = open();
    let opened = started.elapsed();
    let metrics = Arc::new(Metrics::default());
    let quotas = Quotas::open(journal, Arc::new(SystemClock), metrics, "gw").await.unwrap();
    let replayed = started.elapsed();
    let known: usize = quotas.partitions().iter().map(|view| view.accounts).sum();
    println!("{accounts} accounts read from disk in {replayed:?}, of which {opened:?} to open it");
    assert_eq!(known as u64, accounts);
    if !cfg!(debug_assertions) {
        assert!(replayed <= MILLION_REPLAYED, "{replayed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_takes_few_bytes_for_an_account_and_is_read_quickly() {
    let wanted = std::env::var("TOLLGATE_FIGURES_ACCOUNTS");
    let on_disk = wanted.map_or(20_000, |text| text.parse().expect("a number"));
    // A table is fullest just below, and emptiest just above, a power of two in each partition.
    memory_of(1_000_000);
    replay_of(on_disk).await;
}
