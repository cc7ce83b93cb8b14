//! `POST /v1/route`: the SIP proxy's question.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Api;
use super::body::{Json, json_text};
use super::problem::Problem;
use crate::moment::Moment;
use crate::route::{Decision, Question, document};

/// A refusal is an answer too: 200, without routes. Other statuses mean that there is no decision.
pub(super) async fn decide(
    State(api): State<Api>,
    Json(question): Json<Question>,
) -> Result<Response, Problem> {
    let routing = api.masking.route(&question, Moment::now()).await;
    match &routing.decision {
        Decision::Connect(connect) => {
            let routed = &connect.routed;
            tracing::debug!(trip = %routed.trip, caller = %routed.caller_role, "route: connect");
        }
        Decision::Reject(reason) => tracing::debug!(reason = reason.as_str(), "route: reject"),
    }
    Ok(json_text(
        StatusCode::OK,
        document::render(&routing.decision, routing.plan.as_deref(), api.masking.sip_host())?,
    ))
}
