//! Tells a request back to who sent it: how a test sees what a gateway sends upstream.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, OriginalUri};
use http::{HeaderMap, Method, Version};
use serde_json::{Value, json};

use crate::receive::RawHead;

/// The request as it was understood and, under `rawHead`, byte for byte.
pub async fn echo(
    method: Method,
    OriginalUri(uri): OriginalUri,
    version: Version,
    headers: HeaderMap,
    head: Option<Extension<RawHead>>,
    body: Bytes,
) -> Json<Value> {
    let headers: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| {
            (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    Json(json!({
        "method": method.as_str(),
        "path": uri.path_and_query().map_or("", |path| path.as_str()),
        "uri": uri.to_string(),
        "version": format!("{version:?}"),
        "headers": headers,
        "rawHead": head.and_then(|Extension(RawHead(head))| head),
        "bodyLength": body.len(),
        "body": String::from_utf8_lossy(&body),
    }))
}
