//! The account services over HTTP.

mod echo;
mod routes;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response_with_state};
use axum::response::Response;
use axum::routing::{any, get, post};
use http::header::{HeaderName, HeaderValue};
use serde_json::json;

use crate::bank::{Bank, Desk};
use crate::fault::strike;
use crate::problem::Problem;
use crate::receive::receive;
use crate::server::Wire;
use crate::service::Service;

const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const X_INSTANCE_PORT: HeaderName = HeaderName::from_static("x-instance-port");

/// One service of the bank.
#[derive(Clone)]
pub struct Branch {
    bank: Arc<Bank>,
    service: Service,
}

impl Branch {
    fn desk(&self) -> &Desk {
        self.bank.desk(self.service)
    }
}

/// Everything that this service answers.
pub fn router(bank: Arc<Bank>, service: Service) -> Router {
    let branch = Branch { bank, service };
    let router = Router::new()
        .route("/healthz", get(async || axum::Json(json!({ "status": "up" }))))
        .route("/v1/{account}", get(routes::account))
        .route("/v1/{account}/transactions", get(routes::transactions))
        .route("/echo", any(echo::echo))
        .route("/echo/", any(echo::echo))
        .route("/echo/{*rest}", any(echo::echo));
    let router = match service {
        Service::Checking => router.route("/v1/{account}/transfers", post(routes::transfer)),
        Service::Investments => {
            router.route("/v1/{account}/positions/{symbol}", get(routes::position))
        }
        Service::Savings | Service::Cards | Service::Loans => router,
    };
    router
        .fallback(async || Problem::not_found("there is nothing at this path"))
        // Signed twice: inside, so that an answer which a fault mangles is signed; outside, so that a fault's own answer is.
        .layer(map_response_with_state(branch.clone(), sign))
        .layer(from_fn_with_state(branch.clone(), take_time))
        .layer(from_fn_with_state(branch.clone(), attend))
        .layer(map_response_with_state(branch.clone(), sign))
        .layer(from_fn(receive))
        // `receive` sets the limit.
        .layer(DefaultBodyLimit::disable())
        .with_state(branch)
}

/// Counts a request and, if the switch says so, strikes it.
async fn attend(State(branch): State<Branch>, request: Request, next: Next) -> Response {
    let desk = branch.desk();
    let wire = request.extensions().get::<Wire>().cloned();
    let account = account_in(request.uri().path()).map(str::to_owned);
    let visit = account.map(|account| desk.counters.arrive(&account));
    let blow = strike(&desk.faults, request, next).await;
    if let Some(visit) = visit {
        visit.end();
    }
    blow.land(wire).await
}

/// An answer about an account takes the bank's delay, whether it is spoilt afterwards or not.
async fn take_time(State(branch): State<Branch>, request: Request, next: Next) -> Response {
    let delay = branch.bank.delay();
    if account_in(request.uri().path()).is_some() && !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    next.run(request).await
}

async fn sign(State(branch): State<Branch>, mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(X_SERVED_BY, HeaderValue::from_static(branch.service.name()));
    headers.insert(X_INSTANCE_PORT, HeaderValue::from(branch.desk().port));
    answer
}

/// What a request is counted under: the segment after `/v1/`, whether the bank has such an account or not.
fn account_in(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/").and_then(|rest| rest.split('/').next())
}
