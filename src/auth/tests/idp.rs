use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};

/// An identity provider on a socket of its own, whose answers a test chooses.
pub struct Idp {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    keys: Mutex<Answer>,
    discovery: Mutex<Answer>,
    fetches: AtomicUsize,
    discoveries: AtomicUsize,
    /// A fetch of keys has come.
    arrived: Notify,
    /// Answers held back may go out.
    released: Semaphore,
}

#[derive(Clone)]
pub enum Answer {
    /// 200 with this JSON, and Cache-Control if it isn't empty.
    Json(Value, &'static str),
    /// 200 with this JSON once the test lets it go.
    Held(Value),
    /// 200 with this text.
    Text(&'static str),
    /// A status with a body that would be a key set.
    Status(u16, Value),
    /// A body without end.
    Endless,
    /// Nothing, ever.
    Silence,
    /// Half a body, then the connection breaks.
    Cut,
}

impl Idp {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            url: url.clone(),
            keys: Mutex::new(Answer::Silence),
            discovery: Mutex::new(Answer::Silence),
            fetches: AtomicUsize::new(0),
            discoveries: AtomicUsize::new(0),
            arrived: Notify::new(),
            released: Semaphore::new(0),
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared }
    }

    pub fn keys_url(&self) -> String {
        format!("{}/keys", self.url)
    }

    pub fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.url)
    }

    /// From now on it publishes these keys.
    pub fn publish(&self, jwks: &[&Value]) {
        self.answer_keys(Answer::Json(json!({ "keys": jwks }), ""));
    }

    pub fn answer_keys(&self, answer: Answer) {
        *self.shared.keys.lock().unwrap() = answer;
    }

    pub fn answer_discovery(&self, answer: Answer) {
        *self.shared.discovery.lock().unwrap() = answer;
    }

    /// How often its keys were asked for.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// Waits until its keys are asked for.
    pub async fn arrived(&self) {
        self.shared.arrived.notified().await;
    }

    /// Lets one answer go that was held back.
    pub fn release(&self) {
        self.shared.released.add_permits(1);
    }

    /// How often its discovery document was asked for.
    pub fn discoveries(&self) -> usize {
        self.shared.discoveries.load(Ordering::SeqCst)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let chosen = if uri.path() == "/keys" {
        shared.fetches.fetch_add(1, Ordering::SeqCst);
        shared.arrived.notify_one();
        shared.keys.lock().unwrap().clone()
    } else {
        shared.discoveries.fetch_add(1, Ordering::SeqCst);
        shared.discovery.lock().unwrap().clone()
    };
    match chosen {
        Answer::Json(document, cache_control) => {
            let text = document.to_string().replace("IDP", &shared.url);
            let mut response = text.into_response();
            if !cache_control.is_empty() {
                response.headers_mut().insert("cache-control", cache_control.parse().unwrap());
            }
            response
        }
        Answer::Held(document) => {
            shared.released.acquire().await.unwrap().forget();
            document.to_string().into_response()
        }
        Answer::Text(text) => text.into_response(),
        Answer::Status(status, document) => {
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            (status, document.to_string()).into_response()
        }
        Answer::Endless => {
            let chunk = || Ok::<_, Infallible>(Bytes::from_static(&[b' '; 8192]));
            Body::from_stream(stream::repeat_with(chunk)).into_response()
        }
        Answer::Silence => std::future::pending().await,
        Answer::Cut => {
            let half = stream::iter([Ok(Bytes::from_static(b"{\"keys\":[")), Err("cut")]);
            Body::from_stream(half.boxed()).into_response()
        }
    }
}
