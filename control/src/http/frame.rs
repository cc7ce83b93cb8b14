//! What every answer has around it: the request's id, the problem document if it is one, and no caching.

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::Problem;
use super::request_id;

/// Around every route, and around what is no route.
pub(super) async fn frame(request: Request, next: Next) -> Response {
    let id = request_id::of(request.headers());
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>().or_else(|| refused_by_axum(&response));
    if let Some(problem) = problem {
        problem.write(&mut response, id.to_str().unwrap_or_default());
    }
    let headers = response.headers_mut();
    // Replies hold PINs and numbers: nobody in between keeps them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(request_id::HEADER, id);
    response
}

/// axum answers a path that is no UTF-8 in plain text.
fn refused_by_axum(response: &Response) -> Option<Problem> {
    let plain = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/plain");
    let refused = response.status().is_client_error()
        && response.headers().get(header::CONTENT_TYPE).is_some_and(plain);
    refused.then(|| Problem::new(response.status(), "invalid_request", "the path is not understood"))
}
