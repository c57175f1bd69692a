//! Claims that are made anew, for journals that don't keep them for good.

use std::time::Instant;

use super::*;

fn epochs(house: &House) -> Vec<Offset> {
    house.quotas.partitions().iter().filter_map(|partition| partition.epoch).collect()
}

#[tokio::test]
async fn claims_are_made_anew_under_load_and_no_use_is_refused_or_lost() {
    let directory = tempfile::tempdir().unwrap();
    let renewal = Some(Duration::from_millis(300));
    let house =
        House::open_with(directory.path(), Patience { renewal, ..Patience::default() }).await;
    let first = epochs(&house);
    let charge = daily(1_000_000);
    let mut admitted = 0;
    let deadline = Instant::now() + Duration::from_secs(20);
    // Three claims of each partition; only one of them has uses.
    let mut seen = vec![first.clone()];
    while seen.len() < 4 {
        assert!(Instant::now() < deadline, "{seen:?}");
        assert_eq!(house.use_up(&charge, 20).await, 20);
        admitted += 20;
        let now = epochs(&house);
        let last = seen.last().unwrap();
        if now.len() == 4 && now.iter().zip(last).all(|(now, last)| now > last) {
            seen.push(now);
        }
    }
    assert_eq!(house.used(&charge), admitted);
    assert!(house.metric(r#"tollgate_claims_total{reason="renewed"}"#) >= 12.0);
}
