use std::sync::Arc;

use super::{Bounds, Check, address, files};
use crate::config::model::{Kafka, KafkaSasl, KafkaTls, Secret};
use crate::config::raw;
use crate::config::spot::Spot;

const BROKER: &str = "kafka-1.bank.internal:9092";
const FLEET: &str = "add `fleet: {listen: \"0.0.0.0:8444\", advertise: \"HOST:8444\", authorities: \
                     FILE, certificate: FILE, key: FILE}`";

pub(super) fn kafka(
    raw: Option<&raw::Kafka>,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<Kafka> {
    let raw = raw?;
    let mut duration = |key: &str, value, bounds| check.duration(&at.key(key), value, bounds);
    let delivery_timeout = duration("delivery_timeout", raw.delivery_timeout, Bounds::Delivery);
    let session_timeout = duration("session_timeout", raw.session_timeout, Bounds::Session);
    let cache_retention = duration("cache_retention", raw.cache_retention, Bounds::Days);
    delivered_within_session(raw, at, check);
    Some(Kafka {
        brokers: brokers(&raw.brokers, &at.key("brokers"), check),
        topic_prefix: raw.topic_prefix.as_str().into(),
        partitions: raw.partitions,
        replication: raw.replication,
        tls: raw.tls.as_ref().map(|raw| tls(raw, &at.key("tls"), check)),
        sasl: raw.sasl.as_ref().map(|raw| KafkaSasl {
            username: raw.username.as_str().into(),
            password: Secret::new(raw.password.as_str()),
        }),
        delivery_timeout,
        session_timeout,
        cache_retention,
    })
}

/// After a session others have been given what was this gateway's: a record of it that only comes
/// then is void, and counts all the same.
fn delivered_within_session(raw: &raw::Kafka, at: &Spot<'_>, check: &mut Check<'_>) {
    let (delivery, session) = (raw.delivery_timeout, raw.session_timeout);
    // What is wrong by itself has been said.
    let wrong = [(delivery, Bounds::Delivery), (session, Bounds::Session)]
        .iter()
        .any(|(value, bounds)| !bounds.hold(value.0));
    if delivery < session || wrong {
        return;
    }
    check
        .error(
            &at.key("delivery_timeout"),
            format!(
                "a record may be on its way (`delivery_timeout`, {delivery}) as long as a gateway \
                 may be silent (`session_timeout`, {session})"
            ),
        )
        .hint("make `delivery_timeout` shorter than `session_timeout`");
}

fn brokers(raw: &[String], at: &Spot<'_>, check: &mut Check<'_>) -> Vec<Arc<str>> {
    let mut brokers: Vec<Arc<str>> = Vec::with_capacity(raw.len());
    for (position, text) in raw.iter().enumerate() {
        let place = at.item(position);
        if address::peer(text, BROKER, &place, check).is_none() {
            continue;
        }
        if brokers.iter().any(|other| **other == **text) {
            check.error(&place, format!("{} is here twice", place.quoted()));
        }
        brokers.push(text.as_str().into());
    }
    brokers
}

fn tls(raw: &raw::KafkaTls, at: &Spot<'_>, check: &mut Check<'_>) -> KafkaTls {
    let authorities = raw
        .authorities
        .as_ref()
        .and_then(|text| files::authorities(text, &at.key("authorities"), check));
    let pair = files::optional_pair(raw.certificate.as_deref(), raw.key.as_deref(), at, check);
    KafkaTls {
        authorities: authorities.map(|(path, _)| path),
        client: pair.map(|pair| (pair.certificate, pair.key)),
    }
}

/// What a fleet must say beside `kafka`: whatever is made by chance for one process alone must be
/// the same in all of them.
pub(super) fn together(raw: &raw::Config, root: &Spot<'_>, check: &mut Check<'_>) {
    let (kafka, fleet) = (root.key("kafka"), root.key("fleet"));
    if kafka.is_written() && !fleet.is_written() && !check.broken.section("fleet") {
        check
            .error_on_key(&kafka, "`kafka` needs `fleet`: gateways send requests to each other")
            .hint(FLEET);
    }
    if fleet.is_written() && !kafka.is_written() && !check.broken.section("kafka") {
        check
            .error_on_key(&fleet, "`fleet` needs `kafka`, which gateways of a fleet share")
            .hint(format!("add `kafka: {{brokers: [\"{BROKER}\"]}}`"));
    }
    if kafka.is_written() || check.broken.section("kafka") {
        shared_keys(raw, root, check);
    } else {
        no_changes(root, raw.routes.len(), check);
    }
}

fn no_changes(root: &Spot<'_>, routes: usize, check: &mut Check<'_>) {
    for position in 0..routes {
        let classes = root.key("routes").item(position).key("cache").key("data_classes");
        if classes.is_written() {
            check
                .error_on_key(&classes, "without `kafka` no change events come")
                .hint("remove it: it says which change events touch the route's answers");
        }
    }
}

fn shared_keys(raw: &raw::Config, root: &Spot<'_>, check: &mut Check<'_>) {
    let state = root.key("state");
    if raw.state.as_ref().is_some_and(|state| state.account_key.is_none()) {
        check
            .missing(
                &state,
                &["account_key"],
                "with `kafka` there must be an `account_key`, the same in all gateways: they find \
                 an account's counts by it",
            )
            .hint("make one with `openssl rand -hex 32` and add `account_key: ${file:PATH}`");
    }
    let partitions = state.key("partitions");
    if partitions.is_written() {
        check
            .error_on_key(&partitions, "with `kafka` these partitions don't exist")
            .hint("remove it; `kafka.partitions` says how many there are");
    }
    let sealing = root.key("cache").key("sealing_keys");
    if raw.cache.sealing_keys.is_empty() && check.is_whole(&sealing) {
        let places = ["cache", "kafka", "state"].map(|key| root.key(key));
        let place = places.iter().find(|place| place.is_written()).unwrap_or(root);
        check
            .missing(
                place,
                &[],
                "with `kafka` there must be `cache.sealing_keys`, the same in all gateways: they \
                 open each other's cached answers",
            )
            .hint(
                "make one with `openssl rand -hex 32` and add `cache: {sealing_keys: \
                 [\"${file:PATH}\"]}`",
            );
    }
}
