//! Keeping, finding again, bounds, restarts.

use std::fs;
use std::path::Path;

use http::header::{CONTENT_LENGTH, ETAG};
use pingora_cache::Storage;
use pingora_cache::trace::Span;

use crate::config::model::{CacheSettings, Secret, Visibility};
use crate::request::UnixMillis;
use crate::testing::files::killed;
use crate::vault::policy;
use crate::vault::testing::{Asked, HOUR, NOW, Opened, Outcome, ok, open, policy, settings};
use crate::vault::{Tier, VaultError};

fn key(account: &str) -> pingora_cache::CacheKey {
    Asked::account(account).key(&policy())
}

#[tokio::test]
async fn the_second_reader_gets_the_first_one_s_answer() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let filling = opened.ask(key("1")).await.miss();
    let header = ok(&[("Content-Type", "application/json"), ("ETag", "\"v1\"")]);
    assert!(filling.fill(&opened, &policy(), header, &[b"{\"a\":", b"1}"]).await);

    let Outcome::Hit(meta, body) = opened.ask(key("1")).await else { panic!("a miss") };
    assert_eq!(body, b"{\"a\":1}");
    assert_eq!(meta.headers()[CONTENT_LENGTH], "7", "ranges need it");
    assert_eq!(meta.headers()[ETAG], "\"v1\"");
    assert_eq!(meta.fresh_until(), crate::vault::entry::system_time(NOW.plus(HOUR)));
    assert_eq!(opened.kept(key("2")).await, None);
    let counts = ["memory_hit", "stored", "miss"].map(|operation| opened.counted(operation));
    assert_eq!(counts, [1, 1, 2]);
}

#[tokio::test]
async fn an_answer_without_a_tag_gets_one_that_changes_with_the_body() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let mut tags = Vec::new();
    for (account, body) in [("1", b"one"), ("2", b"two"), ("3", b"one")] {
        opened.visit(key(account), body).await;
        let Outcome::Hit(meta, _) = opened.ask(key(account)).await else { panic!("a miss") };
        tags.push(meta.headers()[ETAG].to_str().unwrap().to_owned());
    }
    assert!(tags[0].starts_with('"') && tags[0].ends_with('"'), "{}", tags[0]);
    assert_ne!(tags[0], tags[1]);
    assert_eq!(tags[0], tags[2]);
}

#[tokio::test]
async fn a_kept_answer_survives_kill_9_without_a_goodbye() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"kept").await;
    opened.vault.flush().await;
    let image = killed(directory.path());

    let reborn = open(image.path(), &settings());
    assert_eq!(reborn.kept(key("1")).await.as_deref(), Some(&b"kept"[..]));
    assert_eq!(reborn.kept(key("1")).await.as_deref(), Some(&b"kept"[..]));
    assert_eq!(reborn.counted("disk_hit"), 1);
    assert_eq!(reborn.counted("memory_hit"), 1, "it came back to memory");
}

#[tokio::test]
async fn headers_and_times_come_back_from_disk_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let filling = opened.ask(key("1")).await.miss();
    let header = ok(&[("X-Two", "a"), ("X-Two", "b"), ("Age", "60"), ("Vary", "Accept")]);
    let route = crate::config::model::CachePolicy { stale_if_error: HOUR, ..policy() };
    filling.fill(&opened, &route, header, &[b"kept"]).await;
    let Outcome::Hit(before, _) = opened.ask(key("1")).await else { panic!("a miss") };
    opened.vault.close();

    let reborn = open(directory.path(), &settings());
    let Outcome::Hit(after, _) = reborn.ask(key("1")).await else { panic!("a miss") };
    assert_eq!(after.headers(), before.headers());
    assert_eq!(after.fresh_until(), before.fresh_until());
    assert_eq!(after.epoch(), before.epoch());
    assert_eq!(after.created(), before.created());
    assert_eq!(after.stale_if_error_sec(), 3600);
}

#[tokio::test]
async fn an_answer_is_over_after_its_freshness_and_what_may_be_served_stale() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let filling = opened.ask(key("1")).await.miss();
    filling.fill(&opened, &policy(), ok(&[]), &[b"fresh only"]).await;
    let filling = opened.ask(key("2")).await.miss();
    let route = crate::config::model::CachePolicy { stale_if_error: HOUR, ..policy() };
    filling.fill(&opened, &route, ok(&[]), &[b"stale too"]).await;
    let filling = opened.ask(key("3")).await.miss();
    filling.fill(&opened, &policy(), ok(&[("ETag", "\"v\"")]), &[b"to be validated"]).await;
    opened.vault.close();

    let reborn = open(directory.path(), &settings());
    reborn.clock.advance(HOUR + HOUR / 2);
    assert_eq!(reborn.kept(key("1")).await, None);
    assert!(reborn.kept(key("2")).await.is_some());
    assert!(reborn.kept(key("3")).await.is_some());
    reborn.clock.advance(HOUR);
    assert_eq!(reborn.kept(key("2")).await, None, "in memory by now");
    assert_eq!(reborn.kept(key("3")).await, None);
}

