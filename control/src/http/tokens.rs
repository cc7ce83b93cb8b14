//! `/v1/tokens`: for the operator. A token is shown by the answer that makes it, and by no other.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Api;
use super::body::{Json, JsonOrNothing, json};
use super::page;
use super::problem::Problem;
use crate::moment::Moment;
use crate::token::{NewToken, TokenChangeError, TokenFacts};

/// A token with its one showing.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    facts: TokenFacts,
    token: Zeroizing<String>,
}

/// `POST /v1/tokens`.
pub(super) async fn create(State(api): State<Api>, Json(wish): Json<NewToken>) -> Result<Response, Problem> {
    let (facts, token) = api.access.tokens().create(wish, Moment::now()).await?;
    log(&facts, "a token is made");
    Ok(json(StatusCode::CREATED, &Shown { facts, token }))
}

/// What `GET /v1/tokens` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    after: Option<Uuid>,
    limit: Option<usize>,
}

/// `GET /v1/tokens?after=…&limit=…`: in the order of their making; `next` is the `after` of the next page.
pub(super) async fn list(
    State(api): State<Api>,
    query: Result<Query<List>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(List { after, limit }) = query?;
    let limit = page::limit(limit)?;
    let mut tokens = api.access.tokens().page(after, limit + 1, Moment::now());
    let next = page::cut(&mut tokens, limit, |token| token.id);
    Ok(json(StatusCode::OK, &json!({ "tokens": tokens, "next": next })))
}

/// What `POST /v1/tokens/{id}/rotate` takes.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    #[serde(default)]
    keep_seconds: u32,
}

/// `POST /v1/tokens/{id}/rotate`: the old token stays in force for `keep_seconds`.
pub(super) async fn rotate(
    State(api): State<Api>,
    Path(token): Path<String>,
    JsonOrNothing(Rotate { keep_seconds }): JsonOrNothing<Rotate>,
) -> Result<Response, Problem> {
    let (facts, token) = api.access.tokens().rotate(id(&token)?, keep_seconds, Moment::now()).await?;
    log(&facts, "a token is rotated");
    Ok(json(StatusCode::CREATED, &Shown { facts, token }))
}

/// `DELETE /v1/tokens/{id}`.
pub(super) async fn delete(State(api): State<Api>, Path(token): Path<String>) -> Result<Response, Problem> {
    let facts = api.access.tokens().delete(id(&token)?, Moment::now()).await?;
    log(&facts, "a token is deleted");
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn log(facts: &TokenFacts, what: &str) {
    tracing::info!(id = %facts.id, scope = facts.scope.as_str(), name = %facts.name, "{what}");
}

/// What is no id is no token's either, and is not repeated.
fn id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| TokenChangeError::Unknown.into())
}
