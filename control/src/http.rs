//! The HTTP API: routes, who may call them, and the server.
//!
//! Runs on the runtime's thread. Handlers are thin: they read, ask [`Masking`] or [`LiveCalls`], and write.
//! A token opens its own scope's routes: a wrong token is 401, another scope's token is 403. Every answer carries
//! `X-Request-Id`; every error is a problem document that names it.

mod access;
mod archives;
mod body;
mod calls;
mod cities;
mod drain;
mod erasures;
mod frame;
mod health;
mod keys;
mod listen;
mod openapi;
mod page;
mod pauses;
mod problem;
mod range;
mod recorder;
mod recordings;
mod request_id;
mod route;
mod stream;
mod table;
mod tokens;
mod trips;

pub(crate) use problem::redact;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use tokio::net::TcpListener;

use crate::live::LiveCalls;
use crate::masking::Masking;
use crate::token::Scope;
use listen::Bounds;
use problem::Problem;
use table::Table;

pub use access::Access;
pub use archives::Archives;
pub use table::Route;

/// What the routes work on.
#[derive(Clone)]
pub struct Api {
    /// Cities, trips, decisions.
    pub masking: Arc<Masking>,
    /// Calls in progress and the relay.
    pub live: Arc<dyn LiveCalls>,
    /// Who may call what, and how often.
    pub access: Arc<Access>,
    /// The state directory, for the recorder's metrics.
    pub state: PathBuf,
    /// What the recorder has made of calls, in the same place.
    pub archives: Arc<Archives>,
    /// Longest body in bytes.
    pub body_limit: usize,
}

fn table() -> Table {
    Table::default()
        .of(Some(Scope::Business))
        .post("/v1/trips", trips::create)
        .get("/v1/trips", trips::list)
        .get("/v1/trips/{trip}", trips::read)
        .patch("/v1/trips/{trip}", trips::amend)
        .post("/v1/trips/{trip}/close", trips::close)
        .post("/v1/trips/{trip}/cancel", trips::cancel)
        .post("/v1/trips/{trip}/reopen", trips::reopen)
        .put("/v1/trips/{trip}/block", trips::block)
        .delete("/v1/trips/{trip}/block", trips::unblock)
        .post("/v1/trips/{trip}/intents", trips::intend)
        .post("/v1/trips/{trip}/recording/pause", pauses::pause_trip)
        .post("/v1/trips/{trip}/recording/resume", pauses::resume_trip)
        .post("/v1/erasures", erasures::erase)
        .of(Some(Scope::Proxy))
        .post("/v1/route", route::decide)
        .of(Some(Scope::Dispute))
        .get("/v1/recordings", recordings::list)
        .get("/v1/recordings/{id}", recordings::read)
        .get("/v1/recordings/{id}/audio", recordings::audio)
        .of(Some(Scope::Operator))
        .get("/v1/cities", cities::list)
        .put("/v1/cities/{city}", cities::put)
        .get("/v1/cities/{city}", cities::read)
        .get("/v1/cities/{city}/forecast", cities::forecast)
        .put("/v1/cities/{city}/numbers/{number}", cities::set_number)
        .get("/v1/keys", keys::read)
        .post("/v1/keys/rotate", keys::rotate)
        .post("/v1/backups", keys::back_up)
        .get("/v1/calls", calls::list)
        .get("/v1/calls/{id}", calls::read)
        .post("/v1/calls/{id}/recording/pause", pauses::pause_call)
        .post("/v1/calls/{id}/recording/resume", pauses::resume_call)
        .get("/v1/drain", drain::read)
        .put("/v1/drain", drain::begin)
        .delete("/v1/drain", drain::end)
        .post("/v1/tokens", tokens::create)
        .get("/v1/tokens", tokens::list)
        .post("/v1/tokens/{id}/rotate", tokens::rotate)
        .delete("/v1/tokens/{id}", tokens::delete)
        .of(None)
        .get("/v1/openapi.json", openapi::read)
        .get("/metrics", health::metrics)
        .get("/healthz", health::alive)
        .get("/readyz", health::ready)
}

/// Every route.
pub fn routes() -> Vec<Route> {
    table().routes()
}

/// Answers every route, and what is none.
pub fn router(api: Api) -> Router {
    table()
        .router(&api)
        .fallback(|State(api): State<Api>| async move {
            api.access.count(None, StatusCode::NOT_FOUND);
            Problem::not_found("there is no such route")
        })
        // axum adds which methods there are (Allow, RFC 9110 section 15.5.6).
        .method_not_allowed_fallback(|State(api): State<Api>| async move {
            api.access.count(None, StatusCode::METHOD_NOT_ALLOWED);
            let detail = "the route does not take this method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        .layer(DefaultBodyLimit::max(api.body_limit))
        .layer(from_fn(frame::frame))
        .with_state(api)
}

/// Serves until `stop` is ready, then lets requests in progress finish for a moment.
pub async fn serve(listener: TcpListener, api: Api, stop: impl Future<Output = ()>) {
    listen::serve(listener, router(api), Bounds::default(), stop).await;
}