#[tokio::test]
async fn an_answer_that_is_too_large_goes_by_and_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &CacheSettings { max_entry: 10, ..settings() });
    let filling = opened.ask(key("1")).await.miss();
    assert!(filling.fill(&opened, &policy(), ok(&[]), &[b"12345678", b"901", b"2"]).await);
    assert_eq!(opened.kept(key("1")).await, None);
    let filling = opened.ask(key("1")).await.miss();
    let declared = ok(&[("Content-Length", "11")]);
    assert!(!filling.fill(&opened, &policy(), declared, &[]).await, "known beforehand");
    assert_eq!(opened.counted("too_large"), 2);
    let filling = opened.ask(key("1")).await.miss();
    filling.fill(&opened, &policy(), ok(&[]), &[b"1234567890"]).await;
    assert!(opened.kept(key("1")).await.is_some());
}

#[tokio::test]
async fn a_cut_answer_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let filling = opened.ask(key("1")).await.miss();
    filling.fill(&opened, &policy(), ok(&[("Content-Length", "10")]), &[b"12345"]).await;
    assert_eq!(opened.kept(key("1")).await, None);
}

#[tokio::test]
async fn fills_together_stay_within_their_share_of_memory() {
    let directory = tempfile::tempdir().unwrap();
    let small = CacheSettings { memory: 4 << 20, max_entry: 1 << 20, ..settings() };
    let opened = open(directory.path(), &small);
    let span = Span::inactive();
    let mut fills = Vec::new();
    for number in 0..4 {
        let key = key(&number.to_string());
        let _ = opened.vault.lookup(&key, &span.handle()).await.unwrap();
        let meta = policy::judge(&policy(), &ok(&[]), false, NOW).unwrap_meta();
        let mut fill = opened.vault.get_miss_handler(&key, &meta, &span.handle()).await.unwrap();
        fill.write_body(vec![0; 400 << 10].into(), false).await.unwrap();
        fills.push(fill);
    }
    assert_eq!(opened.counted("evicted"), 2, "two of four fit into a quarter of memory");
    fills.clear();
    assert!(!opened.visit(key("9"), &[0; 900 << 10]).await);
    assert!(opened.kept(key("9")).await.is_some(), "what was reserved is free again");
}

#[tokio::test]
async fn memory_and_disk_stay_within_bounds_under_a_flood() {
    let directory = tempfile::tempdir().unwrap();
    let small = CacheSettings { memory: 1 << 20, disk: 10 << 20, ..settings() };
    let opened = open(directory.path(), &small);
    for number in 0..2000 {
        opened.visit(key(&number.to_string()), &[b'x'; 8000]).await;
        if number % 100 == 0 {
            opened.vault.flush().await;
        }
    }
    opened.vault.flush().await;
    let stats = opened.vault.stats();
    assert!(stats.memory_bytes <= 1 << 20, "{stats:?}");
    assert!(stats.disk_bytes <= 10 << 20, "{stats:?}");
    assert_eq!(stats.queued, 0);
    assert!(stats.disk_entries > 500, "{stats:?}");
    assert!(opened.kept(key("1999")).await.is_some());
    assert!(opened.kept(key("1700")).await.is_some(), "on disk, no more in memory");
    assert!(opened.kept(key("0")).await.is_none());
}

#[tokio::test]
async fn a_range_of_a_kept_answer_is_read_without_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"0123456789").await;
    let span = Span::inactive();
    let found = opened.vault.lookup(&key("1"), &span.handle()).await.unwrap();
    let (_, mut hit) = found.unwrap();
    assert!(hit.can_seek());
    for (start, end, expected) in
        [(2, Some(5), "234"), (8, None, "89"), (0, Some(99), "0123456789")]
    {
        hit.seek(start, end).unwrap();
        assert_eq!(hit.read_body().await.unwrap().unwrap(), expected);
        assert!(hit.read_body().await.unwrap().is_none());
    }
    assert!(hit.seek(10, None).is_err());
}

