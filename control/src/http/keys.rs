//! `/v1/keys` and `/v1/backups`: what protects the numbers at rest, for the operator.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::Api;
use super::body::{JsonOrNothing, Nothing, json};
use super::problem::Problem;
use crate::moment::Moment;
use crate::store::StoreError;

/// `GET /v1/keys`: the key that seals, and how many trips each key has sealed.
pub(super) async fn read(State(api): State<Api>) -> Result<Response, Problem> {
    let sealed = api.masking.store().sealed_by().await?;
    let newest = api.masking.keys().newest_id();
    let keys: Vec<_> = sealed.iter().map(|(key, trips)| json!({ "key": key, "trips": trips })).collect();
    let waiting: u64 = sealed.iter().filter(|(key, _)| *key != newest).map(|(_, trips)| trips).sum();
    Ok(json(StatusCode::OK, &json!({ "newest": newest, "sealed": keys, "waiting": waiting })))
}

/// `POST /v1/keys/rotate`: a new key seals from now on; what older ones have sealed is sealed anew meanwhile.
pub(super) async fn rotate(State(api): State<Api>, _: JsonOrNothing<Nothing>) -> Result<Response, Problem> {
    let newest = api.masking.rotate_keys().await.map_err(|error| {
        let detail = "the key file cannot be written; the reason is in control's log";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "key_not_made", detail).because(&error)
    })?;
    tracing::info!(newest, "keys rotated");
    Ok(json(StatusCode::ACCEPTED, &json!({ "newest": newest })))
}

/// `POST /v1/backups`: a copy of the database in `STATE/backups`, made while everything goes on.
pub(super) async fn back_up(State(api): State<Api>, _: JsonOrNothing<Nothing>) -> Result<Response, Problem> {
    let (name, bytes) = api.masking.back_up(&api.state, Moment::now()).await.map_err(not_copied)?;
    tracing::info!(name, bytes, "backup");
    Ok(json(StatusCode::CREATED, &json!({ "file": format!("backups/{name}"), "bytes": bytes })))
}

/// A copy that failed says nothing of the store: trying again at once is of no use.
fn not_copied(error: StoreError) -> Problem {
    match error {
        StoreError::Database(_) => {
            let detail = "no copy was made: the disk is full, STATE/backups cannot be written, or one was made in this \
                second already; the reason is in control's log";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "backup_failed", detail).because(&error)
        }
        error => error.into(),
    }
}
