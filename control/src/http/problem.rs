//! RFC 9457 problem documents. They say what is wrong and what to do, and never repeat a number.

use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::city::BadCity;
use crate::masking::{OpenCityError, OpenTripError};
use crate::store::{AmendError, CreateError, PutCityError, StoreError};

/// An error answer.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    /// `code` names the kind of problem for programs, `detail` explains it to people.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), more: Map::new() }
    }

    /// 400: the request makes no sense.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 503, with what the store said in the log only.
    fn unavailable(error: &StoreError) -> Self {
        tracing::error!(%error, "a request failed");
        let detail = "the store does not answer; try again. The reason is in control's log";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
    }

    /// Adds a member for programs.
    #[must_use]
    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.more;
        body.insert("type".into(), format!("urn:bauta:problem:{}", self.code).into());
        body.insert("title".into(), self.code.replace('_', " ").into());
        body.insert("status".into(), json!(self.status.as_u16()));
        body.insert("detail".into(), self.detail.into());
        let mut response = (self.status, Value::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::invalid(redact(&format!("the body is not as expected: {error}")))
    }
}

impl From<QueryRejection> for Problem {
    fn from(error: QueryRejection) -> Self {
        Self::invalid(redact(&error.body_text()))
    }
}

impl From<BadCity> for Problem {
    fn from(error: BadCity) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<OpenCityError> for Problem {
    fn from(error: OpenCityError) -> Self {
        match error {
            OpenCityError::Bad(bad) => bad.into(),
            OpenCityError::Put(PutCityError::Store(error)) => Self::unavailable(&error),
            OpenCityError::Put(taken @ PutCityError::Taken { .. }) => {
                Self::new(StatusCode::CONFLICT, "number_taken", taken.to_string())
            }
        }
    }
}

impl From<OpenTripError> for Problem {
    fn from(error: OpenTripError) -> Self {
        let text = error.to_string();
        match error {
            OpenTripError::Bad(_) => Self::invalid(text),
            OpenTripError::Create(CreateError::Store(error)) => Self::unavailable(&error),
            OpenTripError::Create(CreateError::Conflict(_)) => {
                Self::new(StatusCode::CONFLICT, "trip_exists", text)
            }
            OpenTripError::Create(CreateError::NoCity(_)) => Self::invalid(redact(&text)),
            OpenTripError::Create(CreateError::Exhausted { city, role, exhausted }) => {
                Self::new(StatusCode::CONFLICT, "pool_exhausted", text)
                    .with("city", city.as_str())
                    .with("role", role.as_str())
                    .with("numbers", exhausted.have)
                    .with("numbers_enough", exhausted.enough)
            }
        }
    }
}

impl From<AmendError> for Problem {
    fn from(error: AmendError) -> Self {
        match error {
            AmendError::Store(error) => Self::unavailable(&error),
            AmendError::NoTrip(_) => Self::not_found(error.to_string()),
            AmendError::Ended(_) => Self::new(StatusCode::CONFLICT, "trip_ended", error.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::unavailable(&error)
    }
}

/// `text` with everything that could be a telephone number taken out: parsers repeat what they did not like.
fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run = String::new();
    for c in text.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_digit() || (!run.is_empty() && "-. ()".contains(c)) {
            run.push(c);
            continue;
        }
        if run.chars().filter(char::is_ascii_digit).count() >= 5 {
            out.push('…');
        } else {
            out.push_str(&run);
        }
        run.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_number_is_not_repeated() {
        for (text, shown) in [
            ("unknown field `+447700900001` at line 1 column 23", "unknown field `+…` at line 1 column 23"),
            (
                "invalid type: string \"07700 900-001\", expected u32",
                "invalid type: string \"…\", expected u32",
            ),
            ("expires_in must be from 1 to 2592 seconds", "expires_in must be from 1 to 2592 seconds"),
            ("4477009", "…"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }
}
