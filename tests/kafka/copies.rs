//! Three brokers: copies, who must confirm, and every broker's clock.

use std::time::Instant;

use crate::broker::Broker;
use crate::site::Site;
use crate::topics::{BOUNDED, findings, mend, set, succeeded};

#[test]
fn a_fleet_on_three_brokers_has_three_copies_of_which_two_confirm() {
    let (broker, site) = (Broker::own(&["--brokers", "3"]), Site::new());
    let brokers = broker.bootstrap();
    let kafka = format!("brokers: ['{}'], partitions: 6", brokers.replace(',', "', '"));
    site.configure(&kafka, "24h");
    succeeded(&site.kafka("init", &[]));
    let checked = site.kafka("check", &["--json"]);
    succeeded(&checked);
    let report = checked.json();
    assert_eq!(findings(&report, "tollgate"), set([]));
    assert_eq!(report["topics"][0]["replication"], 3);
    let clocks = report["clocks"].as_array().unwrap();
    let asked: Vec<u64> = clocks.iter().map(|clock| clock["broker"].as_u64().unwrap()).collect();
    assert_eq!(asked, [1, 2, 3]);

    // The same topics with fewer copies, of which fewer confirm.
    let kafka = format!("{kafka}, topic_prefix: thin");
    site.configure(&format!("{kafka}, replication: 1"), "24h");
    succeeded(&site.kafka("init", &[]));
    site.configure(&kafka, "24h");
    let done = site.kafka("check", &["--json"]);
    assert_eq!(done.status, 1);
    let expected = set([
        "unsafe quotas the number of copies",
        "difference account-cache the number of copies",
        "difference account-changes the number of copies",
    ]);
    assert_eq!(findings(&done.json(), "thin"), expected);
    mend(&done.json(), &site);
    // With more copies, which take a moment, one that confirms is no longer enough.
    let started = Instant::now();
    let mut done = site.kafka("check", &["--json"]);
    while done.json()["topics"].to_string().contains("\"replication\":1") {
        assert!(started.elapsed() < BOUNDED, "{done:?}");
        done = site.kafka("check", &["--json"]);
    }
    let expected = set([
        "unsafe quotas min.insync.replicas",
        "difference account-cache min.insync.replicas",
        "difference account-changes min.insync.replicas",
    ]);
    assert_eq!(findings(&done.json(), "thin"), expected);
    mend(&done.json(), &site);
    succeeded(&site.kafka("check", &[]));
}
