//! The fleet's count is exact whatever happens: three gateways on a real Kafka, clients from
//! outside, faults of every kind, and a judge who counts only what clients saw.
//!
//! `CHAOS_FAULTS` says how many, `CHAOS_BROKERS` on how many brokers (`1`, `3`, or `1,3` in turn),
//! `TOLLGATE_TEST_BIN` in which folder the program is if not the tests' own is to be tried,
//! `CHAOS_SEED` which plan, `CHAOS_ONLY` which kinds, `CHAOS_MINUTES` when to begin no more
//! faults. `make chaos` is a long run.

#[path = "../kafka/broker.rs"]
mod broker;
mod clock;
mod config;
mod fault;
mod judge;
mod link;
mod load;
mod plan;
mod round;
mod seen;
#[path = "../shared/mod.rs"]
mod shared;
#[allow(dead_code, unused_imports, reason = "it is shared with the end-to-end tests")]
#[path = "../e2e/support/mod.rs"]
mod support;
mod table;
mod witness;
mod world;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::Round;
use crate::table::Table;
use crate::world::World;

/// Faults of one round.
const ROUND: usize = 80;
/// Faults of a run that is part of all tests.
const BOUNDED: usize = 34;

fn wish<T: FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/chaos")
}

/// All rounds on so many brokers.
async fn rounds(brokers: u32, faults: usize, seed: u64, until: Instant) -> Table {
    let world = World::start(brokers).await;
    let mut table = Table::default();
    let mut turn = 0;
    while table.faults() < faults && Instant::now() < until {
        let plan = Round::new(seed, turn, ROUND.min(faults - table.faults()), &world.means);
        let played = round::play(&world, &plan, turn, seed.wrapping_add(turn as u64), until).await;
        let before = table.violations.len();
        table.add(&played);
        println!(
            "{brokers} broker(s), round {turn}: {} faults, {} requests, {:?}",
            played.done.len(),
            played.seen.len(),
            played.lasted
        );
        for violation in &table.violations[before..] {
            println!("VIOLATION: {violation}");
        }
        if table.violations.len() > before || std::env::var("CHAOS_KEEP").is_ok() {
            world.keep_logs(&folder().join(format!("logs-{brokers}-{turn}"))).await;
        }
        world.forget_logs().await;
        // As far as it got: a run takes hours, and may be cut short.
        keep(&format!("report-{brokers}.md"), &table.report(title(brokers)));
        turn += 1;
    }
    table
}

fn title(brokers: u32) -> &'static str {
    if brokers == 1 { "One broker" } else { "Three brokers" }
}

fn keep(name: &str, text: &str) {
    std::fs::create_dir_all(folder()).unwrap();
    std::fs::write(folder().join(name), text).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_count_is_exact_whatever_happens() {
    let seed: u64 = wish("CHAOS_SEED", 20_260);
    let faults: usize = wish("CHAOS_FAULTS", BOUNDED);
    let minutes: u64 = wish("CHAOS_MINUTES", 24 * 60);
    let brokers = wish("CHAOS_BROKERS", "1".to_owned());
    println!("CHAOS_SEED={seed} CHAOS_FAULTS={faults} CHAOS_BROKERS={brokers}");
    let kinds: Vec<u32> = brokers.split(',').map(|text| text.trim().parse().unwrap()).collect();
    let (begun, time) = (Instant::now(), Duration::from_secs(minutes * 60));
    let mut report = format!("Seed {seed}.\n");
    let mut violations = Vec::new();
    for (place, brokers) in kinds.iter().enumerate() {
        let share = faults * (place + 1) / kinds.len() - faults * place / kinds.len();
        let until = begun + time * (place as u32 + 1) / kinds.len() as u32;
        let table = rounds(*brokers, share, seed, until).await;
        report += &format!("\n{}", table.report(title(*brokers)));
        violations.extend(table.violations);
    }
    println!("{report}");
    keep("report.md", &report);
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}
