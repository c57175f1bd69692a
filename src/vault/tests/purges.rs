//! Purges, and what is on its way while they happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use pingora_cache::storage::{PurgeOutcome, PurgeTarget, PurgeType};
use pingora_cache::trace::Span;
use pingora_cache::{CacheKey, Storage};

use crate::request::RouteId;
use crate::vault::change::Scope;
use crate::vault::testing::{Asked, Opened, Outcome, ok, open, policy, settings};

fn asked(account: &str, route: &str) -> Asked {
    Asked { route: RouteId::new(route), ..Asked::account(account) }
}

fn key(account: &str, route: &str) -> CacheKey {
    asked(account, route).key(&policy())
}

async fn with_answers(directory: &std::path::Path) -> Opened {
    let opened = open(directory, &settings());
    for account in ["1", "2"] {
        for route in ["summary", "cards"] {
            opened.visit(key(account, route), b"kept").await;
        }
    }
    opened.vault.flush().await;
    opened
}

async fn left(opened: &Opened) -> Vec<(&'static str, &'static str)> {
    let mut left = Vec::new();
    for account in ["1", "2"] {
        for route in ["summary", "cards"] {
            if opened.kept(key(account, route)).await.is_some() {
                left.push((account, route));
            }
        }
    }
    left
}

#[tokio::test]
async fn purging_an_account_removes_its_answers_alone() {
    let directory = tempfile::tempdir().unwrap();
    let opened = with_answers(directory.path()).await;
    let account = asked("1", "summary").account_key().unwrap();
    assert_eq!(opened.vault.purge_account(&account).await.unwrap().entries, 2);
    assert_eq!(left(&opened).await, [("2", "summary"), ("2", "cards")]);
    assert_eq!(opened.vault.purge_account(&account).await.unwrap().entries, 0);
    assert_eq!(opened.counted("purged"), 2);
}

#[tokio::test]
async fn purging_a_route_an_entry_and_all() {
    let directory = tempfile::tempdir().unwrap();
    let opened = with_answers(directory.path()).await;
    let cards = RouteId::new("cards");
    assert_eq!(opened.vault.purge_route(&cards).await.unwrap().entries, 2);
    assert_eq!(left(&opened).await, [("1", "summary"), ("2", "summary")]);
    let one = key("1", "summary");
    assert_eq!(opened.vault.purge_entry(&one).await.unwrap().entries, 1);
    assert_eq!(left(&opened).await, [("2", "summary")]);
    assert_eq!(opened.vault.purge_all().await.unwrap().entries, 1);
    assert_eq!(left(&opened).await, []);
    opened.visit(one.clone(), b"again").await;
    assert_eq!(opened.kept(one).await.unwrap(), b"again", "the vault goes on");
}

#[tokio::test]
async fn an_answer_that_is_only_on_disk_is_purged_and_stays_away() {
    let directory = tempfile::tempdir().unwrap();
    with_answers(directory.path()).await.vault.close();
    let opened = open(directory.path(), &settings());
    let account = asked("1", "summary").account_key().unwrap();
    assert_eq!(opened.vault.purge_account(&account).await.unwrap().entries, 2);
    opened.vault.close();
    let reborn = open(directory.path(), &settings());
    assert_eq!(left(&reborn).await, [("2", "summary"), ("2", "cards")]);
}

#[tokio::test]
async fn an_answer_that_is_only_in_memory_is_purged_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.vault.close();
    opened.visit(key("1", "summary"), b"memory").await;
    let account = asked("1", "summary").account_key().unwrap();
    let purged = opened.vault.purge_account(&account).await;
    assert!(purged.is_err(), "not durable without a disk");
    assert_eq!(left(&opened).await, [], "gone all the same");
}

#[tokio::test]
async fn a_fill_that_began_before_a_purge_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let account = asked("1", "summary").account_key().unwrap();
    let route = RouteId::new("summary");
    for scope in 0..4 {
        let filling = opened.ask(key("1", "summary")).await.miss();
        match scope {
            0 => opened.vault.purge_account(&account).await.unwrap(),
            1 => opened.vault.purge_route(&route).await.unwrap(),
            2 => opened.vault.purge_entry(&key("1", "summary")).await.unwrap(),
            _ => opened.vault.purge_all().await.unwrap(),
        };
        filling.fill(&opened, &policy(), ok(&[]), &[b"from before the change"]).await;
        assert_eq!(opened.kept(key("1", "summary")).await, None, "scope {scope}");
    }
    opened.vault.flush().await;
    assert_eq!(opened.vault.stats().disk_entries, 0);
    opened.visit(key("1", "summary"), b"from after it").await;
    assert!(opened.kept(key("1", "summary")).await.is_some());
}

