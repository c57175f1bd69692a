//! The fleet stage: a request is passed to the gateway that owns its account, whole, and what that
//! one answers is given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_proxy::Session;

use super::context::{Arrival, Context};
use super::respond;
use super::shared::Shared;
use crate::account::{Fleet, FleetError, PASSPORT, Passport};
use crate::observe::{Event, ForwardOutcome, Source, Stage};
use crate::quota::{Lack, Place};
use crate::request::Refusal;
use crate::transform;
use crate::upstream::Failure;

/// By which an owner that isn't one tells its 421 from a backend's.
pub(super) const NOT_OWNER: HeaderName = HeaderName::from_static("x-tollgate-not-owner");
/// The gateway that was asked is not the owner: nothing was done, so anything may be sent again.
const MOVED: ErrorType = ErrorType::Custom("the account has moved");
/// Gateways asked for one request: the owner, and who took over from it; a few more for pooled
/// connections found closed. After them comes this gateway without the owner, as the last resort.
const MOST_TRIES: u32 = 6;
/// For a request without a deadline: as long as any call to a backend may take by default.
const LONGEST: Duration = Duration::from_secs(60);

/// A request on its way to its account's owner.
pub(super) struct Forward {
    partition: u32,
    owner: Arc<str>,
    epoch: u64,
    tries: u32,
    started: Instant,
    /// The last try failed: the owner must be looked for anew.
    failed: bool,
    /// Nobody else can be reached: this gateway answers, as its rules' `unavailable` says.
    without_owner: bool,
}

/// Where the request's account is counted, in a fleet: `None` here, else where it is passed to.
pub(super) async fn find_owner(
    shared: &Shared,
    context: &Context,
) -> Result<Option<Forward>, Refusal> {
    let Some(account) = context.account_keys.first() else { return Ok(None) };
    if is_without_owner(context) {
        return Ok(None);
    }
    let partition = shared.quotas.partition_number(account);
    match (shared.quotas.locate(partition, None).await, context.arrival) {
        // Nobody owns it: the rules say what then.
        (Place::Here | Place::Nowhere, _) => Ok(None),
        (Place::There { .. }, Arrival::Fleet) => Err(Refusal::NotOwner { partition }),
        (Place::There { owner, epoch }, Arrival::Client) => Ok(Some(Forward {
            partition,
            owner,
            epoch,
            tries: 0,
            started: Instant::now(),
            failed: false,
            without_owner: false,
        })),
    }
}

/// Whether the gateway that passed the request on found nobody who owns its account.
fn is_without_owner(context: &Context) -> bool {
    context.passport.as_ref().is_some_and(|passport| passport.without_owner)
}

/// What is to be done about uses that this gateway can't count: ask another, if there may be one.
pub(super) fn lack(shared: &Shared, context: &Context) -> Lack {
    if shared.fleet.is_none() || is_without_owner(context) { Lack::Decide } else { Lack::Report }
}

/// The gateway to ask next.
pub(super) async fn next_peer(shared: &Shared, context: &mut Context) -> Result<HttpPeer, Refusal> {
    loop {
        if let Some(refusal) = context.lateness() {
            return Err(refusal);
        }
        let (Some(fleet), Some(forward)) = (&shared.fleet, &mut context.forward) else {
            return Err(Refusal::Internal);
        };
        forward.choose(shared, fleet).await?;
        let owner = Arc::clone(&forward.owner);
        begin_try(context);
        let left = context.time_left().unwrap_or(LONGEST);
        match fleet.peer(&owner, left).await {
            Ok(peer) => return Ok(peer),
            Err(error) => not_found(shared, context, &error),
        }
    }
}

fn begin_try(context: &mut Context) {
    let Some(forward) = &context.forward else { return };
    context.stages.begin(Stage::Forward);
    context.upstream.tries += 1;
    context.upstream.started.get_or_insert(forward.started);
    context.upstream.endpoint = Some(Arc::clone(&forward.owner));
    context.source = Source::Owner;
}

/// The owner's name leads nowhere: as if its port refused connections.
fn not_found(shared: &Shared, context: &mut Context, error: &FleetError) {
    let Some(forward) = &mut context.forward else { return };
    shared.metrics.record(Event::Forwarded { outcome: ForwardOutcome::Failed });
    tracing::warn!(owner = %forward.owner, %error, "an account's owner can't be found");
    context.upstream.trouble = Some(format!("owner {}: {error}", forward.owner));
    forward.not_reached(shared);
}

impl Forward {
    /// Decides who is asked next.
    async fn choose(&mut self, shared: &Shared, fleet: &Fleet) -> Result<(), Refusal> {
        self.tries += 1;
        let failed = std::mem::take(&mut self.failed);
        if self.tries > MOST_TRIES + 1 {
            return Err(Refusal::OwnerUnreachable);
        }
        if self.tries > MOST_TRIES {
            self.do_without_owner(shared, fleet);
        } else if failed {
            self.look_again(shared, fleet).await;
        }
        Ok(())
    }

