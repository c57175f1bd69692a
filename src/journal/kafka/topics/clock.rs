//! Brokers' clocks against this machine's. Kafka stamps every record with the time of its leader,
//! so a record is sent to each of them.

use futures::executor::block_on;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Timestamp;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use std::collections::BTreeMap;
use std::time::Duration;

use super::found::Present;
use super::session::{client_error, producer_config};
use super::wanted::Wanted;
use super::{ClockView, Finding, Severity, TopicsError};
use crate::config::model::{Kafka, Topic};
use crate::request::{Clock as _, SystemClock};

/// Differences below this do no harm: windows are much longer.
const MOST_MS: i64 = 1000;
/// One record.
const SEND: Duration = Duration::from_secs(10);
/// The key under which the account cache would find the removal of one answer, of an account that
/// can't be: its hash would have to be all zeros. So to a gateway the record says nothing, and
/// without a value compaction removes it.
pub(super) const KEY: [u8; 33] = {
    let mut key = [0; 33];
    key[0] = b'e';
    key
};

/// Asks the leaders of a topic of the account cache. Any other topic gives nothing: a record in it
/// would mean something.
pub(super) fn of_leaders(
    kafka: &Kafka,
    wanted: &Wanted,
    present: &Present,
) -> Result<Vec<ClockView>, TopicsError> {
    let stamps = present.setting("message.timestamp.type") == Some("LogAppendTime");
    if wanted.topic != Topic::AccountCache || !stamps {
        return Ok(Vec::new());
    }
    let numbers = 0..i32::try_from(present.leaders.len()).unwrap_or(i32::MAX);
    let leaders: BTreeMap<i32, i32> =
        present.leaders.iter().copied().zip(numbers).filter(|(leader, _)| *leader >= 0).collect();
    let producer: FutureProducer = producer_config(kafka, false).create().map_err(client_error)?;
    let mut clocks = Vec::with_capacity(leaders.len());
    for (broker, partition) in leaders {
        // The first one connects; the second one is not held up by that.
        let ahead = ask(&producer, &wanted.name, partition)
            .and_then(|_| ask(&producer, &wanted.name, partition));
        clocks.extend(ahead.map(|ahead_ms| ClockView { broker, ahead_ms }));
    }
    Ok(clocks)
}

/// How far the leader of a partition is ahead; `None` if it does not take the record, which the
/// look at permissions explains.
fn ask(producer: &FutureProducer, topic: &str, partition: i32) -> Option<i64> {
    let record = FutureRecord::<[u8], [u8]>::to(topic).partition(partition).key(&KEY);
    let now = || i64::try_from(SystemClock.now().0).unwrap_or(i64::MAX);
    let before = now();
    let sent = block_on(producer.send(record, Timeout::After(SEND)));
    let after = now();
    match sent.map(|delivery| delivery.timestamp) {
        Ok(Timestamp::LogAppendTime(stamp)) => Some(ahead(before, stamp, after)),
        Ok(Timestamp::CreateTime(_) | Timestamp::NotAvailable) => None,
        Err((error, _)) => {
            let code = error.rdkafka_error_code();
            let expected = code == Some(RDKafkaErrorCode::TopicAuthorizationFailed);
            if !expected {
                tracing::debug!(%error, partition, "a broker's clock could not be asked for");
            }
            None
        }
    }
}

/// How far a stamp lies outside of the time in which it was made.
fn ahead(before: i64, stamp: i64, after: i64) -> i64 {
    match stamp {
        _ if stamp < before => stamp - before,
        _ if stamp > after => stamp - after,
        _ => 0,
    }
}

/// Says so if a clock is too far off.
pub(super) fn judge(clock: &ClockView) -> Option<Finding> {
    let ClockView { broker, ahead_ms } = *clock;
    if ahead_ms.abs() <= MOST_MS {
        return None;
    }
    let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
    Some(Finding {
        severity: Severity::Difference,
        subject: format!("broker {broker}"),
        what: "the clock".into(),
        found: format!("{} ms {way} this machine's", ahead_ms.abs()),
        needed: format!("at most {MOST_MS} ms from it"),
        why: "windows begin and end by the gateways' clocks, and records age by the brokers'"
            .into(),
        command: Some("timedatectl set-ntp true   # on the machine whose clock is wrong".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_within_the_time_it_took_says_nothing_and_one_outside_does() {
        for (stamp, off) in [(1000, 0), (1005, 0), (1010, 0), (998, -2), (4010, 3000)] {
            assert_eq!(ahead(1000, stamp, 1010), off);
        }
    }

    #[test]
    fn clocks_more_than_a_second_apart_are_reported() {
        let judge = |ahead_ms| judge(&ClockView { broker: 2, ahead_ms });
        assert_eq!(judge(1000), None);
        assert_eq!(judge(-1000), None);
        assert_eq!(judge(1001).unwrap().found, "1001 ms ahead of this machine's");
        let behind = judge(-90_000).unwrap();
        assert_eq!(
            (&*behind.subject, &*behind.found),
            ("broker 2", "90000 ms behind this machine's")
        );
    }
}
