//! `/healthz`, `/readyz`, `/metrics`: without a token, and without anything private.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;
use super::body::json;
use super::recorder::Recorder;
use crate::metrics::Text;
use crate::moment::Moment;

/// How long the store may take to say that it is there.
const STORE_TIME: Duration = Duration::from_secs(1);

/// The process runs.
pub(super) async fn alive() -> Response {
    json(StatusCode::OK, &json!({ "status": "ok" }))
}

/// 200 when calls can be set up: the relay is connected and does not drain, and the store answers. A recorder that is missing or raises an
/// alarm is reported, not fatal: media outlives it.
pub(super) async fn ready(State(api): State<Api>) -> Response {
    let relay = api.live.relay();
    let store = match tokio::time::timeout(STORE_TIME, api.masking.store().ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("gives no answer".to_owned()),
    };
    let ready = relay.connected && !relay.draining && store.is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": ready,
        "relay": relay,
        "recorder": Recorder::look(&api).await,
        "store": { "ok": store.is_none(), "trouble": store },
        // Which, and why, is for the operator: `GET /v1/cities`.
        "city_files": { "refused": api.masking.file_trouble().len() },
    });
    json(status, &body)
}

/// Prometheus text: both halves of control, and what the recorder last wrote.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let mut text = Text::default();
    api.masking.metrics(&mut text, Moment::now()).await;
    api.access.metrics(&mut text);
    text.append(&api.live.metrics().await);
    Recorder::look(&api).await.metrics(&mut text);
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))];
    (StatusCode::OK, kind, text.finish()).into_response()
}
