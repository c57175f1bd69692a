//! How the vault stands in Pingora's cache hooks.

use std::time::Duration;

use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType};
use pingora_cache::key::HashBinary;
use pingora_cache::{
    CacheKey, CacheMeta, CachePhase, ForcedFreshness, NoCacheReason, RespCacheable,
};
use pingora_proxy::Session;

use super::context::Context;
use super::shared::Shared;
use crate::account::AccountKey;
use crate::config::model::{Action, CachePolicy};
use crate::observe::{Source, Stage};
use crate::vault::{self, VaultError};

/// The route's policy, if this request may be answered from the vault. An answer about several
/// accounts is not kept: a change of any of them would have to find it.
fn policy<'a>(session: &Session, context: &'a Context) -> Option<&'a CachePolicy> {
    let policy = context.plan.as_ref()?.route.cache.as_ref()?;
    if context.account_keys.len() > 1 || context.cache_is_elsewhere {
        return None;
    }
    let header = session.req_header();
    let bypassed = vault::policy::request_bypasses(policy, &header.method, &header.headers);
    (!bypassed).then_some(policy)
}

/// Whether this request is looked up in the vault before a backend is called.
pub(super) fn may_answer(session: &Session, context: &Context) -> bool {
    policy(session, context).is_some()
}

/// Whether the caller wants a kept answer or none.
pub(super) fn only_if_cached(session: &Session, context: &Context) -> bool {
    let wants = |policy| vault::policy::only_if_cached(policy, &session.req_header().headers);
    policy(session, context).is_some_and(wants)
}

/// Turns the cache on for this request, where its route keeps answers.
pub(super) fn enable(shared: &Shared, session: &mut Session, context: &mut Context) {
    // Looked at again: it may have waited for the process that takes over.
    context.cache_is_elsewhere |= shared.is_giving();
    if policy(session, context).is_some() {
        context.stages.begin(Stage::Vault);
        let patience = context.time_left().unwrap_or(Duration::MAX);
        shared.vault.enable_on(&mut session.cache, patience);
    }
}

/// The key. Made from normalised facts only, after authorization.
pub(super) fn key(session: &Session, context: &Context) -> pingora::Result<CacheKey> {
    let policy = policy(session, context)
        .ok_or_else(|| Error::explain(ErrorType::InternalError, "no cache policy"))?;
    let facts = context.facts(&session.req_header().headers);
    Ok(vault::cache_key(policy, &facts, context.account_keys.first()))
}

/// Whether the caller refuses the answer that was found.
pub(super) fn judge_hit(
    session: &Session,
    meta: &CacheMeta,
    context: &Context,
) -> Option<ForcedFreshness> {
    let policy = policy(session, context)?;
    vault::policy::hit_refused(policy, &session.req_header().headers, meta, context.snapshot.now())
}

/// Tells variants of an answer apart by the fields that its Vary names.
pub(super) fn variance(
    meta: &CacheMeta,
    context: &Context,
    request: &RequestHeader,
) -> Option<HashBinary> {
    let policy = context.plan.as_ref()?.route.cache.as_ref()?;
    vault::policy::variance(policy, meta, &request.headers)
}

/// Remembers what a 304 says: Pingora shows only a part of it to [`judge_answer`].
pub(super) fn note_confirmation(response: &ResponseHeader, context: &mut Context) {
    if response.status == StatusCode::NOT_MODIFIED {
        context.upstream.confirmation = Some(response.headers.clone());
    }
}

/// Whether the backend's answer is kept.
pub(super) fn judge_answer(
    shared: &Shared,
    session: &Session,
    response: &ResponseHeader,
    context: &Context,
) -> RespCacheable {
    let Some(policy) = policy(session, context) else {
        return RespCacheable::Uncacheable(NoCacheReason::Custom("no cache policy"));
    };
    let partial = context.composed.report().is_some_and(|report| report.is_partial());
    match &context.upstream.confirmation {
        Some(fields) => {
            shared.vault.judge(policy, &vault::policy::confirmed(response, fields), partial)
        }
        None => shared.vault.judge(policy, response, partial),
    }
}

/// Notes where the answer comes from, once that is decided. What a hit costs nothing is told all
/// the same: where the caller stands.
pub(super) fn note_source(shared: &Shared, session: &Session, context: &mut Context) {
    let spared = context.backend_charges.iter().map(|charge| shared.quotas.peek(charge));
    context.limits.extend(spared);
    context.source = match session.cache.phase() {
        CachePhase::Hit => Source::Cache,
        CachePhase::Stale | CachePhase::StaleUpdating => Source::StaleCache,
        _ => match context.plan.as_ref().map(|plan| &plan.route.action) {
            Some(Action::Compose(_)) => Source::Composed,
            _ => Source::Backend,
        },
    };
}

/// Says in `Cache-Status` (RFC 9211) what the vault did, behind what caches nearer to the backend
/// have said.
pub(super) fn describe(
    session: &Session,
    response: &mut ResponseHeader,
    context: &Context,
) -> pingora::Result<()> {
    let is_final = !response.status.is_informational();
    let keeps = context.plan.as_ref().is_some_and(|plan| plan.route.cache.is_some());
    if !is_final || !keeps {
        return Ok(());
    }
    let status = match session.cache.phase() {
        CachePhase::Hit => "tollgate; hit",
        CachePhase::Stale | CachePhase::StaleUpdating => "tollgate; hit; detail=stale-if-error",
        CachePhase::Expired | CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => {
            "tollgate; fwd=stale"
        }
        CachePhase::Miss => "tollgate; fwd=uri-miss; stored",
        CachePhase::Disabled(NoCacheReason::NeverEnabled) => "tollgate; fwd=bypass",
        _ => "tollgate; fwd=uri-miss",
    };
    response.append_header("cache-status", status).map(drop)
}

/// An account that was changed through the gateway must not be shown as it was before: answers
/// about it go, as RFC 9111 section 4.4 demands for the one address and the account needs for all.
/// Waits until that is durable here, and so comes before the answer that confirms the change.
pub(super) async fn invalidate(shared: &Shared, status: StatusCode, context: &Context) {
    let safe = matches!(context.head.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || status.as_u16() >= 400 {
        return;
    }
    for account in &context.account_keys {
        if let Err(error) = account_changed(shared, account).await {
            tracing::error!(%account, error, "answers about a changed account are not gone for good");
        }
    }
}

/// Removes the answers about an account that was changed, here or in the process that has them.
///
/// # Errors
/// Why they may come back.
pub(super) async fn account_changed(shared: &Shared, account: &AccountKey) -> Result<(), String> {
    if let Some(successor) = shared.successor()
        && successor.account_changed(account).await?
    {
        return Ok(());
    }
    match shared.vault.purge_changed(account).await {
        Ok(_) => Ok(()),
        // A metric says how many are; nobody is given an old answer by this gateway.
        Err(error @ VaultError::Owed) => {
            tracing::debug!(%account, %error, "other gateways will hear of the change later");
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}
