//! Recordings paused and resumed: by the business for all calls of a trip, by the operator for one call.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use uuid::Uuid;

use super::Api;
use super::body::{JsonOrNothing, Nothing, json};
use super::problem::Problem;
use crate::live::{Asker, PauseError};
use crate::moment::Moment;
use crate::name::TripId;

/// `POST /v1/trips/{trip}/recording/pause`: nothing that is said in the trip's calls is recorded from now on.
pub(super) async fn pause_trip(
    State(api): State<Api>,
    Path(trip): Path<String>,
    _: JsonOrNothing<Nothing>,
) -> Result<Response, Problem> {
    of_trip(&api, &trip, true).await
}

/// `POST /v1/trips/{trip}/recording/resume`: it is again.
pub(super) async fn resume_trip(
    State(api): State<Api>,
    Path(trip): Path<String>,
    _: JsonOrNothing<Nothing>,
) -> Result<Response, Problem> {
    of_trip(&api, &trip, false).await
}

/// `POST /v1/calls/{id}/recording/pause`.
pub(super) async fn pause_call(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: JsonOrNothing<Nothing>,
) -> Result<Response, Problem> {
    of_call(&api, &id, true).await
}

/// `POST /v1/calls/{id}/recording/resume`.
pub(super) async fn resume_call(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: JsonOrNothing<Nothing>,
) -> Result<Response, Problem> {
    of_call(&api, &id, false).await
}

async fn of_trip(api: &Api, trip: &str, paused: bool) -> Result<Response, Problem> {
    let trip = TripId::new(trip).map_err(|_| Problem::no_trip())?;
    let calls = api.live.pause_trip(&trip, paused, Asker::Business).await?;
    if calls.is_empty() {
        // A call may outlive its trip: it is looked for first.
        let known = api.masking.directory().trip(&trip, Moment::now()).is_some();
        let detail = "no call of this trip that is in progress is recorded";
        return Err(if known { not_recorded(detail) } else { Problem::no_trip() });
    }
    Ok(json(StatusCode::OK, &json!({ "trip": trip, "calls": calls })))
}

async fn of_call(api: &Api, id: &str, paused: bool) -> Result<Response, Problem> {
    let id: Uuid = id.parse().map_err(|_| PauseError::NoCall)?;
    let call = api.live.pause_call(id, paused, Asker::Operator).await?;
    Ok(json(StatusCode::OK, &call))
}

impl From<PauseError> for Problem {
    fn from(error: PauseError) -> Self {
        let detail = error.to_string();
        match error {
            PauseError::NoCall => Self::not_found(detail),
            PauseError::NotRecorded => not_recorded(&detail),
            PauseError::Relay => Self::new(StatusCode::SERVICE_UNAVAILABLE, "relay_unavailable", detail),
        }
    }
}

fn not_recorded(detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "not_recorded", detail)
}