#[tokio::test]
async fn a_fill_of_another_account_is_not_disturbed_by_a_purge() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let filling = opened.ask(key("2", "summary")).await.miss();
    let account = asked("1", "summary").account_key().unwrap();
    opened.vault.purge_account(&account).await.unwrap();
    filling.fill(&opened, &policy(), ok(&[]), &[b"kept"]).await;
    assert!(opened.kept(key("2", "summary")).await.is_some());
}

#[tokio::test]
async fn an_answer_queued_for_the_disk_when_its_account_is_purged_never_gets_there() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let account = asked("1", "summary").account_key().unwrap();
    for _ in 0..50 {
        opened.visit(key("1", "summary"), b"old").await;
        opened.vault.purge_account(&account).await.unwrap();
        assert_eq!(opened.kept(key("1", "summary")).await, None);
    }
    opened.vault.close();
    let reborn = open(directory.path(), &settings());
    assert_eq!(reborn.kept(key("1", "summary")).await, None);
}

/// Readers, fills and purges of one account all at once: once a purge has returned, nobody sees
/// an answer that the backend gave before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_answer_from_before_a_purge_is_seen_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Arc::new(open(directory.path(), &settings()));
    let (backend, purged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let readers = (0..4).map(|_| {
        let (opened, backend, purged) = (opened.clone(), backend.clone(), purged.clone());
        tokio::spawn(async move {
            let mut hits = 0;
            for _ in 0..400 {
                let purged = purged.load(SeqCst);
                match opened.ask(key("1", "summary")).await {
                    Outcome::Hit(_, body) => {
                        let seen: u64 = String::from_utf8(body).unwrap().parse().unwrap();
                        assert!(seen >= purged, "saw {seen} after {purged} was purged");
                        hits += 1;
                    }
                    Outcome::Miss(filling) => {
                        let body = backend.load(SeqCst).to_string();
                        filling.fill(&opened, &policy(), ok(&[]), &[body.as_bytes()]).await;
                    }
                }
            }
            hits
        })
    });
    let readers: Vec<_> = readers.collect();
    let account = asked("1", "summary").account_key().unwrap();
    for version in 1.. {
        backend.store(version, SeqCst);
        opened.vault.purge_account(&account).await.unwrap();
        purged.store(version, SeqCst);
        if readers.iter().all(|reader| reader.is_finished()) {
            break;
        }
    }
    let mut hits = 0;
    for reader in readers {
        hits += reader.await.unwrap();
    }
    assert!(hits > 0);
}

/// A lookup that reads the old answer from disk while the purge is on its way there must not
/// bring it back to memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_purged_answer_is_not_brought_back_by_a_lookup_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Arc::new(open(directory.path(), &settings()));
    let account = asked("1", "summary").account_key().unwrap();
    for round in 0..100 {
        opened.visit(key("1", "summary"), b"old").await;
        opened.vault.flush().await;
        opened.vault.memory.remove(&Scope::All);
        let lookups: Vec<_> = (0..4)
            .map(|_| {
                let opened = opened.clone();
                tokio::spawn(async move {
                    for _ in 0..20 {
                        opened.kept(key("1", "summary")).await;
                    }
                })
            })
            .collect();
        opened.vault.purge_account(&account).await.unwrap();
        assert_eq!(opened.kept(key("1", "summary")).await, None, "round {round}");
        for lookup in lookups {
            lookup.await.unwrap();
        }
        assert_eq!(opened.kept(key("1", "summary")).await, None, "round {round}");
    }
}

#[tokio::test]
async fn pingora_s_own_purge_finds_the_entry() {
    let directory = tempfile::tempdir().unwrap();
    let opened = with_answers(directory.path()).await;
    let compact = key("1", "summary").to_compact();
    let span = Span::inactive();
    let purge = || async {
        let target = PurgeTarget::Active(&compact);
        let handle = span.handle();
        Storage::purge(opened.vault, target, PurgeType::Invalidation, &handle).await.unwrap()
    };
    assert_eq!(purge().await, PurgeOutcome::Purged(None));
    assert_eq!(purge().await, PurgeOutcome::NotFound);
}
