//! Owners and those who look for them, where Kafka lets go of old records or takes none.

use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use tollgate::quota::{PartitionView, Patience, Quotas};
use tollgate::request::SystemClock;

use super::*;

impl Site {
    async fn quotas(&self, name: &str, patience: Patience) -> Arc<Quotas> {
        let journal: Arc<dyn Journal> = Arc::new(self.open().await);
        let metrics = Arc::clone(&self.metrics);
        let clock = Arc::new(SystemClock);
        Quotas::open_with(journal, clock, metrics, name, None, patience).await.unwrap()
    }

    /// Removes a partition's records before an offset, as the topic's retention does.
    async fn let_go(&self, partition: u32, before: Offset) {
        let mut list = TopicPartitionList::new();
        let offset = KafkaOffset::Offset(before.try_into().unwrap());
        list.add_partition_offset(&self.topic(), partition.try_into().unwrap(), offset).unwrap();
        self.admin().delete_records(&list, &options()).await.unwrap();
    }
}

fn epoch(view: &PartitionView) -> Offset {
    view.epoch.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_starts_knows_the_owners_though_their_first_claims_are_long_gone() {
    let site = Site::new(Broker::shared(), 4).await;
    let renewal = Some(Duration::from_secs(2));
    let first = site.quotas("one:7443", Patience { renewal, ..Patience::default() }).await;
    until("the first owns all", || first.unready().is_empty()).await;
    let ends: Vec<_> = first.partitions().iter().map(|view| view.next).collect();
    until("each claim to be renewed", || {
        first.partitions().iter().zip(&ends).all(|(view, end)| epoch(view) >= *end)
    })
    .await;
    for (partition, end) in (0..).zip(&ends) {
        site.let_go(partition, *end).await;
    }
    let other = site.another();
    let second = other.quotas("two:7443", Patience::default()).await;
    until("the second to know all owners", || second.unready().is_empty()).await;
    let views = second.partitions();
    assert!(views.iter().all(|view| view.owner.is_some()), "{views:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_beside_a_damaged_partition_and_says_what_is_wrong() {
    let site = Site::new(Broker::shared(), 2).await;
    let offset = site.write(0, b"key", Some(&[9, 9, 9])).await;
    let quotas = site.quotas("one:7443", Patience::default()).await;
    let owned = || quotas.partitions().iter().map(|view| view.owner.is_some()).collect::<Vec<_>>();
    until("the other partition is owned", || owned() == [false, true]).await;
    until("the damage is told", || !quotas.degraded().is_empty()).await;
    assert_eq!(quotas.unready(), [""; 0]);
    let wrong = quotas.degraded().join("\n");
    let place = format!("offset {offset} of partition 0");
    assert!(wrong.contains(&place) && wrong.contains("version 9"), "{wrong}");
    assert_eq!(owned(), [false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_kafka_forbids_are_told_with_what_mends_it() {
    let broker = Broker::own(&["--tls", "--sasl", "gateway:right", "--acls"]);
    let mut site = secure::site(&broker);
    secure::create(&broker, &site);
    site.settings.tls = secure::tls(&broker, false);
    site.settings.sasl = secure::sasl("right");
    let (admin, prefix) = (broker.admin(), &site.settings.topic_prefix);
    let acl = format!("kafka-acls.sh --bootstrap-server {admin} --allow-principal User:gateway");
    let all =
        ["Read", "Write", "DescribeConfigs"].map(|word| format!("--operation {word}")).join(" ");
    let topics = format!("--resource-pattern-type prefixed --topic {prefix}.");
    let group = format!("--resource-pattern-type prefixed --group {prefix}. --operation Read");
    let first = format!("{acl} --add {topics} {all} && {acl} --add {group}");
    Broker::tool_works(&first, broker.folder());
    let journal = site.open().await;
    journal.append(0, claim(1)).await.unwrap();
    assert_eq!(journal.trouble(), None);

    let taken = format!("{acl} --remove --force {topics} --operation Write");
    Broker::tool_works(&taken, broker.folder());
    let refused = async { while journal.append(0, claim(2)).await.is_ok() {} };
    timeout(PATIENCE, refused).await.expect("a write is refused");
    let trouble = journal.trouble().unwrap();
    let topic = site.topic();
    assert!(trouble.contains(&format!("may not write to topic {topic}")), "{trouble}");
    assert!(trouble.contains("tollgate kafka check"), "{trouble}");

    Broker::tool_works(&format!("{acl} --add {topics} --operation Write"), broker.folder());
    let taken_again = async { while journal.append(0, claim(3)).await.is_err() {} };
    timeout(PATIENCE, taken_again).await.expect("a write is taken");
    assert_eq!(journal.trouble(), None);
}
