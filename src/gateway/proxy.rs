//! Pingora's hooks, in the order in which a request meets them. Each hands over to the room that
//! does the work.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheKey, CacheMeta, ForcedFreshness, HitHandler, RespCacheable};
use pingora_proxy::Session;

use super::context::{Arrival, Context};
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::{admit, answer, caching, call, edited, errands, finish, forward, framing, respond};
use crate::observe::Event;
use crate::quota::End;
use crate::request::Refusal;
use crate::vault;

/// The proxy: the state that outlives configurations, and the configuration in force.
pub struct Gateway {
    pub(super) shared: Arc<Shared>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    arrival: Arrival,
}

impl Gateway {
    /// A proxy for the ports of one kind that takes its configuration from `snapshot`, anew for
    /// each request.
    pub fn new(shared: Arc<Shared>, snapshot: Arc<ArcSwap<Snapshot>>, arrival: Arrival) -> Self {
        Self { shared, snapshot, arrival }
    }
}

/// Carries a refusal out of a hook: `fail_to_proxy` finds it in the context.
fn refused(context: &mut Context, refusal: Refusal) -> Box<Error> {
    context.refusal = Some(refusal);
    Error::explain(ErrorType::InternalError, "refused")
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        let in_progress = self.shared.metrics.request_started();
        let (snapshot, now) = (self.snapshot.load_full(), self.shared.clock.now());
        let mut context = Context::new(self.arrival, snapshot, now, in_progress);
        context.cache_is_elsewhere = self.shared.is_giving();
        context
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(framing::NoChunks));
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<bool> {
        if self.shared.is_draining() {
            session.set_keepalive(None);
        }
        if errands::serve(&self.shared, session, context).await? {
            context.is_errand = true;
            return Ok(true);
        }
        // A panic in one request must not end the others on this connection, and its caller is
        // owed an answer.
        let admitted =
            AssertUnwindSafe(admit::admit(&self.shared, session, context)).catch_unwind().await;
        context.stages.end();
        let refusal = match admitted {
            Ok(Ok(())) if context.forward.is_some() => return Ok(false),
            Ok(Ok(())) => return Ok(respond::own_answer(session, context).await),
            Ok(Err(refusal)) => refusal,
            Err(_) => {
                self.shared.metrics.record(Event::Panicked);
                Refusal::Internal
            }
        };
        respond::refuse(session, context, refusal).await;
        Ok(true)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> pingora::Result<()> {
        if context.body.json.is_some() {
            // Read and counted already; what goes out may be another text.
            if let Some(replacement) = &context.body.replacement
                && context.forward.is_none()
            {
                *body = end_of_stream.then(|| replacement.clone());
            }
            return Ok(());
        }
        if context.body.is_late() {
            return Err(refused(context, Refusal::BodyTimeout));
        }
        context.body.whole |= end_of_stream;
        let length = body.as_ref().map_or(0, Bytes::len);
        match context.body.budget.as_mut().map(|budget| budget.take(length)) {
            Some(Err(refusal)) => Err(refused(context, refusal)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn request_cache_filter(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<()> {
        if context.forward.is_none() {
            caching::enable(&self.shared, session, context);
        }
        Ok(())
    }

    fn cache_key_callback(
        &self,
        session: &Session,
        context: &mut Context,
    ) -> pingora::Result<CacheKey> {
        caching::key(session, context)
    }

    async fn cache_hit_filter(
        &self,
        session: &mut Session,
        meta: &CacheMeta,
        _hit_handler: &mut HitHandler,
        _is_fresh: bool,
        context: &mut Context,
    ) -> pingora::Result<Option<ForcedFreshness>> {
        Ok(caching::judge_hit(session, meta, context))
    }

    fn cache_vary_filter(
        &self,
        meta: &CacheMeta,
        context: &mut Context,
        request: &RequestHeader,
    ) -> Option<HashBinary> {
        caching::variance(meta, context, request)
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        response: &ResponseHeader,
        context: &mut Context,
    ) -> pingora::Result<RespCacheable> {
        Ok(caching::judge_answer(&self.shared, session, response, context))
    }

    fn should_serve_stale(
        &self,
        session: &mut Session,
        context: &mut Context,
        error: Option<&Error>,
    ) -> bool {
        let stale = vault::policy::serves_stale(error);
        if stale {
            context.refusal = None;
            if let Some(error) = error {
                call::note_trouble(error, context);
            }
            // As in `fail_to_proxy`: after an error Pingora closes the connection.
            session.set_keepalive(None);
        }
        stale
    }

    async fn proxy_upstream_filter(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<bool> {
        let charged = match caching::only_if_cached(session, context) {
            true => Err(Refusal::NotCached),
            false => admit::charge_backend_call(&self.shared, context).await,
        };
        // Answered here, not by an error, the client keeps its connection.
        match charged {
            Ok(()) => Ok(true),
            Err(refusal) => {
                respond::refuse(session, context, refusal).await;
                Ok(false)
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<Box<HttpPeer>> {
        let peer = match context.forward {
            Some(_) => forward::next_peer(&self.shared, context).await,
            None => call::next_peer(session, context),
        };
        // Nobody to ask is the backend's failure: a stale answer may stand in for it.
        peer.map(Box::new).map_err(|refusal| refused(context, refusal).into_up())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        match context.forward {
            Some(_) => forward::failed(&self.shared, session, context, error, false),
            None => call::not_connected(session, context, error),
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> pingora::Result<()> {
        match context.forward {
            Some(_) => forward::prepare_request(session, request, context),
            None => answer::prepare_request(session, request, context),
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> pingora::Result<()> {
        if respond::is_interim(response.status) {
            answer::clean_head(response)?;
            return context.lateness().map_or(Ok(()), |refusal| Err(refused(context, refusal)));
        }
        context.upstream.status = Some(response.status.as_u16());
        if context.forward.is_some() {
            return forward::judge_answer(&self.shared, session, response, context);
        }
        if let Some(refusal) = context.composed.refusal() {
            return Err(refused(context, refusal));
        }
        if call::retries_status(session, context, response.status) {
            let status = ErrorType::HTTPStatus(response.status.as_u16());
            return Error::e_explain(status, "the backend's answer is tried again")
                .map_err(Error::into_up);
        }
        answer::report(response.status, context);
        caching::invalidate(&self.shared, response.status, context).await;
        answer::edit_upstream_head(response, context)?;
        caching::note_confirmation(response, context);
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> pingora::Result<Option<Duration>> {
        if let Some(refusal) = context.lateness() {
            return Err(refused(context, refusal));
        }
        if end_of_stream {
            context.stages.end();
        }
        edited::take(body, end_of_stream, context)?;
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> pingora::Result<()> {
        if respond::is_interim(response.status) {
            return Ok(());
        }
        if context.forward.is_none() {
            caching::note_source(&self.shared, session, context);
            if context.source.is_cache() {
                // What comes now is the client's time.
                context.stages.end();
            }
            caching::describe(session, response, context)?;
            answer::edit_head(session, response, context)?;
        }
        if response.status.is_server_error() {
            // Whatever becomes of its body. A client that asks again at once must find what is
            // given back.
            context.settle(End::Failed);
        }
        framing::close_behind(session, response);
        respond::stamp(response, context)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        context: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        match context.forward {
            Some(_) => forward::failed(&self.shared, session, context, error, true),
            None => call::broke(session, context, error, client_reused),
        }
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        if error.esource() != &ErrorSource::Downstream {
            context.upstream.failed = true;
        }
        context.stages.end();
        call::note_trouble(error, context);
        let unanswered = respond::status_sent(session).is_none();
        // Pingora closes the connection after this, whatever is said below. The answer must
        // announce it, or the client's next request runs into the close.
        session.set_keepalive(None);
        let refusal = call::refusal_of(error, context);
        tracing::debug!(%error, request = %context.head.request_id, "a request could not be proxied");
        let error_code = match refusal {
            Some(refusal) if unanswered => respond::refuse(session, context, refusal).await,
            Some(refusal) => {
                context.refusal = Some(refusal);
                StatusCode::BAD_GATEWAY.as_u16()
            }
            None => 0,
        };
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        // The access log has it, with the request's id; twice is noise.
        true
    }

    /// Pingora's own log lines name the request by it. The path may have an account number.
    fn request_summary(&self, _: &Session, context: &Context) -> String {
        format!("request {}", context.head.request_id)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        if !context.is_errand {
            finish::finish(&self.shared, session, error, context);
        }
    }
}
