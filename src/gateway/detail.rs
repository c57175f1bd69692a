//! Why a request was refused or failed, for operators: they can look things up in the configuration
//! and in the journal. Nothing that a caller or a backend sent stands in it.

use super::context::Context;
use super::problem::{methods, span_text};
use crate::observe::Source;
use crate::request::{Challenge, Refusal};

/// Why a request ended as it did; `None`: there is nothing to say.
pub(super) fn of(context: &Context) -> Option<String> {
    let trouble = context.upstream.trouble.as_deref();
    let Some(refusal) = &context.refusal else {
        // The caller got an answer from before, and somebody should know why.
        return trouble.filter(|_| context.source == Source::StaleCache).map(str::to_owned);
    };
    match refusal {
        Refusal::PartFailed { part, .. } => {
            let report = context.composed.report();
            let failure = report.as_ref().and_then(|report| report.failure.as_ref());
            let part = format!("part '{part}'");
            Some(failure.map_or(part.clone(), |failure| format!("{part}: {}", failure.fault)))
        }
        Refusal::UpstreamFailed { .. } | Refusal::UpstreamTimeout { .. } => {
            let cluster = of_refusal(refusal)?;
            Some(trouble.map_or(cluster.clone(), |trouble| format!("{cluster}: {trouble}")))
        }
        Refusal::OwnerUnreachable | Refusal::DeadlineExceeded | Refusal::BadRequest(_) => {
            match (of_refusal(refusal), trouble) {
                (Some(why), Some(trouble)) => Some(format!("{why}: {trouble}")),
                (why, trouble) => why.or_else(|| trouble.map(str::to_owned)),
            }
        }
        Refusal::AccountMismatch => {
            let source = context.plan.as_ref()?.route.account.as_ref()?;
            let other = source.agrees_with.as_ref()?;
            Some(format!("{} does not agree with {other}", source.from))
        }
        other => of_refusal(other),
    }
}

/// Why, as far as the refusal itself says it.
pub(super) fn of_refusal(refusal: &Refusal) -> Option<String> {
    Some(match refusal {
        Refusal::BadPath(why) => why.to_string(),
        Refusal::SeveralValues { of } => format!("several values of {of}"),
        Refusal::OtherSpelling { of } => format!("another spelling of {of}"),
        Refusal::UnreadableValue { of } => format!("no text in {of}"),
        Refusal::ValueMissing { source } => format!("nothing in {source}"),
        Refusal::BackendError { status } => format!("the backend answered {}", status.as_u16()),
        Refusal::BadRequest(why) | Refusal::MalformedBody(why) => (*why).to_owned(),
        Refusal::MethodNotAllowed { allow } => format!("only {}", methods(allow)),
        Refusal::Unauthenticated(Challenge::Missing) => "there is no bearer token".to_owned(),
        Refusal::Unauthenticated(Challenge::Malformed(why) | Challenge::Invalid(why)) => {
            (*why).to_owned()
        }
        Refusal::MissingScope { required, one_is_enough: false } => format!("scope '{required}'"),
        Refusal::MissingScope { required, one_is_enough: true } => {
            format!("one of the scopes '{required}'")
        }
        Refusal::Forbidden { rule } => format!("{rule} does not hold"),
        Refusal::RateLimited(state) => {
            format!("rate '{}': {} in {}", state.policy, state.limit, span_text(state.window))
        }
        Refusal::TooManyInProgress { limit } => format!("concurrency '{limit}'"),
        Refusal::BodyTooLarge { limit } => format!("more than {limit} bytes"),
        Refusal::AccountMissing { source } => format!("nothing in {source}"),
        Refusal::AccountInvalid(why) => why.to_string(),
        Refusal::QuotaUnavailable { rule } => format!("quota '{rule}' can't be counted"),
        Refusal::QuotaExceeded(quota) => format!(
            "{} of {} used as of offset {} of partition {}",
            quota.used, quota.state.limit, quota.offset, quota.partition
        ),
        Refusal::NoEndpoint { cluster } => format!("cluster '{cluster}': no endpoint is up"),
        Refusal::UpstreamFailed { cluster } | Refusal::UpstreamTimeout { cluster } => {
            format!("cluster '{cluster}'")
        }
        Refusal::NotOwner { partition } => format!("of partition {partition}"),
        Refusal::PartFailed { part, .. } => format!("part '{part}'"),
        Refusal::NoRoute
        | Refusal::UriTooLong
        | Refusal::HeadersTooLarge
        | Refusal::HeadTimeout
        | Refusal::IdentityUnavailable
        | Refusal::UnsupportedMediaType
        | Refusal::BodyTimeout
        | Refusal::AccountMismatch
        | Refusal::OwnerUnreachable
        | Refusal::NotCached
        | Refusal::DeadlineExceeded
        | Refusal::Internal => return None,
    })
}
