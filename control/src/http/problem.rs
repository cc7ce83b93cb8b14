//! RFC 9457 problem documents. They say what is wrong and what to do, and never repeat a number.
//!
//! A handler's problem travels as an extension of an empty response; [`super::frame`] writes it, since it alone knows
//! the request's id.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::city::BadCity;
use crate::masking::{OpenCityError, OpenIntentError, OpenTripError};
use crate::store::{AmendError, CreateError, PutCityError, StoreError};
use crate::token::TokenChangeError;
use crate::trip::Unchanged;
use crate::trip::life::Over;

/// An error answer.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    more: Map<String, Value>,
    retry_after: Option<u64>,
    cause: Option<String>,
}

impl Problem {
    /// `code` names the kind of problem for programs, `detail` explains it to people.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { status, code, detail: detail.into(), more: Map::new(), retry_after, cause: None }
    }

    /// 400: the request makes no sense.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 404: what was asked for is not repeated, since it could be a number.
    pub(super) fn no_trip() -> Self {
        Self::not_found("there is no such trip")
    }

    /// 429: one more is free in `wait` milliseconds.
    pub(super) fn too_many_requests(wait: u64, detail: &str) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail);
        problem.retry_after = Some(wait.div_ceil(1_000).max(1));
        problem
    }

    /// Trying again is of no use for so many seconds.
    #[must_use]
    fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// 503, with what the store said in the log only.
    fn unavailable(error: &StoreError) -> Self {
        let detail = "the store does not answer; try again. The reason is in control's log";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail).because(error)
    }

    /// What is behind it: for the log, and not for the client.
    #[must_use]
    pub(super) fn because(mut self, cause: &impl ToString) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds a member for programs.
    #[must_use]
    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Writes the document into `response`, which keeps its status and headers; one of ours (5xx) is logged.
    pub(super) fn write(self, response: &mut Response, request: &str) {
        if self.status.is_server_error() {
            let (status, cause) = (self.status.as_u16(), self.cause.as_deref().unwrap_or(&self.detail));
            tracing::error!(request, status, cause, "{}", self.code);
        }
        let mut body = self.more;
        body.insert("type".into(), format!("urn:bauta:problem:{}", self.code).into());
        body.insert("title".into(), self.code.replace('_', " ").into());
        body.insert("status".into(), json!(self.status.as_u16()));
        body.insert("detail".into(), self.detail.into());
        body.insert("instance".into(), format!("urn:bauta:request:{request}").into());
        *response.body_mut() = Body::from(Value::Object(body).to_string());
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
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
            OpenCityError::OwnNeighbour(_) => Self::invalid(error.to_string()),
            OpenCityError::Written { .. } => {
                Self::new(StatusCode::CONFLICT, "city_is_a_file", error.to_string())
            }
            OpenCityError::Put(PutCityError::Unknown(_)) => Self::not_found(redact(&error.to_string())),
            OpenCityError::Put(PutCityError::Taken { .. }) => {
                Self::new(StatusCode::CONFLICT, "number_taken", error.to_string())
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
            AmendError::NoTrip(_) => Self::no_trip(),
            AmendError::Unchanged { why: ref reason, .. } => match reason {
                Unchanged::Over(Over::Ended) => {
                    Self::new(StatusCode::CONFLICT, "trip_ended", error.to_string())
                }
                Unchanged::Over(Over::PastEnd(_)) => {
                    Self::new(StatusCode::CONFLICT, "past_end", error.to_string())
                }
                Unchanged::HandedOn => Self::new(StatusCode::CONFLICT, "trip_handed_on", error.to_string()),
                Unchanged::Callers | Unchanged::Range(_) => Self::invalid(reason.to_string()),
            },
        }
    }
}

impl From<OpenIntentError> for Problem {
    fn from(error: OpenIntentError) -> Self {
        let text = error.to_string();
        match error {
            OpenIntentError::NoTrip(_) => Self::no_trip(),
            OpenIntentError::NoRole(_) => Self::invalid(text),
            OpenIntentError::Refused { reason, .. } => {
                Self::new(StatusCode::CONFLICT, "call_refused", text).with("reason", reason.as_str())
            }
            OpenIntentError::Pending(pending) => {
                Self::new(StatusCode::CONFLICT, "intent_pending", text).after(pending.retry_after.into())
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::unavailable(&error)
    }
}

impl From<TokenChangeError> for Problem {
    fn from(error: TokenChangeError) -> Self {
        let text = error.to_string();
        match error {
            TokenChangeError::Store(error) => Self::unavailable(&error),
            TokenChangeError::Range { .. } => Self::invalid(text),
            TokenChangeError::Unknown => Self::not_found(text),
            TokenChangeError::Expired => Self::new(StatusCode::CONFLICT, "token_expired", text),
            TokenChangeError::LastOperator => Self::new(StatusCode::CONFLICT, "last_operator_token", text),
            TokenChangeError::TooMany => Self::new(StatusCode::CONFLICT, "too_many_tokens", text),
            TokenChangeError::Random(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no token can be made")
                    .because(&text)
            }
        }
    }
}

/// `text` with everything that could be a telephone number taken out: parsers repeat what they did not like. That is
/// five digits or more, of any script and however separated, with no letter between them: from the first to the last.
pub(crate) fn redact(text: &str) -> String {
    let letter = |c: char| c.is_alphabetic() && !c.is_numeric();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(rest.find(letter).unwrap_or(rest.len()));
        let digits = run.chars().filter(|c| c.is_numeric()).count();
        match run.find(char::is_numeric).zip(run.rfind(char::is_numeric)).filter(|_| digits >= 5) {
            Some((first, last)) => {
                let behind = run.get(last..).unwrap_or_default().trim_start_matches(char::is_numeric);
                out.extend([run.get(..first).unwrap_or_default(), "…", behind]);
            }
            None => out.push_str(run),
        }
        let (letters, after) = after.split_at(after.find(|c| !letter(c)).unwrap_or(after.len()));
        out.push_str(letters);
        rest = after;
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
            ("no city +44/7700/900/001, sorry", "no city +…, sorry"),
            ("`44_7700_900_001`", "`…`"),
            ("07700,900,001", "…"),
            ("\"07700\" \"900\" \"001\"", "\"…\""),
            ("+44\u{a0}77\u{a0}00\u{a0}90\u{a0}00\u{a0}01: no", "+…: no"),
            ("key ٤٤٧٧٠٠٩٠٠٠٠١ is", "key … is"),
            ("the ４４７７０ of ①②③④⑤", "the … of …"),
            ("u16, i64 and 1234 at line 12 column 3", "u16, i64 and 1234 at line 12 column 3"),
            ("", ""),
        ] {
            assert_eq!(redact(text), shown);
        }
    }
}
