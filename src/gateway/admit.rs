//! The security checks, in the order in which they are made.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pingora_proxy::Session;

use super::caching;
use super::context::Context;
use super::head;
use super::shared::Shared;
use crate::config::model::Route;
use crate::guard::{self, BodyBudget};
use crate::quota::Charge;
use crate::request::{Facts, Refusal};
use crate::{access, account, listener, transform};

/// Lets a request pass, or says why it stops here.
pub(super) async fn admit(
    shared: &Shared,
    session: &mut Session,
    context: &mut Context,
) -> Result<(), Refusal> {
    context.stages.begin("route");
    head::read(session, context)?;
    find_route(session, context)?;
    context.stages.begin("auth");
    authenticate(shared, session, context).await?;
    context.stages.begin("access");
    check_access(session, context)?;
    context.stages.begin("limit");
    check_limits(shared, session, context)?;
    context.stages.begin("guard");
    guard_body(session, context).await?;
    context.stages.begin("account");
    let charges = find_accounts(shared, session, context)?;
    context.stages.begin("quota");
    reserve(shared, session, context, charges).await
}

fn find_route(session: &Session, context: &mut Context) -> Result<(), Refusal> {
    let found = context.snapshot.table.find(&context.head, &session.req_header().headers)?;
    context.plan = Some(context.snapshot.plan(found.index)?.clone());
    context.captures = found.captures;
    Ok(())
}

async fn authenticate(
    shared: &Shared,
    session: &Session,
    context: &mut Context,
) -> Result<(), Refusal> {
    let Some(plan) = &context.plan else { return Err(Refusal::NoRoute) };
    if let Some(authenticator) = &plan.authenticator {
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

fn check_limits(shared: &Shared, session: &Session, context: &mut Context) -> Result<(), Refusal> {
    let limits = &shared.limits;
    let facts = context.facts(&session.req_header().headers);
    let route = route(context)?;
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
        let mut json = guard::read_json(&raw)?;
        if !plan.route.request.body.is_empty() {
            transform::apply_json(&plan.route.request.body, &mut json);
            context.body.replacement = Some(Bytes::from(json.to_string()));
        }
        context.body.json = Some(Arc::new(json));
    }
    context.body.budget = Some(budget);
    Ok(())
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

/// Finds the accounts, and what each rule charges for each of them.
fn find_accounts(
    shared: &Shared,
    session: &Session,
    context: &mut Context,
) -> Result<Vec<Charge>, Refusal> {
    let Some(plan) = context.plan.clone() else { return Err(Refusal::NoRoute) };
    let Some(source) = &plan.route.account else { return Ok(Vec::new()) };
    let headers = &session.req_header().headers;
    let accounts = account::accounts(source, &context.facts(headers))?;
    let mut charges = Vec::with_capacity(accounts.len() * plan.route.quotas.len());
    for id in &accounts {
        let key = shared.accounts.key(id);
        let facts = Facts { account: Some(id), ..context.facts(headers) };
        charges.extend(
            plan.route.quotas.iter().filter_map(|rule| Charge::for_request(rule, &facts, &key)),
        );
        context.account_keys.push(key);
    }
    context.account = accounts.into_iter().next();
    Ok(charges)
}

/// Reserves a use for each charge: all or none. Rules that count no hits are not asked as long as
/// the vault may have the answer, or they would refuse hits when they are used up.
async fn reserve(
    shared: &Shared,
    session: &Session,
    context: &mut Context,
    mut charges: Vec<Charge>,
) -> Result<(), Refusal> {
    if caching::may_answer(session, context) {
        (charges, context.backend_charges) =
            charges.into_iter().partition(|charge| charge.rule().count_hits);
    }
    if !charges.is_empty() {
        let reservation = shared.quotas.reserve(charges).await?;
        context.limits.extend_from_slice(reservation.states());
        context.reservation = Some(reservation);
    }
    Ok(())
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
    context.stages.begin("quota");
    let reserved = shared.quotas.reserve(charges).await;
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
        Err(refusal) => {
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
