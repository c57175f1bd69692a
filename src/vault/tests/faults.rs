//! Disks that fail, files that are damaged, keys that are wrong.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use pingora_cache::CacheKey;

use crate::config::model::{CacheSettings, Secret};
use crate::request::RouteId;
use crate::testing::small_disk::SmallDisk;
use crate::vault::change::{Change, Put};
use crate::vault::key::{Place, Ticket};
use crate::vault::layout::route_tag;
use crate::vault::table::Table;
use crate::vault::testing::{Asked, NOW, Opened, open, policy, settings};
use crate::vault::{Vault, VaultError};

fn key(account: &str) -> CacheKey {
    Asked::account(account).key(&policy())
}

impl Opened {
    fn disk_fails(&self, fails: bool) {
        self.vault.disk.shared().faults.on.store(fails, SeqCst);
    }

    fn table(&self) -> Arc<Table> {
        self.vault.disk.shared().table.load_full().unwrap()
    }

    /// Gives the vault's thread turns until it has its disk again.
    async fn disk_is_back(&self) {
        let patience = Instant::now() + Duration::from_secs(30);
        while !self.vault.stats().disk_available {
            assert!(Instant::now() < patience, "the disk did not come back");
            self.vault.flush().await;
        }
    }

    fn forget_in_memory(&self) {
        self.vault.memory.remove(&crate::vault::change::Scope::All);
    }
}

#[tokio::test]
async fn with_a_full_disk_the_vault_goes_on_in_memory_and_takes_the_disk_back_later() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"before").await;
    opened.vault.flush().await;

    opened.disk_fails(true);
    opened.visit(key("2"), b"meanwhile").await;
    opened.vault.flush().await;
    let stats = opened.vault.stats();
    assert!(!stats.disk_available && stats.faults > 0 && stats.not_written == 1, "{stats:?}");
    assert_eq!(opened.kept(key("1")).await.unwrap(), b"before");
    assert_eq!(opened.kept(key("2")).await.unwrap(), b"meanwhile");
    let faults = opened.counted("fault");
    assert_eq!(opened.kept(key("3")).await, None);
    assert_eq!(opened.counted("fault"), faults + 1, "what memory lacks is a fault and a miss");

    opened.disk_fails(false);
    opened.disk_is_back().await;
    opened.visit(key("4"), b"after").await;
    opened.vault.close();
    let reborn = open(directory.path(), &settings());
    assert_eq!(reborn.kept(key("1")).await.unwrap(), b"before");
    assert_eq!(reborn.kept(key("4")).await.unwrap(), b"after");
}

#[tokio::test]
async fn a_fault_while_reading_is_a_miss() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"kept").await;
    opened.vault.flush().await;
    opened.forget_in_memory();
    opened.disk_fails(true);
    assert_eq!(opened.kept(key("1")).await, None);
    assert_eq!(opened.counted("fault"), 1);
    opened.disk_fails(false);
    assert_eq!(opened.kept(key("1")).await.unwrap(), b"kept", "nothing was lost by it");
}

#[tokio::test]
async fn a_disk_that_does_not_answer_is_a_miss_after_a_moment() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"kept").await;
    opened.vault.flush().await;
    opened.forget_in_memory();
    let stuck = opened.vault.disk.lookups.clone().acquire_many_owned(64).await.unwrap();
    assert_eq!(opened.kept(key("1")).await, None);
    assert_eq!(opened.counted("fault"), 1);
    drop(stuck);
    assert!(opened.kept(key("1")).await.is_some());
}

#[tokio::test]
async fn a_purge_during_a_fault_says_so_and_holds_when_the_disk_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"old").await;
    opened.visit(key("2"), b"of another").await;
    opened.vault.flush().await;
    opened.disk_fails(true);
    let account = Asked::account("1").account_key().unwrap();
    let purged = opened.vault.purge_account(&account).await;
    assert!(matches!(purged, Err(VaultError::Unavailable)), "{purged:?}");
    assert_eq!(opened.kept(key("1")).await, None);
    opened.disk_fails(false);
    opened.disk_is_back().await;
    assert_eq!(opened.kept(key("1")).await, None, "owed to the disk, and done");
    opened.forget_in_memory();
    assert!(opened.kept(key("2")).await.is_some());
}

#[tokio::test]
async fn a_process_that_ends_before_a_purge_is_on_disk_leaves_no_old_answer_to_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"before").await;
    opened.vault.flush().await;
    opened.disk_fails(true);
    let account = Asked::account("1").account_key().unwrap();
    let purged = opened.vault.purge_changed(&account).await;
    assert!(matches!(purged, Err(VaultError::Unavailable)), "{purged:?}");
    opened.vault.close();

    let opened = open(directory.path(), &settings());
    assert_eq!(opened.kept(key("1")).await, None);
    opened.visit(key("2"), b"after").await;
    opened.vault.flush().await;
    // Where the disk came back in time, nothing is lost but what was purged.
    opened.disk_fails(true);
    assert!(opened.vault.purge_changed(&account).await.is_err());
    opened.disk_fails(false);
    opened.disk_is_back().await;
    opened.vault.close();
    let opened = open(directory.path(), &settings());
    assert_eq!(opened.kept(key("2")).await.unwrap(), b"after");
}

