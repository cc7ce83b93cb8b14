//! Bearer tokens on requests (RFC 6750 section 2.1).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::token::{Scope, Tokens};

/// Lets a request pass when its token opens `scope`. Runs before the body is read.
pub(super) async fn check(
    State((tokens, scope)): State<(Arc<Tokens>, Scope)>,
    request: Request,
    next: Next,
) -> Response {
    let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match token.and_then(|token| tokens.scope(token)) {
        Some(opened) if opened == scope => next.run(request).await,
        Some(_) => {
            let detail = format!("this route takes the {} token", scope.as_str());
            Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).into_response()
        }
        None => Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "").into_response(),
    }
}
