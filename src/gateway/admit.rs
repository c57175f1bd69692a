//! The security checks, in the order in which they are made.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pingora_proxy::Session;
use serde_json::Value;

use super::context::{Arrival, Context};
use super::head;
use super::shared::Shared;
use super::snapshot::RoutePlan;
use super::{answer, caching, forward};
use crate::account::Passport;
use crate::config::model::Route;
use crate::guard::{self, BodyBudget};
use crate::observe::Stage;
use crate::quota::{Charge, Lack, NotReserved};
use crate::request::{Caller, Challenge, Facts, Refusal, UnixMillis};
use crate::{access, account, listener, transform};

/// Lets a request pass, or says why it stops here.
pub(super) async fn admit(
    shared: &Shared,
    session: &mut Session,
    context: &mut Context,
) -> Result<(), Refusal> {
    context.stages.begin(Stage::Route);
    head::read(session, context)?;
    find_route(session, context)?;
    context.stages.begin(Stage::Auth);
    authenticate(shared, session, context).await?;
    context.stages.begin(Stage::Access);
    check_access(session, context)?;
    context.stages.begin(Stage::Limit);
    check_limits(shared, session, context)?;
    context.stages.begin(Stage::Guard);
    guard_body(session, context).await?;
    context.stages.begin(Stage::Account);
    find_accounts(shared, session, context)?;
    answer::check_target(route(context)?, &context.facts(&session.req_header().headers))?;
    if shared.fleet.is_some() {
        context.stages.begin(Stage::Fleet);
        context.forward = forward::find_owner(shared, context).await?;
    }
    context.stages.begin(Stage::Quota);
    charge_accounts(shared, session, context).await
}

fn find_route(session: &Session, context: &mut Context) -> Result<(), Refusal> {
    let headers = &session.req_header().headers;
    let found = context.snapshot.table.find(&context.head, headers)?;
    let plan = context.snapshot.plan(found.index)?.clone();
    context.captures = found.captures;
    let single = plan.single_values.check(&context.head, headers);
    context.plan = Some(plan);
    single
}

async fn authenticate(
    shared: &Shared,
    session: &Session,
    context: &mut Context,
) -> Result<(), Refusal> {
    let Some(plan) = &context.plan else { return Err(Refusal::NoRoute) };
    if let Some(passport) = &context.passport {
        // The gateway of arrival has proven who it is; nothing but the route must still agree.
        context.caller = authorize_passport(plan, passport, shared.clock.now())?;
    } else if let Some(authenticator) = &plan.authenticator {
        let headers = &session.req_header().headers;
        let now = shared.clock.now();
        context.caller = Some(authenticator.authenticate(headers, &context.head, now).await?);
    }
    Ok(())
}

fn check_access(session: &Session, context: &Context) -> Result<(), Refusal> {
    let facts = context.facts(&session.req_header().headers);
    access::check(&route(context)?.access, &facts)
}

/// A caller whom another gateway has authenticated, if this one's route takes such a caller.
fn authorize_passport(
    plan: &RoutePlan,
    passport: &Passport,
    now: UnixMillis,
) -> Result<Option<Arc<Caller>>, Refusal> {
    if plan.authenticator.is_none() {
        return Ok(None);
    }
    let caller = passport.caller.clone().filter(|caller| {
        let known = plan.route.authenticate.iter().any(|one| one.name == caller.provider);
        known && caller.expires.is_none_or(|expires| expires > now)
    });
    match caller {
        Some(caller) => Ok(Some(Arc::new(caller))),
        None => Err(Refusal::Unauthenticated(Challenge::Missing)),
    }
}

/// Rates and bounds on requests in progress hold where a request arrives, once.
fn check_limits(shared: &Shared, session: &Session, context: &mut Context) -> Result<(), Refusal> {
    if context.arrival == Arrival::Fleet {
        return Ok(());
    }
    let limits = &shared.limits;
    let facts = context.facts(&session.req_header().headers);
    let route = route(context)?;
    guard::check_readable(route, &facts)?;
    let admitted = limits.admit(&route.rates, &route.concurrency, &facts)?;
    context.limits = admitted.states;
    context.permits = admitted.permits;
    Ok(())
}

/// Bounds the body that will stream through; reads it here only if a later stage needs its JSON.
async fn guard_body(session: &mut Session, context: &mut Context) -> Result<(), Refusal> {
    let Some(plan) = context.plan.clone() else { return Err(Refusal::NoRoute) };
    let announced = guard::content_length(&session.req_header().headers)?;
    let mut budget = BodyBudget::new(plan.route.max_body, announced)?;
    // The port holds HTTP/1 bodies to this; over HTTP/2 it can't.
    let within = listener::body_timeout(session.digest());
    context.body.deadline = Instant::now().checked_add(within);
    // What comes on a connection that switches protocols is no body.
    context.body.whole = session.is_body_empty() || session.is_upgrade_req();
    if plan.reads_body && !session.is_body_empty() {
        guard::check_json_media_type(&session.req_header().headers)?;
        let raw = tokio::time::timeout(within, read_body(session, &mut budget))
            .await
            .map_err(|_| Refusal::BodyTimeout)??;
        context.body.whole = true;
        let (json, replacement) = judge_body(&plan.route, &raw)?;
        context.body.replacement = replacement;
        context.body.json = Some(Arc::new(json));
    }
    context.body.budget = Some(budget);
    Ok(())
}

