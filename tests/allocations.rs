//! What a request allocates on the paths that have budgets: the gateway runs in this process, and
//! every allocation of the process counts, also those of its journal, cache and log. Bounds, so
//! that nobody adds to them unseen; when a change needs less, lower them.

mod replay;

use std::alloc::System;

use replay::{Replay, WORKS};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Requests before anything is counted: pools, caches and counters are there then.
const WARM_UP: usize = 200;
const COUNTED: usize = 1_000;
/// Of each work.
const MOST: [f64; WORKS.len()] = [145.0, 177.0, 118.0, 138.0];

#[test]
fn a_request_allocates_no_more_than_it_did() {
    let replay = Replay::start();
    let path = replay.config();
    let config = tollgate::config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    let origin = tollgate::gateway::Origin::find().unwrap();
    let started = tollgate::gateway::start(&path, config, origin).unwrap();
    std::thread::spawn(move || started.serve());
    let mut client = replay.connect();
    for ((what, path), most) in WORKS.into_iter().zip(MOST) {
        let request = replay.request(path);
        (0..WARM_UP).for_each(|_| client.exchange(&request));
        let region = Region::new(ALLOCATOR);
        (0..COUNTED).for_each(|_| client.exchange(&request));
        let change = region.change();
        let each = (change.allocations + change.reallocations) as f64 / COUNTED as f64;
        let bytes = change.bytes_allocated as f64 / COUNTED as f64;
        println!("{what}: {each:.1} allocations, {bytes:.0} bytes");
        assert!(each <= most, "{what}: {each:.1} allocations for each request, {most} allowed");
    }
}
