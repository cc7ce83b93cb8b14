//! `/v1/trips`: for the business back end.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::Api;
use super::body::{Json, JsonOrNothing, Nothing, json};
use super::page;
use super::problem::Problem;
use crate::moment::Moment;
use crate::name::{City, Role, TripId};
use crate::store::Page;
use crate::trip::{Amendment, Change, Trip, TripRequest, TripState};

/// `POST /v1/trips`: 201 for a new trip, 200 when the same request made it before.
pub(super) async fn create(
    State(api): State<Api>,
    Json(request): Json<TripRequest>,
) -> Result<Response, Problem> {
    let now = Moment::now();
    let opened = api.masking.open_trip(&request, now).await?;
    let status = if opened.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &opened.trip.view(now, opened.continues)))
}

/// `GET /v1/trips/{trip}`.
pub(super) async fn read(State(api): State<Api>, Path(trip): Path<String>) -> Result<Response, Problem> {
    let id = id(&trip)?;
    let now = Moment::now();
    let trip = api.masking.directory().trip(&id, now).map(Arc::clone);
    let trip = trip.ok_or_else(Problem::no_trip)?;
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
    let limit = page::limit(limit)?;
    let now = Moment::now();
    let page = Page { after, limit: limit + 1, state, city };
    let mut trips = api.masking.page(page, now).await?;
    let next = page::cut(&mut trips, limit, |trip| trip.id.clone());
    let calls = api.live.in_progress_by_trip();
    let calls = |trip: &Trip| calls.get(&trip.id).copied().unwrap_or(0);
    let shown: Vec<_> = trips.iter().map(|trip| trip.detail(now, calls(trip))).collect();
    Ok(json(StatusCode::OK, &json!({ "trips": shown, "next": next })))
}

/// `PATCH /v1/trips/{trip}`: another end, other rules.
pub(super) async fn amend(
    State(api): State<Api>,
    Path(trip): Path<String>,
    Json(amendment): Json<Amendment>,
) -> Result<Response, Problem> {
    change(&api, &trip, Change::Amend(amendment)).await
}

/// What `POST /v1/trips/{trip}/close` may take.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Close {
    /// Calls connect in grace all the same, as if the trip had run out of time: for what was left in the car.
    calls_in_grace: bool,
}

/// `POST /v1/trips/{trip}/close`: the trip is over; no new call connects from now on, unless grace is to let them.
pub(super) async fn close(
    State(api): State<Api>,
    Path(trip): Path<String>,
    JsonOrNothing(how): JsonOrNothing<Close>,
) -> Result<Response, Problem> {
    change(&api, &trip, if how.calls_in_grace { Change::RunOut } else { Change::Close }).await
}

/// `POST /v1/trips/{trip}/cancel`: as closing, and without grace.
pub(super) async fn cancel(
    State(api): State<Api>,
    Path(trip): Path<String>,
    _: JsonOrNothing<Nothing>,
) -> Result<Response, Problem> {
    change(&api, &trip, Change::Cancel).await
}

/// What `POST /v1/trips/{trip}/reopen` may take.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Reopen {
    /// Seconds from now until it runs out; as many as it was made for when absent.
    expires_in: Option<u32>,
}

/// `POST /v1/trips/{trip}/reopen`: out of grace, the trip is active again.
pub(super) async fn reopen(
    State(api): State<Api>,
    Path(trip): Path<String>,
    JsonOrNothing(how): JsonOrNothing<Reopen>,
) -> Result<Response, Problem> {
    change(&api, &trip, Change::Reopen { lives: how.expires_in }).await
}

async fn change(api: &Api, trip: &str, change: Change) -> Result<Response, Problem> {
    let now = Moment::now();
    let trip = api.masking.amend_trip(id(trip)?, change, now).await?;
    Ok(detail(api, &trip, now))
}

/// `PUT /v1/trips/{trip}/block`: its two people reach each other no more, in no trip of theirs.
pub(super) async fn block(
    State(api): State<Api>,
    Path(trip): Path<String>,
    _: JsonOrNothing<Nothing>,
) -> Result<Response, Problem> {
    set_block(&api, &trip, true).await
}

/// `DELETE /v1/trips/{trip}/block`: they may again.
pub(super) async fn unblock(State(api): State<Api>, Path(trip): Path<String>) -> Result<Response, Problem> {
    set_block(&api, &trip, false).await
}

async fn set_block(api: &Api, trip: &str, blocked: bool) -> Result<Response, Problem> {
    let now = Moment::now();
    let trip = api.masking.block_pair(id(trip)?, blocked, now).await?;
    tracing::info!(trip = %trip.id, blocked, "pair");
    Ok(detail(api, &trip, now))
}

/// What `POST /v1/trips/{trip}/intents` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intent {
    role: Role,
}

/// `POST /v1/trips/{trip}/intents`: for 60 seconds, one call from an unknown number to this party's pool number counts
/// as this party's.
pub(super) async fn intend(
    State(api): State<Api>,
    Path(trip): Path<String>,
    Json(intent): Json<Intent>,
) -> Result<Response, Problem> {
    let until = api.masking.open_intent(&id(&trip)?, &intent.role, Moment::now())?;
    Ok(json(StatusCode::CREATED, &json!({ "role": intent.role, "until": until })))
}

fn detail(api: &Api, trip: &Trip, now: Moment) -> Response {
    json(StatusCode::OK, &trip.detail(now, api.live.in_progress(&trip.id)))
}

/// What is no trip id is no trip either, and is not repeated.
fn id(text: &str) -> Result<TripId, Problem> {
    TripId::new(text).map_err(|_| Problem::no_trip())
}