/// The body as JSON, and what goes to the backend instead of it where the route edits it.
pub(super) fn judge_body(route: &Route, raw: &[u8]) -> Result<(Value, Option<Bytes>), Refusal> {
    let mut json = guard::read_json(raw)?;
    if route.request.body.is_empty() {
        return Ok((json, None));
    }
    if !transform::keeps_numbers(raw) {
        return Err(Refusal::MalformedBody(
            "it has a number of more digits than can be passed on; send it as a text",
        ));
    }
    transform::apply_json(&route.request.body, &mut json);
    let edited = Bytes::from(json.to_string());
    Ok((json, Some(edited)))
}

/// The proxy keeps what is read here for its own use, up to 64 KiB; the check bounds `max_body` of
/// such routes to that.
async fn read_body(session: &mut Session, budget: &mut BodyBudget) -> Result<Bytes, Refusal> {
    session.enable_retry_buffering();
    let mut body = BytesMut::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(chunk)) => {
                budget.take(chunk.len())?;
                body.extend_from_slice(&chunk);
            }
            Ok(None) => return Ok(body.freeze()),
            Err(error) if listener::timed_out(&error) => {
                return Err(Refusal::BodyTimeout);
            }
            Err(_) => return Err(Refusal::MalformedBody("it broke off")),
        }
    }
}

/// Finds the accounts that the request is about.
fn find_accounts(shared: &Shared, session: &Session, context: &mut Context) -> Result<(), Refusal> {
    let Some(plan) = context.plan.clone() else { return Err(Refusal::NoRoute) };
    let Some(source) = &plan.route.account else { return Ok(()) };
    let headers = &session.req_header().headers;
    context.accounts = account::accounts(source, &context.facts(headers))?;
    context.account_keys = context.accounts.iter().map(|id| shared.accounts.key(id)).collect();
    Ok(())
}

/// Reserves a use of each account in every rule: all or none. Only the accounts' owner does; where
/// the partition goes to another gateway just then, that one is asked. Rules that count no hits
/// are not asked as long as the vault may have the answer, or they would refuse hits when they are
/// used up.
async fn charge_accounts(
    shared: &Shared,
    session: &Session,
    context: &mut Context,
) -> Result<(), Refusal> {
    let mut charges = charges(session, context)?;
    if caching::may_answer(session, context) {
        (charges, context.backend_charges) =
            charges.into_iter().partition(|charge| charge.rule().count_hits);
    }
    while context.forward.is_none() && !charges.is_empty() {
        match shared.quotas.reserve(&charges, forward::lack(shared, context)).await {
            Ok(reservation) => {
                context.limits.extend_from_slice(reservation.states());
                context.reservation = Some(reservation);
                return Ok(());
            }
            Err(NotReserved::Refused(refusal)) => return Err(refusal),
            Err(NotReserved::Elsewhere { .. }) => {
                context.forward = forward::find_owner(shared, context).await?;
            }
        }
    }
    if context.forward.is_some() {
        // The owner asks them.
        context.backend_charges.clear();
    }
    Ok(())
}

fn charges(session: &Session, context: &Context) -> Result<Vec<Charge>, Refusal> {
    let route = route(context)?;
    let headers = &session.req_header().headers;
    // The body was not known where the limits were asked.
    guard::check_readable(route, &context.facts(headers))?;
    let mut charges = Vec::with_capacity(context.accounts.len() * route.quotas.len());
    for (id, key) in context.accounts.iter().zip(&context.account_keys) {
        let facts = Facts { account: Some(id), ..context.facts(headers) };
        let rules = route.quotas.iter();
        let charged = rules.filter_map(|rule| Charge::for_request(rule, &facts, key));
        match context.accounts.len() {
            1 => charges.extend(charged),
            _ => charges.extend(charged.map(|charge| charge.naming(id))),
        }
    }
    Ok(charges)
}

/// Asks the rules that count no hits, for a request that the vault could not answer. If one of
/// them refuses, the others give their uses back: all or none here too.
pub(super) async fn charge_backend_call(
    shared: &Shared,
    context: &mut Context,
) -> Result<(), Refusal> {
    let charges = std::mem::take(&mut context.backend_charges);
    if charges.is_empty() {
        return Ok(());
    }
    context.stages.begin(Stage::Quota);
    // Should the partition have gone to another gateway since: that one is asked.
    let reserved = shared.quotas.reserve(&charges, Lack::Ask).await;
    context.stages.end();
    let before = context.reservation.take();
    match reserved {
        Ok(reservation) => {
            context.limits.extend_from_slice(reservation.states());
            context.reservation = Some(match before {
                Some(before) => before.join(reservation),
                None => reservation,
            });
            Ok(())
        }
        Err(NotReserved::Elsewhere { partition }) => Err(Refusal::NotOwner { partition }),
        Err(NotReserved::Refused(refusal)) => {
            if let Some(before) = before {
                context.limits.retain(|state| !before.states().contains(state));
                before.refund();
            }
            Err(refusal)
        }
    }
}

fn route(context: &Context) -> Result<&Route, Refusal> {
    context.plan.as_ref().map(|plan| &*plan.route).ok_or(Refusal::NoRoute)
}
