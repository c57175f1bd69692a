use futures::future::join_all;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_appended_is_read_in_order_by_every_gateway() {
    let site = Site::new(Broker::shared(), 2).await;
    let other = site.another();
    let (journal, observer) = (site.open().await, other.open().await);
    let mut mine = journal.tail(1, 0).await.unwrap();
    let mut theirs = observer.tail(1, 0).await.unwrap();
    let mut written = Vec::new();
    for number in 0..20 {
        let record = used(number, 1000, number);
        written.push((journal.append(1, record.clone()).await.unwrap(), record));
    }
    assert!(written.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(take(&mut mine, 20).await, written);
    assert_eq!(take(&mut theirs, 20).await, written);
    assert_eq!(journal.end(1).await.unwrap(), written[19].0 + 1);
    assert_eq!(journal.end(0).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_each_get_an_offset_of_their_own_and_are_all_read() {
    let site = Site::new(Broker::shared(), 4).await;
    let journal = site.open().await;
    let appends = (0..800).map(|number| {
        let (partition, record) = ((number % 4) as u32, used(number, 1000, 1));
        let journal = &journal;
        async move { (partition, journal.append(partition, record.clone()).await.unwrap(), record) }
    });
    let written = join_all(appends).await;
    for partition in 0..4 {
        let mut mine: Vec<_> = written
            .iter()
            .filter(|(at, _, _)| *at == partition)
            .map(|(_, offset, record)| (*offset, record.clone()))
            .collect();
        mine.sort_by_key(|(offset, _)| *offset);
        let mut tail = journal.tail(partition, 0).await.unwrap();
        assert_eq!(take(&mut tail, 200).await, mine);
    }
    assert_eq!(site.metric("tollgate_journal_records_total"), 800.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_starts_where_it_is_told_and_goes_on_with_what_comes() {
    let site = Site::new(Broker::shared(), 1).await;
    let journal = site.open().await;
    for number in 0..10 {
        journal.append(0, used(number, 1000, 1)).await.unwrap();
    }
    let mut tail = journal.tail(0, 7).await.unwrap();
    let offsets: Vec<_> = take(&mut tail, 3).await.into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, [7, 8, 9]);
    journal.append(0, claim(1)).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap(), (10, claim(1)));
    // Another tail of the same partition takes over, and says so to the one before.
    let mut again = journal.tail(0, 9).await.unwrap();
    assert_eq!(next(&mut again).await.unwrap().0, 9);
    let error = next(&mut tail).await.unwrap_err();
    assert!(error.to_string().contains("another tail"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_is_not_read_holds_no_other_back() {
    let site = Site::new(Broker::shared(), 2).await;
    let journal = site.open().await;
    let count = Tail::CAPACITY as u64 * 2;
    let ignored = journal.tail(0, 0).await.unwrap();
    let appends = (0..count).map(|number| journal.append(0, used(number, 1000, 1)));
    assert!(join_all(appends).await.iter().all(Result::is_ok));
    let mut tail = journal.tail(1, 0).await.unwrap();
    for number in 0..10 {
        let offset = journal.append(1, used(number, 1000, 1)).await.unwrap();
        assert_eq!(next(&mut tail).await.unwrap().0, offset);
    }
    // Nothing was lost on it either.
    let mut ignored = ignored;
    let records = take(&mut ignored, count as usize).await;
    assert!(records.iter().zip(0..).all(|((offset, _), number)| *offset == number));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_says_how_far_it_is() {
    let site = Site::new(Broker::shared(), 2).await;
    let journal = site.open().await;
    for number in 0..50 {
        journal.append(number % 2, used(number.into(), 1000, 1)).await.unwrap();
    }
    let reader = site.another().open().await;
    assert!(!reader.replay().is_done());
    let mut tail = reader.tail(0, 0).await.unwrap();
    take(&mut tail, 25).await;
    until("one of two partitions is read", || reader.replay().done == 1).await;
    assert!(reader.replay().percent < 100);
    let mut tail = reader.tail(1, 0).await.unwrap();
    take(&mut tail, 25).await;
    until("both are read", || reader.replay().is_done()).await;
    let replay = reader.replay();
    assert_eq!((replay.percent, replay.records), (100, 50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_back_is_timed() {
    let site = Site::new(Broker::shared(), 1).await;
    let journal = site.open().await;
    let mut tail = journal.tail(0, 0).await.unwrap();
    journal.append(0, claim(1)).await.unwrap();
    next(&mut tail).await.unwrap();
    assert_eq!(site.metric("tollgate_journal_read_back_seconds_count"), 1.0);
}
