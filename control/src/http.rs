//! The HTTP API: routes, who may call them, and the server.
//!
//! Runs on the runtime's thread. Handlers are thin: they read, ask [`Masking`] or [`LiveCalls`], and write.
//! A token opens its own scope's routes: a wrong token is 401, another scope's token is 403.

mod auth;
mod body;
mod calls;
mod cities;
mod health;
mod listen;
mod problem;
mod recordings;
mod route;
mod stream;
mod trips;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{get, post, put};
use tokio::net::TcpListener;

use crate::live::LiveCalls;
use crate::masking::Masking;
use crate::token::{Scope, Tokens};
use listen::Bounds;
use problem::Problem;

/// What the routes work on.
#[derive(Clone)]
pub struct Api {
    /// Cities, trips, decisions.
    pub masking: Arc<Masking>,
    /// Calls in progress and the relay.
    pub live: Arc<dyn LiveCalls>,
    /// Who may call what.
    pub tokens: Arc<Tokens>,
    /// The state directory, for archives and the recorder's metrics.
    pub state: PathBuf,
    /// Longest body in bytes.
    pub body_limit: usize,
}

/// Every route.
pub fn router(api: Api) -> Router {
    let guarded = |scope: Scope, routes: Router<Api>| {
        routes.route_layer(from_fn_with_state((Arc::clone(&api.tokens), scope), auth::check))
    };
    let business = Router::new()
        .route("/v1/trips", post(trips::create).get(trips::list))
        .route("/v1/trips/{trip}", get(trips::read).patch(trips::amend))
        .route("/v1/trips/{trip}/close", post(trips::close));
    let proxy = Router::new().route("/v1/route", post(route::decide));
    let dispute = Router::new()
        .route("/v1/recordings", get(recordings::list))
        .route("/v1/recordings/{id}", get(recordings::read))
        .route("/v1/recordings/{id}/audio", get(recordings::audio));
    let operator = Router::new()
        .route("/v1/cities", get(cities::list))
        .route("/v1/cities/{city}", put(cities::put).get(cities::read))
        .route("/v1/calls", get(calls::list))
        .route("/v1/calls/{id}", get(calls::read));
    Router::new()
        .merge(guarded(Scope::Business, business))
        .merge(guarded(Scope::Proxy, proxy))
        .merge(guarded(Scope::Dispute, dispute))
        .merge(guarded(Scope::Operator, operator))
        .route("/metrics", get(health::metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(|| async { Problem::not_found("there is no such route") })
        .method_not_allowed_fallback(|| async {
            let detail = "the route does not take this method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        .layer(DefaultBodyLimit::max(api.body_limit))
        .layer(map_response(not_cached))
        .with_state(api)
}

/// Replies hold PINs and numbers: nobody in between keeps them.
async fn not_cached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Serves until `stop` is ready, then lets requests in progress finish for a moment.
pub async fn serve(listener: TcpListener, api: Api, stop: impl Future<Output = ()>) {
    listen::serve(listener, router(api), Bounds::default(), stop).await;
}
