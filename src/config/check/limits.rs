use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Check, values};
use crate::config::model::{Concurrency, Rate};
use crate::config::raw;
use crate::config::spot::Spot;

pub(super) fn rate(
    name: &Arc<str>,
    raw: &raw::Rate,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<Rate> {
    let per = values::sources(&raw.per, &at.key("per"), check);
    let requests = NonZeroU32::new(raw.rate.requests)?;
    let burst = raw.burst.map_or(Some(requests), NonZeroU32::new)?;
    Some(Rate { name: name.clone(), per, requests, window: raw.rate.window, burst })
}

pub(super) fn concurrency(
    name: &Arc<str>,
    raw: &raw::Concurrency,
    at: &Spot<'_>,
    check: &mut Check<'_>,
) -> Option<Concurrency> {
    let per = values::sources(&raw.per, &at.key("per"), check);
    Some(Concurrency { name: name.clone(), per, limit: raw.limit })
}