    /// Whether anybody is left to ask.
    fn may_try_again(&self) -> bool {
        self.tries <= MOST_TRIES
    }

    /// The owner was asked nothing: another may take its place, and must be looked for.
    fn not_reached(&mut self, shared: &Shared) {
        shared.quotas.take_over(self.partition, &self.owner, self.epoch);
        self.failed = true;
    }

    /// This gateway's own port is asked, where the rules' `unavailable` decides.
    fn do_without_owner(&mut self, shared: &Shared, fleet: &Fleet) {
        shared.metrics.record(Event::Forwarded { outcome: ForwardOutcome::WithoutOwner });
        self.owner = Arc::clone(fleet.name());
        self.without_owner = true;
    }

    async fn look_again(&mut self, shared: &Shared, fleet: &Fleet) {
        match shared.quotas.locate(self.partition, Some(self.epoch)).await {
            Place::There { owner, epoch } => {
                shared.metrics.record(Event::Forwarded { outcome: ForwardOutcome::Moved });
                (self.owner, self.epoch) = (owner, epoch);
            }
            // It is passed to this gateway's own port: the way is the same for all.
            Place::Here => {
                shared.metrics.record(Event::Forwarded { outcome: ForwardOutcome::TakenOver });
                self.owner = Arc::clone(fleet.name());
            }
            Place::Nowhere => self.do_without_owner(shared, fleet),
        }
    }
}

/// Makes the head that the owner sees: what came from the client, and the passport.
pub(super) fn prepare_request(
    session: &Session,
    request: &mut RequestHeader,
    context: &Context,
) -> pingora::Result<()> {
    let passport = Passport {
        caller: context.caller.as_deref().cloned(),
        peer: context.peer,
        https: context.head.https,
        certificate_thumbprint: context.head.certificate_thumbprint,
        left: context.time_left(),
        without_owner: context.forward.as_ref().is_some_and(|forward| forward.without_owner),
    };
    let passport = passport.write().map_err(|error| {
        Error::because(ErrorType::InternalError, "the passport can't be written", error)
    })?;
    transform::strip_request(request, session.is_upgrade_req());
    if let Some(trace) = &context.trace {
        trace.apply(request);
    }
    request.insert_header(transform::REQUEST_ID, &context.head.request_id)?;
    request.insert_header(transform::INTERACTION_ID, context.interaction_id.clone())?;
    request.insert_header(PASSPORT, passport)?;
    Ok(())
}

/// Notes that the owner can't be reached or broke off, and whether another is asked. A request
/// that may have reached it is sent again only if that does no harm; its use may then count twice.
pub(super) fn failed(
    shared: &Shared,
    session: &Session,
    context: &mut Context,
    mut error: Box<Error>,
    reached: bool,
) -> Box<Error> {
    if *error.etype() == MOVED {
        return error;
    }
    let late = context.is_late();
    let repeatable = context.head.method.is_idempotent() || !reached;
    let Some(forward) = &mut context.forward else { return error };
    if error.esource() != &pingora::ErrorSource::Upstream {
        return error;
    }
    shared.metrics.record(Event::Forwarded { outcome: ForwardOutcome::Failed });
    let trouble = if reached { Failure::waiting(&error) } else { Failure::connecting(&error) };
    context.upstream.trouble = Some(format!("owner {}: {trouble}", forward.owner));
    tracing::debug!(owner = %forward.owner, %error, "an account's owner could not be asked");
    if let Some(fleet) = &shared.fleet {
        fleet.look_into(&forward.owner);
    }
    if !reached {
        forward.not_reached(shared);
    }
    let downstream = session.as_downstream();
    let unanswered = respond::status_sent(session).is_none();
    let whole = !downstream.retry_buffer_truncated();
    error.set_retry(repeatable && unanswered && whole && !late && forward.may_try_again());
    error
}

/// What to do with the owner's answer: a gateway that is not the owner (any more) says so, and the
/// one that is must be asked.
pub(super) fn judge_answer(
    shared: &Shared,
    session: &Session,
    response: &mut ResponseHeader,
    context: &mut Context,
) -> pingora::Result<()> {
    let truncated = session.as_downstream().retry_buffer_truncated();
    let Some(forward) = &mut context.forward else { return Ok(()) };
    let moved = response.status == StatusCode::MISDIRECTED_REQUEST
        && response.headers.contains_key(NOT_OWNER);
    transform::strip_internal(response);
    if !moved {
        let seconds = forward.started.elapsed().as_secs_f64();
        shared.metrics.record(Event::ForwardAnswered { seconds });
        return Ok(());
    }
    forward.failed = true;
    if truncated || !forward.may_try_again() {
        // What has been read of a large body is gone, and nobody can be given all of it.
        context.refusal = Some(Refusal::OwnerUnreachable);
        return Error::e_explain(ErrorType::InternalError, "refused");
    }
    let mut error = Error::explain(MOVED, "another gateway owns the account");
    error.as_up();
    error.set_retry(true);
    Err(error)
}
