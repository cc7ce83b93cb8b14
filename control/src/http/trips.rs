//! `/v1/trips`: for the business back end.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::Api;
use super::body::{Json, json};
use super::problem::Problem;
use crate::masking::check_extension;
use crate::moment::Moment;
use crate::name::{City, TripId};
use crate::trip::{Trip, TripRequest, TripState};

/// Trips on a page at most, and when nothing is said.
const PAGE: (usize, usize) = (1_000, 100);

/// `POST /v1/trips`: 201 for a new trip, 200 when the same request made it before.
pub(super) async fn create(
    State(api): State<Api>,
    Json(request): Json<TripRequest>,
) -> Result<Response, Problem> {
    let now = Moment::now();
    let (trip, new) = api.masking.open_trip(&request, now).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &trip.view(now)))
}

/// `GET /v1/trips/{trip}`.
pub(super) async fn read(State(api): State<Api>, Path(trip): Path<String>) -> Result<Response, Problem> {
    let id = id(&trip)?;
    let now = Moment::now();
    let trip = api.masking.directory().trip(&id, now).map(Arc::clone);
    let trip = trip.ok_or_else(unknown)?;
    Ok(detail(&api, &trip, now))
}

/// What `GET /v1/trips` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    after: Option<TripId>,
    limit: Option<usize>,
    state: Option<TripState>,
    city: Option<City>,
}

/// `GET /v1/trips?after=…&limit=…&state=…&city=…`: by id; `next` is the `after` of the next page.
pub(super) async fn list(
    State(api): State<Api>,
    query: Result<Query<List>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(List { after, limit, state, city }) = query?;
    let limit = limit.unwrap_or(PAGE.1);
    if !(1..=PAGE.0).contains(&limit) {
        return Err(Problem::invalid(format!("limit must be from 1 to {}", PAGE.0)));
    }
    let now = Moment::now();
    let mut trips = api.masking.directory().page(after.as_ref(), limit + 1, state, city.as_ref(), now);
    let more = trips.len() > limit;
    trips.truncate(limit);
    let next = trips.last().filter(|_| more).map(|trip| trip.id.clone());
    let shown: Vec<_> = trips.iter().map(|t| t.detail(now, api.live.in_progress(&t.id))).collect();
    Ok(json(StatusCode::OK, &json!({ "trips": shown, "next": next })))
}

/// What `PATCH /v1/trips/{trip}` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Amend {
    expires_in: u32,
}

/// `PATCH /v1/trips/{trip}`: the trip runs out `expires_in` seconds from now.
pub(super) async fn amend(
    State(api): State<Api>,
    Path(trip): Path<String>,
    Json(change): Json<Amend>,
) -> Result<Response, Problem> {
    let id = id(&trip)?;
    check_extension(change.expires_in)?;
    let now = Moment::now();
    let trip = api.masking.extend_trip(id, change.expires_in, now).await?;
    Ok(detail(&api, &trip, now))
}

/// `POST /v1/trips/{trip}/close`: no new call connects from now on.
pub(super) async fn close(State(api): State<Api>, Path(trip): Path<String>) -> Result<Response, Problem> {
    let id = id(&trip)?;
    let now = Moment::now();
    let trip = api.masking.close_trip(id, now).await?;
    Ok(detail(&api, &trip, now))
}

fn detail(api: &Api, trip: &Trip, now: Moment) -> Response {
    json(StatusCode::OK, &trip.detail(now, api.live.in_progress(&trip.id)))
}

/// What is no trip id is no trip either, and is not repeated.
fn id(text: &str) -> Result<TripId, Problem> {
    TripId::new(text).map_err(|_| unknown())
}

fn unknown() -> Problem {
    Problem::not_found("there is no such trip")
}
