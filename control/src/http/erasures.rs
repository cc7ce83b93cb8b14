//! `POST /v1/erasures`: a person asks to be forgotten.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::Api;
use super::body::{Json, json};
use super::problem::Problem;
use crate::moment::Moment;
use crate::number::E164;

/// What it takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Person {
    phone: Zeroizing<String>,
}

/// Removes the number everywhere; what remains speaks of trips and roles. Asking again changes nothing.
pub(super) async fn erase(State(api): State<Api>, Json(person): Json<Person>) -> Result<Response, Problem> {
    let phone = E164::parse(&person.phone).map_err(|error| Problem::invalid(format!("phone: {error}")))?;
    let trips = api.masking.erase(phone, Moment::now()).await?;
    tracing::info!(trips, "a person was erased");
    Ok(json(StatusCode::OK, &json!({ "trips": trips })))
}
