use super::*;

fn of<'s>(settings: &'s [Setting], name: &str) -> &'s Setting {
    settings.iter().find(|setting| setting.name == name).unwrap()
}

#[test]
fn counts_outlive_their_window_and_are_not_kept_much_longer() {
    for (window, retention) in
        [(0, DAY), (3600, DAY), (86_400, 30 * HOUR), (400 * 86_400, 500 * DAY)]
    {
        assert_eq!(quota_retention(Duration::from_secs(window)), retention);
    }
    let settings = quotas(DAY);
    let retention = of(&settings, "retention.ms");
    assert_eq!(retention.value, "108000000");
    assert_eq!(retention.judge("108000000"), None);
    assert_eq!(retention.judge("-1"), None);
    assert_eq!(retention.judge("107999999"), Some(Severity::Difference));
    // A rolling day may count for a sixtieth longer.
    assert_eq!(retention.judge("87840000"), Some(Severity::Difference));
    assert_eq!(retention.judge("87839999"), Some(Severity::Unsafe));
}

#[test]
fn claims_outlive_their_renewal_also_where_windows_are_short() {
    let settings = quotas(Duration::from_secs(60));
    let retention = of(&settings, "retention.ms");
    assert_eq!(retention.judge("43200000"), Some(Severity::Difference));
    assert_eq!(retention.judge("43199999"), Some(Severity::Unsafe));
    assert!(retention.why.contains("Claims of ownership"), "{}", retention.why);
    // By the longest window: what is safe at least has room for another try.
    for longest in [Duration::ZERO, HOUR, DAY, 31 * DAY] {
        let safe = (longest + longest / SUB_WINDOWS).max(CLAIMS);
        assert!(quota_retention(longest) * 2 / 5 < safe * 9 / 10, "{longest:?}");
    }
}

#[test]
fn a_policy_without_compaction_is_worse_than_one_without_deletion() {
    let settings = quotas(DAY);
    let policy = of(&settings, "cleanup.policy");
    for (found, bad) in [
        ("compact,delete", None),
        ("delete,compact", None),
        ("compact", Some(Severity::Difference)),
        ("delete", Some(Severity::Unsafe)),
    ] {
        assert_eq!(policy.judge(found), bad, "{found}");
    }
}

#[test]
fn one_copy_in_sync_will_do_only_where_there_is_one() {
    for (replication, found, bad) in [
        (1, "1", None),
        (2, "1", Some(Severity::Unsafe)),
        (3, "1", Some(Severity::Unsafe)),
        (3, "2", None),
        (5, "3", None),
    ] {
        assert_eq!(durable(replication, Topic::Quotas)[0].judge(found), bad);
    }
    let cache = durable(3, Topic::AccountCache);
    assert_eq!(cache[0].judge("1"), Some(Severity::Difference));
}

#[test]
fn segments_close_often_enough_and_not_too_often() {
    for (retention, segment) in [(HOUR, HOUR), (2 * DAY, 6 * HOUR), (400 * DAY, DAY)] {
        let [setting, _] = segments(retention);
        assert_eq!(setting.value, millis(segment).to_string());
        assert_eq!(setting.judge(&(millis(segment) + 1).to_string()), Some(Severity::Difference));
        assert_eq!(setting.judge("60000"), None);
    }
}

#[test]
fn what_is_compacted_has_segments_that_are_small_enough_to_grow_old() {
    let kafka = crate::journal::kafka::topics::testing::kafka();
    for settings in [quotas(DAY), account_cache(&kafka, 4 << 20)] {
        let size = of(&settings, "segment.bytes");
        assert_eq!((size.name, &*size.value), ("segment.bytes", "33554432"));
        assert_eq!(size.judge("33554432"), None);
        assert_eq!(size.judge("1048576"), None);
        assert_eq!(size.judge("1073741824"), Some(Severity::Difference));
    }
    // What is only removed is never joined.
    assert!(account_changes(&kafka).iter().all(|setting| setting.name != "segment.bytes"));
}

#[test]
fn records_of_the_cache_are_bounded() {
    let kafka = crate::journal::kafka::topics::testing::kafka();
    let bytes = |max_entry| {
        let settings = account_cache(&kafka, max_entry);
        of(&settings, "max.message.bytes").value.clone()
    };
    assert_eq!(bytes(4 << 20), "4259840");
    assert_eq!(bytes(256 << 20), "16777216");
}

#[test]
fn times_are_said_as_they_are_written() {
    for (seconds, text) in [(0, "0s"), (90, "90s"), (60, "1m"), (5400, "90m"), (172_800, "2d")] {
        assert_eq!(words(Duration::from_secs(seconds)), text);
    }
}