#[tokio::test]
async fn an_answer_that_the_backend_found_unchanged_is_fresh_again_with_its_body() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let filling = opened.ask(key("1")).await.miss();
    filling.fill(&opened, &policy(), ok(&[("ETag", "\"v\"")]), &[b"same"]).await;
    opened.clock.advance(HOUR + HOUR / 2);
    let span = Span::inactive();
    let key = key("1");
    let found = opened.vault.lookup(&key, &span.handle()).await.unwrap();
    let (old, _) = found.unwrap();
    let later = UnixMillis(NOW.0).plus(HOUR + HOUR / 2);
    let renewed = policy::judge(&policy(), old.response_header(), false, later).unwrap_meta();
    assert!(opened.vault.update_meta(&key, &renewed, &span.handle()).await.unwrap());
    let Outcome::Hit(meta, body) = opened.ask(key).await else { panic!("a miss") };
    assert_eq!(body, b"same");
    assert_eq!(meta.fresh_until(), renewed.fresh_until());
    let unknown = Asked::account("2").key(&policy());
    assert!(!opened.vault.update_meta(&unknown, &renewed, &span.handle()).await.unwrap());
}

#[tokio::test]
async fn variants_of_an_answer_are_kept_apart() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let mut german = key("1");
    german.set_variance_key([1; 16]);
    let mut french = key("1");
    french.set_variance_key([2; 16]);
    opened.visit(german.clone(), b"Guten Tag").await;
    opened.visit(french.clone(), b"Bonjour").await;
    assert_eq!(opened.kept(german).await.unwrap(), b"Guten Tag");
    assert_eq!(opened.kept(french).await.unwrap(), b"Bonjour");
    assert_eq!(opened.kept(key("1")).await, None);
}

#[tokio::test]
async fn views_show_an_account_s_answers_and_where_they_stand() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let account = Asked::account("1").account_key().unwrap();
    opened.visit(key("1"), b"12345").await;
    opened.visit(key("2"), b"of another").await;
    opened.vault.flush().await;
    let [view] = &opened.vault.entries(&account).await[..] else { panic!("not one") };
    assert_eq!((view.route.as_str(), view.bytes, view.tier), ("summary", 5, Tier::Both));
    assert_eq!((view.stored_at, view.fresh_until), (NOW, NOW.plus(HOUR)));
    assert_eq!(view.visible_to, Visibility::Client);
    opened.vault.close();

    let reborn = open(directory.path(), &settings());
    let [view] = &reborn.vault.entries(&account).await[..] else { panic!("not one") };
    assert_eq!(view.tier, Tier::Disk);
    assert_eq!(reborn.vault.stats().disk_entries, 2);
}

#[tokio::test]
async fn bounds_and_keys_change_on_reload_and_answers_stay() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"before").await;
    opened.vault.flush().await;
    let mut rotated = settings();
    rotated.sealing_keys.insert(0, Secret::new("a newer key"));
    rotated.memory = 8 << 20;
    rotated.max_entry = 6;
    opened.vault.reconfigure(&rotated).unwrap();
    assert_eq!(opened.kept(key("1")).await.unwrap(), b"before");
    opened.visit(key("2"), b"too long").await;
    assert_eq!(opened.kept(key("2")).await, None);
    opened.visit(key("3"), b"after").await;
    opened.vault.close();

    // Only the newer key is left: what it sealed opens, what the older one sealed is a miss.
    rotated.sealing_keys.truncate(1);
    let reborn = open(directory.path(), &rotated);
    assert_eq!(reborn.kept(key("3")).await.unwrap(), b"after");
    assert_eq!(reborn.kept(key("1")).await, None);
}

#[tokio::test]
async fn nothing_of_an_answer_stands_on_disk_in_clear() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    let mut asked = Asked::path("/accounts/4711008815/summary");
    asked.query("secret-parameter=1");
    let filling = opened.ask(asked.key(&policy())).await.miss();
    let header = ok(&[("X-Holder", "Erika Mustermann")]);
    filling.fill(&opened, &policy(), header, &[b"balance 1234.56 of 4711008815"]).await;
    opened.vault.close();
    let mut files = 0;
    walk(directory.path(), &mut |bytes| {
        files += 1;
        // The log is allotted ahead.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let bytes = &bytes[..end];
        for secret in ["1234.56", "4711008815", "Mustermann", "secret-parameter", "acme"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} stands on disk");
        }
    });
    assert!(files > 3, "{files}");
}

fn walk(directory: &Path, look: &mut impl FnMut(&[u8])) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, look);
        } else {
            look(&fs::read(path).unwrap());
        }
    }
}

#[test]
fn a_second_vault_on_the_same_directory_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let Opened { clock, metrics, .. } = open(directory.path(), &settings());
    let second = crate::vault::Vault::open(directory.path(), &settings(), clock, metrics);
    let error = second.err().unwrap();
    assert!(matches!(error, VaultError::Locked(_)), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
}
