//! Which endpoint a request goes to. Selectors are made anew with every endpoint list, so they
//! hold no counts: what moves is in [`Progress`], what is known of endpoints in their state.

mod in_turn;
mod less_busy;
mod ring;
mod share;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use in_turn::InTurn;
use less_busy::LessBusy;
use ring::Ring;
pub(in crate::upstream) use share::Shares;

use super::endpoint::Endpoint;
use crate::config::model::Balance;

/// Endpoints that a request may go to.
type Accept<'a> = &'a dyn Fn(&Endpoint) -> bool;

/// Whose turn it is, and dice: what outlives an endpoint list.
#[derive(Debug)]
pub(super) struct Progress {
    turn: AtomicUsize,
    seed: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        // The keys of a new `RandomState` are random: gateways must not roll alike.
        Self { turn: AtomicUsize::new(0), seed: AtomicU64::new(RandomState::new().hash_one(0)) }
    }
}

impl Progress {
    fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// A random number below `bound`, or zero if that is zero. SplitMix64 (Steele, Lea, Flood
    /// 2014) over a shared counter: no lock and no state of a thread.
    pub fn roll(&self, bound: u64) -> u64 {
        let seed = self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        // The upper half of the product: no division, and a bias of bound / 2^64.
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }
}

/// One version of a cluster's endpoints, with the means to pick one.
#[derive(Debug)]
pub(super) struct EndpointList {
    endpoints: Box<[Arc<Endpoint>]>,
    selector: Selector,
}

#[derive(Debug)]
enum Selector {
    InTurn(InTurn),
    LessBusy(LessBusy),
    Ring(Ring, InTurn),
}

impl EndpointList {
    /// A list with the selector that the cluster's balance asks for.
    pub fn new(endpoints: Vec<Arc<Endpoint>>, balance: &Balance, shares: &Shares) -> Self {
        let selector = match balance {
            Balance::RoundRobin => Selector::InTurn(InTurn::new(&endpoints, shares)),
            Balance::LeastRequests => Selector::LessBusy(LessBusy::new(&endpoints)),
            Balance::ConsistentHash(_) => {
                Selector::Ring(Ring::new(&endpoints, shares), InTurn::new(&endpoints, shares))
            }
        };
        Self { endpoints: endpoints.into(), selector }
    }

    /// All endpoints.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The endpoint for a request, of those that `accept` allows.
    pub fn select(
        &self,
        progress: &Progress,
        hash: Option<&str>,
        accept: Accept<'_>,
    ) -> Option<&Arc<Endpoint>> {
        let all = &self.endpoints;
        match (&self.selector, hash) {
            (Selector::Ring(ring, _), Some(key)) => ring.select(all, key, accept),
            (Selector::InTurn(turns) | Selector::Ring(_, turns), _) => {
                turns.select(all, progress, accept)
            }
            (Selector::LessBusy(pairs), _) => pairs.select(all, progress, accept),
        }
    }
}
