//! What users wrote -> what the program uses. Judges all that a schema can't: names that lead
//! nowhere, values that no request has, files that hold no key, policies that contradict each other.
//! Nothing stops at the first problem.

mod access;
mod account;
mod action;
mod address;
mod caching;
mod cluster;
mod compose;
mod condition;
mod edits;
mod files;
mod fleet;
mod health;
mod identity;
mod kafka;
mod limits;
mod listener;
mod matching;
mod named;
mod needs;
mod part_path;
mod path;
mod process;
mod quota;
mod route;
mod shadow;
mod values;

use std::sync::Arc;
use std::time::Duration;

use super::model::{Cluster, Concurrency, Config, Provider, QuotaRule, Rate};
use super::problem::Problem;
use super::raw;
use super::report::Report;
use super::source::{Node, Span};
use super::spot::Spot;
use super::structure::Broken;
use named::Named;

/// Judges a configuration whose form is right. `None` if the report got problems, here or before.
/// What only the loading knows (`shown`, `revision`, `files`, `warnings`) is still empty.
pub fn check(root: &Node, broken: &Broken, report: &mut Report) -> Option<Config> {
    let mut check = Check { report, broken };
    let spot = Spot::root(root);
    let raw = check.read(root, &spot)?;
    let config = check.config(&raw, &spot);
    if report.count() > 0 { None } else { config }
}

/// The names that routes refer to.
struct Names {
    providers: Named<Provider>,
    clusters: Named<Cluster>,
    rates: Named<Rate>,
    concurrency: Named<Concurrency>,
    quotas: Named<QuotaRule>,
}

/// A check under way.
struct Check<'r> {
    report: &'r mut Report,
    broken: &'r Broken,
}

