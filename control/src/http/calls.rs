//! `/v1/calls`: for the operator.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use uuid::Uuid;

use super::Api;
use super::body::json;
use super::problem::Problem;

/// `GET /v1/calls`: calls in progress, oldest first.
pub(super) async fn list(State(api): State<Api>) -> Response {
    json(StatusCode::OK, &json!({ "calls": api.live.list() }))
}

/// `GET /v1/calls/{id}`: one call with its counters.
pub(super) async fn read(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("there is no such call in progress");
    let id: Uuid = id.parse().map_err(|_| unknown())?;
    let call = api.live.get(id).await.ok_or_else(unknown)?;
    Ok(json(StatusCode::OK, &call))
}
