//! Giving everything to another process, and taking it back.

use bytes::Bytes;

use super::*;
use crate::account::CallError;

/// What is known of the process that takes over: whether it did, and then its quotas.
type Outcome = Option<Option<Arc<Quotas>>>;

/// The way to that process.
struct Way(watch::Receiver<Outcome>);

#[async_trait]
impl Successor for Way {
    async fn call(&self, errand: Vec<u8>, _: Duration) -> Result<Bytes, CallError> {
        let mut outcome = self.0.clone();
        let outcome = outcome.wait_for(Option::is_some).await.unwrap().clone().flatten();
        let Some(quotas) = outcome else { return Err(CallError::NotReached("no".to_owned())) };
        quotas.do_errand(&errand).await.map_err(|error| CallError::NoAnswer(error.to_string()))
    }
}

impl House {
    async fn give(&self) -> watch::Sender<Outcome> {
        let (decide, outcome) = watch::channel(None);
        assert!(self.quotas.give_over(Arc::new(Way(outcome)), Duration::from_secs(20)).await);
        decide
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect(what);
}

#[tokio::test]
async fn what_was_counted_is_there_and_what_comes_later_is_counted_and_given_back_over_there() {
    let directory = tempfile::tempdir().unwrap();
    let old = House::open(directory.path()).await;
    let (charge, fast) = (daily(4), fast_charge());
    let held = old.one(&charge).await.unwrap();
    assert_eq!(old.use_up(&fast, 7).await, 7);
    let decide = old.give().await;

    let waiting = tokio::spawn({
        let (quotas, charge) = (Arc::clone(&old.quotas), charge.clone());
        async move { reserve(&quotas, &[charge]).await.is_ok() }
    });
    let new = House::open(directory.path()).await;
    assert_eq!((new.used(&charge), new.used(&fast)), (1, 7));
    decide.send(Some(Some(Arc::clone(&new.quotas)))).unwrap();
    assert!(waiting.await.unwrap(), "it waited for the new process");
    assert_eq!(new.used(&charge), 2);

    assert_eq!(old.use_up(&charge, 5).await, 2, "through the old process, to the same limit");
    assert!(new.one(&charge).await.is_err());
    held.settle(false);
    eventually("the use is given back over there", || new.used(&charge) == 3).await;
    assert!(old.one(&charge).await.is_ok());
    assert!(new.one(&charge).await.is_err());
    old.quotas.close().await;
}

#[tokio::test]
async fn a_process_that_does_not_take_over_leaves_the_counts_where_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let house = House::open(directory.path()).await;
    let charge = daily(4);
    let held = house.one(&charge).await.unwrap();
    for _ in 0..2 {
        let decide = house.give().await;
        let waiting = tokio::spawn({
            let (quotas, charge) = (Arc::clone(&house.quotas), charge.clone());
            async move { reserve(&quotas, &[charge]).await.is_ok() }
        });
        // It opens the state, claims the partitions, and fails.
        House::open(directory.path()).await.close().await;
        house.quotas.take_back(Duration::from_secs(20)).await.unwrap();
        decide.send(Some(None)).unwrap();
        assert!(waiting.await.unwrap(), "whoever waited is served here");
    }
    assert_eq!(house.used(&charge), 3);
    held.settle(false);
    eventually("the use is given back here", || house.used(&charge) == 2).await;
    assert_eq!(house.use_up(&charge, 5).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_use_is_lost_or_counted_twice_on_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let old = House::open(directory.path()).await;
    let (strict, fast) = (daily(1_000_000), fast_charge());
    let load = |charge: &Charge| {
        let (quotas, charge) = (Arc::clone(&old.quotas), charge.clone());
        tokio::spawn(async move {
            let mut admitted = 0;
            for number in 0..300 {
                let reservation = reserve(&quotas, std::slice::from_ref(&charge)).await.unwrap();
                reservation.settle(number % 3 > 0);
                admitted += u64::from(number % 3 > 0);
            }
            admitted
        })
    };
    let loads: Vec<_> = [&strict, &fast, &strict].map(load).into();
    eventually("the load to begin", || old.used(&strict) > 20).await;
    let decide = old.give().await;
    let new = House::open(directory.path()).await;
    decide.send(Some(Some(Arc::clone(&new.quotas)))).unwrap();
    let admitted = join_all(loads).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    old.quotas.close().await;
    let of_strict = admitted[0] + admitted[2];
    eventually("all is counted", || new.used(&strict) == of_strict).await;
    eventually("all is counted", || new.used(&fast) == admitted[1]).await;
}