impl Check<'_> {
    fn read(&mut self, root: &Node, spot: &Spot<'_>) -> Option<raw::Config> {
        match serde_path_to_error::deserialize(root.json()) {
            Ok(raw) => Some(raw),
            // The schema lets nothing through that the types refuse; if it does, say so all the
            // same, but not with the value, which may be a secret.
            Err(error) => {
                let path = error.path().to_string();
                let segments = path.split(['.', '[', ']']).filter(|segment| !segment.is_empty());
                let place = spot.walk(segments);
                self.error(&place, "this value can't be used here");
                None
            }
        }
    }

    fn config(&mut self, raw: &raw::Config, root: &Spot<'_>) -> Option<Config> {
        let listeners = listener::listeners(&raw.listen, &root.key("listen"), self);
        let admin = process::admin(raw.admin.as_ref(), &root.key("admin"), &listeners, self);
        let state = process::state(raw.state.as_ref(), &root.key("state"), self);
        let kafka = kafka::kafka(raw.kafka.as_ref(), &root.key("kafka"), self);
        let taken = fleet::Taken { listeners: &listeners, admin: admin.as_deref() };
        let fleet = fleet::fleet(raw.fleet.as_ref(), &root.key("fleet"), &taken, self);
        kafka::together(raw, root, self);
        let cache = process::cache(&raw.cache, &root.key("cache"), self);
        let observe = process::observe(&raw.observe, &root.key("observe"), self);
        let place = root.key("trusted_proxies");
        let trusted_proxies = address::networks(&raw.trusted_proxies, &place, self);
        let names = Names {
            providers: Named::new("identity", &raw.identity, root, self, identity::provider),
            clusters: Named::new("clusters", &raw.clusters, root, self, cluster::cluster),
            rates: Named::new("rates", &raw.rates, root, self, limits::rate),
            concurrency: Named::new(
                "concurrency",
                &raw.concurrency,
                root,
                self,
                limits::concurrency,
            ),
            quotas: Named::new("quotas", &raw.quotas, root, self, quota::rule),
        };
        let routes = route::routes(&raw.routes, &root.key("routes"), &names, self);
        Some(Config {
            listeners,
            trusted_proxies,
            admin,
            state: Arc::new(state?),
            kafka: kafka.map(Arc::new),
            fleet: fleet.map(Arc::new),
            cache: Arc::new(cache),
            observe: Arc::new(observe),
            identity: names.providers.into_all(),
            clusters: names.clusters.into_all(),
            quotas: names.quotas.into_all(),
            routes,
            shown: Arc::default(),
            revision: Arc::from(""),
            files: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// Whether all that was written at a place is there: its form is right.
    fn is_whole(&self, at: &Spot<'_>) -> bool {
        !self.broken.touches(at.path())
    }

    /// Notes a problem with a value.
    fn error(&mut self, at: &Spot<'_>, message: impl Into<String>) -> &mut Problem {
        self.error_at(at.value_span(), at, message)
    }

    /// Notes what should be seen to about a value, though nothing is wrong with it yet.
    fn warning(&mut self, at: &Spot<'_>, message: impl Into<String>) -> &mut Problem {
        self.report.warning_at(at.value_span(), at.path(), message)
    }

    /// Notes a problem with a key: that it is there at all.
    fn error_on_key(&mut self, at: &Spot<'_>, message: impl Into<String>) -> &mut Problem {
        self.error_at(at.key_span(), at, message)
    }

    /// Notes that none of some keys is there.
    fn missing(
        &mut self,
        at: &Spot<'_>,
        keys: &[&str],
        message: impl Into<String>,
    ) -> &mut Problem {
        match keys.iter().all(|key| self.is_whole(&at.key(key))) {
            true => self.report.error_at(at.key_span(), at.path(), message),
            false => self.report.nothing(),
        }
    }

    /// Notes a problem with a part of a text, from a byte of it to another.
    fn error_within(
        &mut self,
        at: &Spot<'_>,
        (from, to): (usize, usize),
        message: impl Into<String>,
    ) -> &mut Problem {
        let span = at.part_span(self.report, from, to);
        self.error_at(span, at, message)
    }

    /// What may only follow from a wrong form is not said: the form was complained of already.
    fn error_at(&mut self, span: Span, at: &Spot<'_>, message: impl Into<String>) -> &mut Problem {
        match self.broken.affects(at.path()) {
            true => self.report.nothing(),
            false => self.report.error_at(span, at.path(), message),
        }
    }

    /// A duration that must lie within bounds.
    fn duration(&mut self, at: &Spot<'_>, value: raw::Duration, bounds: Bounds) -> Duration {
        let (least, most) = bounds.range();
        if value.0 < least {
            self.error(at, format!("{value} is too short: the least is {}", raw::Duration(least)));
        } else if value.0 > most {
            self.error(at, format!("{value} is too long: the most is {}", raw::Duration(most)));
        }
        value.0
    }

    /// A size that must lie within bounds, in bytes.
    fn size(&mut self, at: &Spot<'_>, value: raw::Bytes, least: u64, most: u64) -> u64 {
        if value.0 < least {
            self.error(at, format!("{value} is too small: the least is {}", raw::Bytes(least)));
        } else if value.0 > most {
            self.error(at, format!("{value} is too large: the most is {}", raw::Bytes(most)));
        }
        value.0
    }
}

/// Bounds of a duration, by what it is for.
#[derive(Clone, Copy)]
enum Bounds {
    /// Something that is waited for: zero would never succeed, more than a day is a slip of the
    /// unit.
    Timeout,
    /// Like [`Bounds::Timeout`], but zero means not at all.
    TimeoutOrNone,
    /// Clock differences that can be forgiven.
    Leeway,
    /// How long something is kept or counted.
    Long,
    /// Like [`Bounds::Long`], but zero means not at all.
    LongOrNone,
    /// How long what one process writes is kept for the others.
    Days,
    /// How long a record may be on its way to Kafka.
    Delivery,
    /// How long a member of a group may be silent. Kafka's own default allows no less; after more
    /// too many requests would wait for a gateway that is gone.
    Session,
}

impl Bounds {
    fn range(self) -> (Duration, Duration) {
        const DAY: u64 = 86_400;
        let (least, most) = match self {
            Self::Timeout => (1, DAY),
            Self::TimeoutOrNone => (0, DAY),
            Self::Leeway => (0, 600),
            Self::Long => (1000, 400 * DAY),
            Self::LongOrNone => (0, 400 * DAY),
            Self::Days => (1000 * DAY, 400 * DAY),
            Self::Delivery => (500, 10),
            Self::Session => (6000, 10),
        };
        (Duration::from_millis(least), Duration::from_secs(most))
    }

    fn hold(self, value: Duration) -> bool {
        let (least, most) = self.range();
        (least..=most).contains(&value)
    }
}
