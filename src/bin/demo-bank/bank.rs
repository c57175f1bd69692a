//! What ports, routes and the control port share.

mod counters;
mod transfers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use counters::Counters;
pub use transfers::{NotBooked, Transfers};

use crate::fault::{FaultSwitch, Setting};
use crate::service::{ByService, Service};

/// The five services and what is common to them.
pub struct Bank {
    delay_ms: AtomicU64,
    first_delay: Duration,
    desks: ByService<Desk>,
    /// Ordered through the checking service.
    pub transfers: Transfers,
}

/// One service's port.
pub struct Desk {
    /// Where it listens.
    pub port: u16,
    /// What is wrong with it.
    pub faults: FaultSwitch,
    /// Who asked what.
    pub counters: Counters,
}

/// The view of one desk in the bank's state.
#[derive(Serialize)]
struct DeskView {
    port: u16,
    #[serde(flatten)]
    setting: Setting,
    #[serde(flatten)]
    requests: Value,
}

impl Bank {
    /// A bank at its start values.
    pub fn new(first_delay: Duration, desks: ByService<Desk>) -> Self {
        let bank = Self {
            delay_ms: AtomicU64::new(0),
            first_delay,
            desks,
            transfers: Transfers::default(),
        };
        bank.set_delay(first_delay);
        bank
    }

    /// The port of this service.
    pub fn desk(&self, service: Service) -> &Desk {
        self.desks.get(service)
    }

    /// How long each answer of an account service takes.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }

    /// Sets [`Bank::delay`], in whole milliseconds, for the requests that come from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.delay_ms
            .store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Back to the start values: delay, faults, counters, transfers.
    pub fn reset(&self) {
        self.set_delay(self.first_delay);
        self.transfers.clear();
        for (_, desk) in self.desks.iter() {
            desk.counters.clear();
            desk.faults.set(Setting::default());
        }
    }

    /// Delay, faults and counters of all services.
    pub fn view(&self) -> Map<String, Value> {
        let services: Map<String, Value> = self
            .desks
            .iter()
            .map(|(service, desk)| {
                let setting = desk.faults.setting();
                let view = DeskView { port: desk.port, setting, requests: desk.counters.view() };
                (service.name().to_owned(), json!(view))
            })
            .collect();
        let mut view = Map::new();
        view.insert("delayMs".to_owned(), json!(self.delay_ms.load(Ordering::Relaxed)));
        view.insert("services".to_owned(), Value::Object(services));
        view.insert("transfers".to_owned(), json!(self.transfers.count()));
        view
    }

    /// The number of requests by service, and in all.
    pub fn counts(&self) -> Map<String, Value> {
        self.sums(|desk| desk.counters.total())
    }

    /// The number of requests about this account by service, and in all.
    pub fn counts_of(&self, account: &str) -> Map<String, Value> {
        self.sums(|desk| desk.counters.of(account))
    }

    fn sums(&self, count: impl Fn(&Desk) -> u64) -> Map<String, Value> {
        let counts: Vec<(Service, u64)> =
            self.desks.iter().map(|(service, desk)| (service, count(desk))).collect();
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let mut view: Map<String, Value> = counts
            .into_iter()
            .map(|(service, count)| (service.name().to_owned(), json!(count)))
            .collect();
        view.insert("total".to_owned(), json!(total));
        view
    }
}

/// Locks. A panic elsewhere while holding the lock leaves counters that are still usable.
pub fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
