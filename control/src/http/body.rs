//! JSON in and out. Mistakes in a body become problems that do not repeat it.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// A JSON body, whatever its content type says.
pub(super) struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Ok(Self(serde_json::from_slice(&arrived(request, state).await?)?))
    }
}

/// A JSON body, or none at all where each of its members has a default.
pub(super) struct JsonOrNothing<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for JsonOrNothing<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = arrived(request, state).await?;
        Ok(Self(if body.is_empty() { T::default() } else { serde_json::from_slice(&body)? }))
    }
}

/// No body, or `{}`. It is read all the same: behind a body that nobody has read, hyper closes the connection, and the
/// client's next request on it would get no answer.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The whole body, in time and within bounds.
async fn arrived<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let late = |_| {
        let detail = "the body did not arrive in time";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
    };
    let body = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state)).await.map_err(late)?;
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large")
        }
        _ => Problem::invalid("the body did not arrive"),
    })
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => json_text(status, text),
        Err(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer cannot be written")
            .into_response(),
    }
}

/// An answer that is JSON already.
pub(super) fn json_text(status: StatusCode, text: impl Into<Body>) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, kind, text.into()).into_response()
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// A body that never comes.
    struct Never;

    impl hyper::body::Body for Never {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let request = Request::new(Body::new(Never));
        let began = tokio::time::Instant::now();
        let problem = Json::<serde_json::Value>::from_request(request, &()).await.err().unwrap();
        assert_eq!(problem.into_response().status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(began.elapsed(), BODY_TIME);
    }
}
