//! Counts the requests of a service, in all and by account.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::hold;

/// Accounts beyond this number are counted together: a load test must not fill the memory.
const MOST_ACCOUNTS: usize = 1_000_000;

/// No account has a longer id; what stands in the path may be longer.
const LONGEST_ID: usize = 64;

/// The counters of one service.
#[derive(Default)]
pub struct Counters(Mutex<Tally>);

#[derive(Default)]
struct Tally {
    total: u64,
    in_flight: u64,
    abandoned: u64,
    by_account: HashMap<String, u64>,
    of_other_accounts: u64,
}

/// A request that is being answered. Dropped before its end, it counts as abandoned: the client left.
pub struct Visit<'a> {
    counters: &'a Counters,
    ended: bool,
}

impl Counters {
    /// Counts a request.
    pub fn arrive(&self, account: &str) -> Visit<'_> {
        let mut tally = hold(&self.0);
        tally.total += 1;
        tally.in_flight += 1;
        let room = tally.by_account.len() < MOST_ACCOUNTS && account.len() <= LONGEST_ID;
        if let Some(count) = tally.by_account.get_mut(account) {
            *count += 1;
        } else if room {
            tally.by_account.insert(account.to_owned(), 1);
        } else {
            tally.of_other_accounts += 1;
        }
        Visit { counters: self, ended: false }
    }

    /// All requests so far.
    pub fn total(&self) -> u64 {
        hold(&self.0).total
    }

    /// The requests about this account so far.
    pub fn of(&self, account: &str) -> u64 {
        hold(&self.0).by_account.get(account).copied().unwrap_or(0)
    }

    /// From zero again. Requests in flight stay in flight.
    pub fn clear(&self) {
        let mut tally = hold(&self.0);
        *tally = Tally { in_flight: tally.in_flight, ..Tally::default() };
    }

    /// All the counters.
    pub fn view(&self) -> Value {
        let tally = hold(&self.0);
        let by_account: BTreeMap<&String, &u64> = tally.by_account.iter().collect();
        json!({
            "requests": tally.total,
            "inFlight": tally.in_flight,
            "abandoned": tally.abandoned,
            "accounts": by_account,
            "otherAccounts": tally.of_other_accounts,
        })
    }
}

impl Visit<'_> {
    /// The request was answered, in whatever way.
    pub fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut tally = hold(&self.counters.0);
        tally.in_flight = tally.in_flight.saturating_sub(1);
        if !self.ended {
            tally.abandoned += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_account_and_a_client_that_left_is_told_apart() {
        let counters = Counters::default();
        counters.arrive("A1").end();
        counters.arrive("A1").end();
        drop(counters.arrive("A2"));
        let waiting = counters.arrive("A3");
        assert_eq!((counters.total(), counters.of("A1"), counters.of("A9")), (4, 2, 0));
        assert_eq!(counters.view()["inFlight"], 1);
        assert_eq!(counters.view()["abandoned"], 1);
        counters.clear();
        assert_eq!((counters.total(), counters.of("A1")), (0, 0));
        waiting.end();
        assert_eq!(counters.view()["inFlight"], 0);
    }
}
