//! `/v1/drain`: the operator lets a POP run empty before its maintenance.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::Api;
use super::body::{JsonOrNothing, Nothing, json};
use super::problem::Problem;

/// `GET /v1/drain`: whether new calls are refused, and how many are still in progress.
pub(super) async fn read(State(api): State<Api>) -> Response {
    state(&api)
}

/// `PUT /v1/drain`: new calls are refused from now on, so that proxies turn to other POPs.
pub(super) async fn begin(State(api): State<Api>, _: JsonOrNothing<Nothing>) -> Result<Response, Problem> {
    change(&api, true).await
}

/// `DELETE /v1/drain`: new calls are taken again.
pub(super) async fn end(State(api): State<Api>) -> Result<Response, Problem> {
    change(&api, false).await
}

async fn change(api: &Api, draining: bool) -> Result<Response, Problem> {
    api.live.drain(draining).await.map_err(|away| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "relay_unavailable", away.to_string())
    })?;
    Ok(state(api))
}

fn state(api: &Api) -> Response {
    json(StatusCode::OK, &json!({ "draining": api.live.relay().draining, "calls": api.live.list().len() }))
}
