//! How operators see the parts of a running gateway: JSON with times in RFC 3339. No account
//! number and no secret is in it.

use serde_json::{Value, json};

use crate::auth::ProviderView;
use crate::config::model::{Action, Route, Visibility};
use crate::quota::{BucketView, Out, PartitionView, Place, Role};
use crate::request::UnixMillis;
use crate::upstream::{ClusterView, EndpointView};
use crate::vault::{EntryView, FeedView, Tier, VaultStats};

pub(super) fn route(route: &Route) -> Value {
    let target = match &route.action {
        Action::Proxy { cluster, .. } => json!({ "cluster": cluster.name }),
        Action::Compose(plan) => {
            let parts: Vec<&str> = plan.parts.iter().map(|part| &*part.name).collect();
            json!({ "compose": parts })
        }
        Action::Redirect { status, .. } => json!({ "redirect": status.as_u16() }),
        Action::Answer { status, .. } => json!({ "answer": status.as_u16() }),
    };
    let methods: Vec<&str> = route.matches.methods.iter().map(http::Method::as_str).collect();
    let providers: Vec<&str> = route.authenticate.iter().map(|provider| &*provider.name).collect();
    let quotas: Vec<&str> = route.quotas.iter().map(|rule| &*rule.name).collect();
    json!({
        "id": route.id.as_str(),
        "path": route.matches.path.source,
        "methods": methods,
        "authenticate": providers,
        "quotas": quotas,
        "cached": route.cache.is_some(),
        "target": target,
    })
}

/// An identity provider with its keys.
pub(super) fn provider(view: &ProviderView) -> Value {
    let keys: Vec<Value> =
        view.keys.iter().map(|key| json!({ "id": key.id, "algorithms": key.algorithms })).collect();
    json!({
        "provider": view.provider,
        "keys": keys,
        "fetched": view.fetched.map(|at| at.rfc3339()),
        "next": view.next.rfc3339(),
        "last_error": view.last_error,
    })
}

/// A cluster with its endpoints.
pub(super) fn cluster(view: &ClusterView) -> Value {
    json!({
        "name": view.name,
        "balance": view.balance,
        "endpoints": view.endpoints.iter().map(endpoint).collect::<Value>(),
        "usable": view.usable,
        "retries_left": view.retries_left,
    })
}

fn endpoint(view: &EndpointView) -> Value {
    let time = |millis: u64| UnixMillis(millis).rfc3339();
    let error = view.last_error.as_ref();
    json!({
        "address": view.address,
        "host": view.host,
        "weight": view.weight,
        "usable": view.usable,
        "health": view.health,
        "ejected_until": view.ejected_until.map(time),
        "in_flight": view.in_flight,
        "last_error": error.map(|error| json!({ "at": time(error.at), "text": error.text })),
    })
}

/// What an account has used of a rule.
pub(super) fn bucket(view: &BucketView) -> Value {
    json!({
        "rule": view.rule,
        "dimensions": view.dimensions,
        "used": view.used,
        "limit": view.limit,
        "resets_at": view.resets.rfc3339(),
    })
}

/// A quota partition: who owns it, and what this gateway knows of it.
pub(super) fn partition(view: &PartitionView) -> Value {
    let role = match view.role {
        Role::Owning { .. } => "owner",
        Role::Claiming { .. } | Role::Settling { .. } => "claiming",
        Role::Out(Out::Idle | Out::Superseded | Out::HandedOver) => "follower",
        Role::Out(Out::ClaimFailed) => "claim failed",
        Role::Out(Out::WriteFailed) => "write failed",
        Role::Out(Out::Silent) => "nothing read back",
        Role::Out(Out::Halted) => "can't read",
    };
    let claimed =
        view.claimed.map(|(at, reason)| json!({ "at": at.rfc3339(), "reason": reason.word() }));
    json!({
        "partition": view.partition,
        "owner": view.owner,
        "epoch": view.epoch,
        "here": view.place == Place::Here,
        "role": role,
        "replayed": view.replayed,
        "next_offset": view.next,
        "accounts": view.accounts,
        "counts": view.entries,
        "on_their_way": view.outstanding,
        "claimed": claimed,
        "error": view.error,
    })
}

/// An answer in the vault.
pub(super) fn entry(view: &EntryView) -> Value {
    json!({
        "route": view.route.as_str(),
        "stored_at": view.stored_at.rfc3339(),
        "fresh_until": view.fresh_until.rfc3339(),
        "bytes": view.bytes,
        "visible_to": match view.visible_to {
            Visibility::Client => "client",
            Visibility::Subject => "subject",
            Visibility::Everyone => "everyone",
        },
        "kept": match view.tier {
            Tier::Memory => "memory",
            Tier::Disk => "disk",
            Tier::Both => "memory and disk",
        },
    })
}

/// Size and troubles of the vault, and in a fleet how the topics that feed it stand.
pub(super) fn vault(stats: &VaultStats, feed: Option<&FeedView>) -> Value {
    let mut view = json!({
        "memory_bytes": stats.memory_bytes,
        "memory_entries": stats.memory_entries,
        "disk_bytes": stats.disk_bytes,
        "disk_entries": stats.disk_entries,
        "queued": stats.queued,
        "not_written": stats.not_written,
        "faults": stats.faults,
        "disk_available": stats.disk_available,
    });
    if let (Some(members), Some(feed)) = (view.as_object_mut(), feed) {
        members.insert("feed".to_owned(), cache_feed(feed));
    }
    view
}

fn cache_feed(feed: &FeedView) -> Value {
    let topics = feed.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            json!({
                "partition": partition.partition,
                "next": partition.next,
                "lag": partition.lag,
            })
        });
        json!({
            "topic": topic.topic,
            "connected": topic.connected,
            "error": topic.error,
            "partitions": partitions.collect::<Value>(),
        })
    });
    json!({
        "current": feed.current,
        "owed_purges": feed.owed_purges,
        "topics": topics.collect::<Value>(),
    })
}