#[tokio::test]
async fn a_flipped_bit_is_a_miss_and_the_answer_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"12.34").await;
    opened.vault.flush().await;
    opened.forget_in_memory();
    let key = key("1");
    let place = Place::of(&key, &Ticket::of(&key).unwrap().name);
    let mut record = opened.table().get(&place).unwrap().unwrap().to_vec();
    let middle = record.len() / 2;
    record[middle] ^= 1;
    let route = route_tag(&RouteId::new("summary"));
    let put = Put { place, route, expires: NOW, record };
    opened.table().apply(vec![Change::Put(put)], settings().disk).unwrap();

    assert_eq!(opened.kept(key.clone()).await, None);
    assert_eq!(opened.counted("fault"), 1);
    opened.vault.flush().await;
    assert!(opened.table().get(&place).unwrap().is_none(), "the damaged record is gone");
    opened.visit(key.clone(), b"12.34").await;
    assert!(opened.kept(key).await.is_some());
}

#[tokio::test]
async fn a_wrong_sealing_key_is_a_miss_and_the_right_one_opens_again() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"sealed").await;
    opened.vault.close();
    let wrong = CacheSettings { sealing_keys: vec![Secret::new("wrong")], ..settings() };
    let opened = open(directory.path(), &wrong);
    assert_eq!(opened.kept(key("1")).await, None);
    assert_eq!(opened.counted("fault"), 0);
    opened.vault.close();
    let opened = open(directory.path(), &settings());
    assert_eq!(opened.kept(key("1")).await.unwrap(), b"sealed");
}

/// Damages a table that a vault has left behind, and asks a new vault for what it had.
async fn after_damage(damage: impl Fn(&Path)) -> (tempfile::TempDir, Option<Vec<u8>>) {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path(), &settings());
    opened.visit(key("1"), b"kept").await;
    opened.vault.close();
    damage(&directory.path().join("cache"));
    let reborn = open(directory.path(), &settings());
    let kept = reborn.kept(key("1")).await;
    reborn.visit(key("2"), b"anew").await;
    reborn.vault.flush().await;
    reborn.forget_in_memory();
    assert!(reborn.kept(key("2")).await.is_some(), "it works again");
    (directory, kept)
}

fn overwrite(directory: &Path, with: &str) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::write(path, with).unwrap();
        }
    }
}

#[tokio::test]
async fn damaged_files_are_put_aside_and_the_vault_starts_empty() {
    let (directory, kept) = after_damage(|table| {
        for keyspace in fs::read_dir(table.join("keyspaces")).unwrap() {
            overwrite(&keyspace.unwrap().path(), "garbage");
        }
    })
    .await;
    assert_eq!(kept, None);
    assert!(directory.path().join("cache.damaged").is_dir());

    let (directory, kept) = after_damage(|table| {
        // As a crash during the very first start leaves it.
        fs::remove_dir_all(table.join("keyspaces")).unwrap();
        fs::remove_file(table.join("version")).unwrap();
    })
    .await;
    assert_eq!(kept, None);
    assert!(directory.path().join("cache.damaged").is_dir());
}

#[tokio::test]
async fn a_log_that_was_cut_off_is_read_as_far_as_it_goes() {
    let (directory, kept) = after_damage(|table| {
        let log = table.join("0.jnl");
        let length = fs::metadata(&log).unwrap().len();
        fs::OpenOptions::new().write(true).open(log).unwrap().set_len(length / 2).unwrap();
    })
    .await;
    assert_eq!(kept.as_deref(), Some(&b"kept"[..]), "it stood in the first half");
    assert!(!directory.path().join("cache.damaged").exists());
}

#[test]
fn a_directory_that_can_t_be_used_is_said_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let Opened { clock, metrics, .. } = open(directory.path(), &settings());
    let error = Vault::open(&file, &settings(), clock, metrics).err().unwrap();
    assert!(matches!(error, VaultError::File { .. }), "{error}");
    assert!(error.to_string().contains("file"), "{error}");
}

#[tokio::test]
async fn a_start_on_a_full_disk_goes_on_in_memory_and_later_believes_nothing_that_lacks_a_purge() {
    let Some(disk) = SmallDisk::mount(96) else { return };
    let directory = disk.path().join("state");
    let opened = open(&directory, &settings());
    opened.visit(key("1"), b"purged since").await;
    opened.vault.flush().await;
    opened.vault.close();
    // As a purge that the disk did not take leaves it.
    std::fs::remove_file(directory.join("cache.complete")).unwrap();
    let filling = disk.fill();

    let reborn = open(&directory, &settings());
    assert!(!reborn.vault.stats().disk_available);
    assert_eq!(reborn.kept(key("1")).await, None);
    reborn.visit(key("2"), b"in memory").await;
    assert_eq!(reborn.kept(key("2")).await.unwrap(), b"in memory");

    std::fs::remove_file(filling).unwrap();
    reborn.disk_is_back().await;
    assert_eq!(reborn.kept(key("1")).await, None);
    reborn.visit(key("3"), b"on disk").await;
    reborn.vault.flush().await;
    reborn.vault.close();
    let last = open(&directory, &settings());
    assert_eq!(last.kept(key("1")).await, None);
    assert_eq!(last.kept(key("3")).await.unwrap(), b"on disk");
}
