use std::collections::BTreeSet;
use std::process::{Child, Command};

use super::*;
use tollgate::journal::Share;

async fn share_of(journal: &Kafka, wanted: impl FnMut(&Share) -> bool) -> BTreeSet<u32> {
    let mut share = journal.share();
    let found = timeout(PATIENCE, share.wait_for(wanted)).await;
    let found = found.unwrap_or_else(|_| panic!("the share stayed {:?}", journal.share().borrow()));
    found.unwrap().as_ref().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_share_the_partitions_and_one_that_resigns_gives_its_share_up() {
    let site = Site::new(Broker::shared(), 6).await;
    let first = site.open().await;
    let all: BTreeSet<u32> = (0..6).collect();
    assert_eq!(share_of(&first, |share| share.len() == 6).await, all);
    let second = site.another().open().await;
    let theirs = share_of(&second, |share| share.len() == 3).await;
    let mine = share_of(&first, |share| share.len() == 3).await;
    assert_eq!(&mine | &theirs, all);

    timeout(PATIENCE, first.resign()).await.unwrap();
    assert!(first.share().borrow().is_empty());
    assert_eq!(share_of(&second, |share| share.len() == 6).await, all);
    // It goes on reading and writing: requests in progress are still counted.
    let mut tail = first.tail(0, 0).await.unwrap();
    first.append(0, claim(1)).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap().1, claim(1));
}

/// Killed at the end of the test, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PREFIX: &str = "TOLLGATE_TEST_PREFIX";
const BROKERS: &str = "TOLLGATE_TEST_BROKERS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is started by the next test, which kills it"]
async fn a_gateway_in_a_process_of_its_own() {
    let brokers = std::env::var(BROKERS).unwrap();
    let mut site = Site::without_topic(Broker::shared(), 6);
    site.settings.brokers = vec![brokers.into()];
    site.settings.topic_prefix = std::env::var(PREFIX).unwrap().into();
    let _journal = site.open().await;
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_share_of_a_gateway_that_is_killed_goes_to_the_others() {
    let site = Site::new(Broker::shared(), 6).await;
    let journal = site.open().await;
    share_of(&journal, |share| share.len() == 6).await;
    let bootstrap = Broker::shared().bootstrap();
    let other = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "journal::share::a_gateway_in_a_process_of_its_own"])
        .env(PREFIX, &*site.settings.topic_prefix)
        .env(BROKERS, bootstrap)
        .env("TOLLGATE_TEST_KAFKA", bootstrap)
        .spawn()
        .unwrap();
    let other = Process(other);
    share_of(&journal, |share| share.len() == 3).await;
    drop(other);
    share_of(&journal, |share| share.len() == 6).await;
}
