use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::config::model::Secret;
use crate::gateway::{Control, Purge};
use crate::request::{AccountId, RouteId};

/// The description of this port for tools (OpenAPI 3.1).
const OPENAPI: &str = include_str!("openapi.json");

/// What every handler gets.
#[derive(Clone)]
struct Desk {
    control: Control,
}

/// All calls of the operators' port. Views are open to whoever reaches the port; whatever changes
/// something needs the token, and is refused where none is configured.
pub fn router(control: Control) -> Router {
    let desk = Desk { control };
    let changing = Router::new()
        .route("/reload", post(reload))
        .route("/upgrade", post(upgrade))
        .route("/quotas/{account}/reset", post(reset_quotas))
        .route("/cache/purge", post(purge))
        .layer(middleware::from_fn_with_state(desk.clone(), with_token));
    Router::new()
        .route("/health", get(async || Json(json!({ "status": "up" }))))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/config", get(async |State(desk): Tool| Json(desk.control.configuration())))
        .route("/routes", get(async |State(desk): Tool| Json(desk.control.routes())))
        .route("/clusters", get(async |State(desk): Tool| Json(desk.control.clusters())))
        .route("/identity", get(async |State(desk): Tool| Json(desk.control.identity())))
        .route("/fleet", get(async |State(desk): Tool| Json(desk.control.fleet())))
        .route("/quotas/{account}", get(quotas))
        .route("/cache", get(async |State(desk): Tool| Json(desk.control.vault())))
        .route("/cache/{account}", get(cache))
        .route("/openapi.json", get(openapi))
        .merge(changing)
        .method_not_allowed_fallback(async || {
            problem(StatusCode::METHOD_NOT_ALLOWED, "another method is needed; see /openapi.json")
        })
        .fallback(async || {
            problem(StatusCode::NOT_FOUND, "there is nothing here; see /openapi.json")
        })
        .with_state(desk)
}

type Tool = State<Desk>;

fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("error");
    let body = json!({ "status": status.as_u16(), "title": title, "detail": detail });
    let media_type = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, media_type, body.to_string()).into_response()
}

async fn with_token(State(desk): Tool, request: Request, next: Next) -> Response {
    // Asked each time: a reload may have brought another token.
    let Some(token) = desk.control.admin_token() else {
        return problem(
            StatusCode::FORBIDDEN,
            "changing calls need admin.token in the configuration, and there is none",
        );
    };
    if !is_bearer(request.headers(), &token) {
        let refused =
            problem(StatusCode::UNAUTHORIZED, "send the admin token as Authorization: Bearer");
        // RFC 9110 section 15.5.2: a 401 says what it wants.
        return ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response();
    }
    next.run(request).await
}

fn is_bearer(headers: &HeaderMap, token: &Secret) -> bool {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked(b"Bearer ".len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
        .is_some_and(|(_, sent)| sent.ct_eq(token.reveal().as_bytes()).into())
}

async fn ready(State(desk): Tool) -> Response {
    let readiness = desk.control.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(desk): Tool) -> Response {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], desk.control.metrics()).into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// An account in a call's path; one that is no text is answered with a problem.
struct Named(String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(account)) => Ok(Self(account)),
            Err(error) => Err(problem(StatusCode::BAD_REQUEST, &error.body_text())),
        }
    }
}

async fn quotas(State(desk): Tool, Named(account): Named) -> Response {
    view(desk.control.quotas(&account))
}

async fn cache(State(desk): Tool, Named(account): Named) -> Response {
    view(desk.control.cache(&account).await)
}

fn view(seen: Result<Value, impl ToString>) -> Response {
    match seen {
        Ok(view) => Json(view).into_response(),
        Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn reset_quotas(State(desk): Tool, Named(account): Named) -> Response {
    if let Err(error) = AccountId::parse(&account) {
        return problem(StatusCode::BAD_REQUEST, &error.to_string());
    }
    match desk.control.reset_quotas(&account).await {
        Ok(done) => Json(done).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, &error),
    }
}

/// Exactly one of these.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum PurgeBody {
    Account(String),
    Route(String),
    All(bool),
}

async fn purge(State(desk): Tool, body: Result<Json<PurgeBody>, JsonRejection>) -> Response {
    let Json(body) = match body {
        Ok(body) => body,
        Err(error) => return problem(StatusCode::UNPROCESSABLE_ENTITY, &error.body_text()),
    };
    let what = match body {
        PurgeBody::Account(account) => match AccountId::parse(&account) {
            Ok(account) => Purge::Account(account),
            Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
        },
        PurgeBody::Route(route) => Purge::Route(RouteId::new(route)),
        PurgeBody::All(true) => Purge::All,
        PurgeBody::All(false) => return problem(StatusCode::BAD_REQUEST, "'all' must be true"),
    };
    match desk.control.purge(&what).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

async fn reload(State(desk): Tool) -> Response {
    match desk.control.reload().await {
        Ok(done) => Json(done).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, &error),
    }
}

async fn upgrade(State(desk): Tool) -> Response {
    match desk.control.upgrade().await {
        Ok(done) => Json(done).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, &error),
    }
}
