use tollgate::journal::RecordError;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_or_another_is_refused_with_the_remedy() {
    let site = Site::without_topic(Broker::shared(), 4);
    let topic = site.topic();
    let error = site.try_open().await.unwrap_err();
    assert_eq!(error, JournalError::NoTopic { topic: topic.clone(), partitions: 4 });
    assert!(error.to_string().contains("tollgate kafka init"), "{error}");
    site.create().await;
    let mut other = site.another();
    other.settings.partitions = 8;
    let error = other.try_open().await.unwrap_err();
    assert_eq!(error, JournalError::TopicPartitions { topic, found: 4, asked: 8 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_that_is_not_there_is_waited_for_a_while_and_then_named() {
    let mut site = Site::without_topic(Broker::shared(), 1);
    site.settings.brokers = vec!["127.0.0.1:1".into()];
    site.tuning.patience = Duration::from_secs(1);
    let error = site.try_open().await.unwrap_err();
    assert!(matches!(error, JournalError::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1") && text.contains("Connection refused"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_record_stops_its_partition_and_no_other() {
    let site = Site::new(Broker::shared(), 2).await;
    let journal = site.open().await;
    let mut broken = journal.tail(0, 0).await.unwrap();
    let mut whole = journal.tail(1, 0).await.unwrap();
    journal.append(0, claim(1)).await.unwrap();
    let offset = site.write(0, b"key", Some(&[9, 9, 9])).await;
    assert_eq!(next(&mut broken).await.unwrap().1, claim(1));
    let reason = RecordError::UnknownVersion(9);
    assert_eq!(
        next(&mut broken).await.unwrap_err(),
        JournalError::Corrupt { partition: 0, offset, reason }
    );
    assert!(timeout(PATIENCE, broken.next()).await.unwrap().is_none());
    journal.append(1, claim(2)).await.unwrap();
    assert_eq!(next(&mut whole).await.unwrap().1, claim(2));
    assert_eq!(site.metric(r#"tollgate_journal_corrupt_records_total{partition="0"}"#), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_under_another_account_key_stops_its_partition_with_the_remedy() {
    let site = Site::new(Broker::shared(), 1).await;
    site.open().await.append(0, claim(1)).await.unwrap();
    let mut other = site.another();
    other.account_key = "somebody else's".to_owned();
    let journal = other.open().await;
    let mut tail = journal.tail(0, 0).await.unwrap();
    let error = next(&mut tail).await.unwrap_err();
    let owner = "gw:9443".into();
    assert_eq!(error, JournalError::AnotherAccountKey { partition: 0, offset: 0, owner });
    assert!(error.to_string().contains("state.account_key"), "{error}");
    // Nor is it passed over after a new start, whatever the mirror has.
    drop(journal);
    let journal = other.open().await;
    let mut tail = journal.tail(0, 0).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap_err(), error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_are_passed_over() {
    let site = Site::new(Broker::shared(), 1).await;
    let journal = site.open().await;
    let mut tail = journal.tail(0, 0).await.unwrap();
    site.write(0, b"key", None).await;
    journal.append(0, claim(1)).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap(), (1, claim(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_is_noticed_by_its_readers() {
    let site = Site::new(Broker::shared(), 1).await;
    let journal = site.open().await;
    let mut tail = journal.tail(0, 0).await.unwrap();
    for number in 0..10 {
        journal.append(0, used(number, 1000, 1)).await.unwrap();
    }
    take(&mut tail, 10).await;
    site.delete().await;
    site.create().await;
    let error = next(&mut tail).await.unwrap_err();
    assert_eq!(error, JournalError::Restarted { partition: 0, offset: 10 });
    assert_eq!(
        journal.tail(0, 10).await.unwrap_err(),
        JournalError::Restarted { partition: 0, offset: 10 }
    );
    // Also once the new topic has that offset.
    for number in 0..20 {
        assert_eq!(journal.append(0, claim(number)).await.unwrap(), number as u64);
    }
    assert_eq!(
        journal.tail(0, 10).await.unwrap_err(),
        JournalError::Restarted { partition: 0, offset: 10 }
    );
    let mut tail = journal.tail(0, 0).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap(), (0, claim(0)));
    // From then on it is an offset like any other.
    let mut tail = journal.tail(0, 10).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap(), (10, claim(10)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_is_not_made_by_who_writes_to_it() {
    let broker = Broker::own(&["--auto-create"]);
    let mut site = Site::new(&broker, 1).await;
    site.settings.delivery_timeout = Duration::from_secs(2);
    let journal = site.open().await;
    timeout(PATIENCE, async { while journal.append(0, claim(1)).await.is_err() {} }).await.unwrap();
    site.delete().await;
    // Each of them has asked for the topic by the time that it fails.
    for nonce in 2..7 {
        timeout(PATIENCE, async { while journal.append(0, claim(nonce)).await.is_ok() {} })
            .await
            .unwrap();
    }
    // Whoever does not forbid it has the broker make a topic, after all that was asked for before.
    let other = Site::without_topic(&broker, 1);
    other.write(0, b"key", Some(b"made")).await;
    assert!(other.has_topic());
    assert!(!site.has_topic());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_queue_an_append_fails_at_once_and_for_certain() {
    let broker = Broker::own(&[]);
    let mut site = Site::new(&broker, 1).await;
    site.tuning.queue = 5;
    let journal = Arc::new(site.open().await);
    journal.append(0, claim(0)).await.unwrap();
    broker.signal(1, "STOP");
    let waiting: Vec<_> = (1..=5)
        .map(|nonce| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move { journal.append(0, claim(nonce)).await })
        })
        .collect();
    let mut refused = Ok(0);
    for nonce in 100.. {
        let append = journal.append(0, claim(nonce));
        match timeout(Duration::from_millis(300), append).await {
            Ok(answer) => {
                refused = answer;
                break;
            }
            Err(_) => continue,
        }
    }
    let error = refused.unwrap_err();
    assert!(matches!(error, JournalError::NotWritten(_)), "{error:?}");
    assert!(error.to_string().contains("waiting already"), "{error}");
    broker.signal(1, "CONT");
    for append in waiting {
        append.await.unwrap().ok();
    }
    journal.append(0, claim(1000)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_leaves_writes_in_doubt_and_goes_on_where_it_was() {
    let broker = Broker::own(&[]);
    let mut site = Site::new(&broker, 1).await;
    site.settings.delivery_timeout = Duration::from_secs(2);
    let journal = site.open().await;
    let mut tail = journal.tail(0, 0).await.unwrap();
    timeout(PATIENCE, async { while journal.append(0, claim(1)).await.is_err() {} }).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap().1, claim(1));
    assert_eq!(journal.trouble(), None);
    let in_doubt = r#"tollgate_journal_append_failures_total{ambiguous="true"}"#;
    let before = site.metric(in_doubt);

    broker.signal(1, "STOP");
    let error = timeout(PATIENCE, journal.append(0, claim(2))).await.unwrap().unwrap_err();
    assert!(error.is_ambiguous(), "{error:?}");
    let trouble = journal.trouble().unwrap();
    assert!(trouble.contains("does not confirm writes"), "{trouble}");
    assert_eq!(site.metric(in_doubt), before + 1.0);

    broker.signal(1, "CONT");
    // The same tail goes on; the write in doubt may stand before this one.
    timeout(PATIENCE, async { while journal.append(0, claim(3)).await.is_err() {} }).await.unwrap();
    while next(&mut tail).await.unwrap().1 != claim(3) {}
    assert_eq!(journal.trouble(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_gone_is_told_and_its_return_noticed_without_a_restart() {
    let broker = Broker::own(&[]);
    let site = Site::new(&broker, 1).await;
    let journal = site.open().await;
    let mut tail = journal.tail(0, 0).await.unwrap();
    journal.append(0, claim(1)).await.unwrap();
    next(&mut tail).await.unwrap();
    broker.kill(1);
    until("the outage is told", || journal.trouble().is_some()).await;
    let trouble = journal.trouble().unwrap();
    assert!(trouble.contains("no Kafka broker of"), "{trouble}");
    broker.start(1);
    until("the return is told", || journal.trouble().is_none()).await;
    journal.append(0, claim(2)).await.unwrap();
    assert_eq!(next(&mut tail).await.unwrap().1, claim(2));
}
