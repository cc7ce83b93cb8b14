//! `/v1/cities`: for the operator.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::Api;
use super::body::{Json, json};
use super::problem::Problem;
use crate::city::{CityPlan, NumberState};
use crate::moment::Moment;
use crate::name::City;
use crate::number::PoolNumber;

/// `PUT /v1/cities/{city}`: 201 for a new city, 200 when it replaces one. Answers the plan as it holds now.
pub(super) async fn put(
    State(api): State<Api>,
    Path(city): Path<String>,
    Json(plan): Json<CityPlan>,
) -> Result<Response, Problem> {
    let name = City::new(&city).map_err(|e| Problem::invalid(e.to_string()))?;
    let new = api.masking.put_city(name.clone(), plan.clone()).await?;
    tracing::info!(city = %name, numbers = plan.numbers.len(), new, "city");
    Ok(json(if new { StatusCode::CREATED } else { StatusCode::OK }, &plan))
}

/// `GET /v1/cities/{city}`.
pub(super) async fn read(State(api): State<Api>, Path(city): Path<String>) -> Result<Response, Problem> {
    let directory = api.masking.directory();
    let plan = City::new(&city).ok().and_then(|name| directory.city(&name));
    let plan = plan.ok_or_else(unknown)?;
    Ok(json(StatusCode::OK, plan.as_ref()))
}

/// `GET /v1/cities`: every city by its name, and what is wrong with city files that are not taken.
pub(super) async fn list(State(api): State<Api>) -> Response {
    let directory = api.masking.directory();
    let cities: BTreeMap<_, _> =
        directory.cities().map(|(name, plan)| (name.as_str(), plan.as_ref())).collect();
    json(StatusCode::OK, &json!({ "cities": cities, "refused_files": api.masking.file_trouble() }))
}

/// What `PUT /v1/cities/{city}/numbers/{number}` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Number {
    state: NumberState,
}

/// `PUT /v1/cities/{city}/numbers/{number}`: what a number of the pool is used for from now on.
pub(super) async fn set_number(
    State(api): State<Api>,
    Path((city, number)): Path<(String, String)>,
    Json(Number { state }): Json<Number>,
) -> Result<Response, Problem> {
    let name = City::new(&city).map_err(|_| unknown())?;
    let number = PoolNumber::parse(&number).map_err(|_| Problem::not_found("the city has no such number"))?;
    api.masking.set_number(name.clone(), number, state).await?;
    tracing::info!(city = %name, %number, state = state.as_str(), "pool number");
    Ok(json(StatusCode::OK, &json!({ "number": number, "state": state })))
}

/// `GET /v1/cities/{city}/forecast`: how the pool will do.
pub(super) async fn forecast(State(api): State<Api>, Path(city): Path<String>) -> Result<Response, Problem> {
    let name = City::new(&city).map_err(|_| unknown())?;
    let forecast = api.masking.forecast(&name, Moment::now()).await?.ok_or_else(unknown)?;
    Ok(json(StatusCode::OK, &forecast))
}

fn unknown() -> Problem {
    Problem::not_found("there is no such city")
}
