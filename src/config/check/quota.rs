use std::num::NonZeroU64;
use std::sync::Arc;

use super::condition::{self, Known};
use super::{Bounds, Check, values};
use crate::config::model::{Accuracy, Counts, QuotaRule, Unavailable, Window};
use crate::config::raw;
use crate::config::spot::Spot;
use crate::request::ValueSource;

pub(super) fn rule(
    name: &Arc<str>,
    raw: &raw::Quota,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<QuotaRule> {
    let place = at.key("per");
    let per = values::sources(&raw.per, &place, check);
    if !per.contains(&ValueSource::Account) {
        check
            .error_on_key(&place, "`account` must be among what a quota counts by")
            .hint("the account says where the count is kept; without it use `rates`");
    }
    let when = raw
        .when
        .as_ref()
        .and_then(|text| condition::condition(text, &at.key("when"), Known::All, check));
    let limit = NonZeroU64::new(raw.limit);
    let window = window(raw, at, check);
    let accuracy = accuracy(raw, at, check);
    Some(QuotaRule {
        name: name.clone(),
        per,
        limit: limit?,
        window,
        when,
        accuracy: accuracy?,
        unavailable: match raw.unavailable {
            raw::Unavailable::Deny => Unavailable::Deny,
            raw::Unavailable::Allow => Unavailable::Allow,
            raw::Unavailable::Local => Unavailable::Local,
        },
        counts: match raw.counts {
            raw::Counts::Success => Counts::Success,
            raw::Counts::All => Counts::All,
        },
        count_hits: raw.count_hits,
    })
}

fn window(raw: &raw::Quota, at: &Spot<'_>, check: &mut Check<'_>) -> Window {
    let length = check.duration(&at.key("window"), raw.window, Bounds::Long);
    let place = at.key("offset");
    if raw.rolling {
        if place.is_written() {
            check.error_on_key(&place, "a rolling window has no start that could be shifted");
        }
        return Window::Rolling { length };
    }
    if raw.offset.0 >= length && place.is_written() && check.is_whole(&at.key("window")) {
        let (offset, window) = (raw.offset, raw.window);
        check.error(
            &place,
            format!("the offset ({offset}) must be shorter than the window ({window})"),
        );
    }
    Window::Fixed { length, offset: raw.offset.0 }
}

fn accuracy(raw: &raw::Quota, at: &Spot<'_>, check: &mut Check<'_>) -> Option<Accuracy> {
    Some(match raw.accuracy {
        raw::Accuracy::Strict => Accuracy::Strict,
        raw::Accuracy::Fast(unconfirmed) => {
            if unconfirmed > raw.limit && check.is_whole(&at.key("limit")) {
                let place = at.key("accuracy").key("fast");
                let limit = raw.limit;
                check
                    .error(
                        &place,
                        format!("after a crash more than twice the limit ({limit}) could be used"),
                    )
                    .hint("use a number up to the limit, or `accuracy: strict`");
            }
            Accuracy::Fast { unconfirmed: NonZeroU64::new(unconfirmed)? }
        }
    })
}
