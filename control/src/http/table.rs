//! The table of routes: each with its method and who may call it, in one place for the router, and for whoever must
//! know them all ([`super::routes`]).

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{self, MethodRouter};

use super::Api;
use super::access;
use crate::token::Scope;

/// One route of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The method in capitals. Where it is `GET`, `HEAD` is answered too.
    pub method: &'static str,
    /// The path, with `{names}` for what varies.
    pub path: &'static str,
    /// Whose token opens it; none: open to all.
    pub scope: Option<Scope>,
}

/// Routes as they are laid down, under the scope that was named last.
#[derive(Default)]
pub(super) struct Table {
    scope: Option<Scope>,
    rows: Vec<(Route, MethodRouter<Api>)>,
}

macro_rules! methods {
    ($($method:ident $name:literal)*) => {$(
        /// Answers this method on `path` with `handler`.
        pub(super) fn $method<H: Handler<T, Api>, T: 'static>(mut self, path: &'static str, handler: H) -> Self {
            let route = Route { method: $name, path, scope: self.scope };
            self.rows.push((route, routing::$method(handler)));
            self
        }
    )*};
}

impl Table {
    /// The routes that follow take a token of this scope; none: they are open to all.
    pub(super) fn of(mut self, scope: Option<Scope>) -> Self {
        self.scope = scope;
        self
    }

    methods! { get "GET" post "POST" put "PUT" patch "PATCH" delete "DELETE" }

    /// What was laid down, in that order.
    pub(super) fn routes(&self) -> Vec<Route> {
        self.rows.iter().map(|(route, _)| *route).collect()
    }

    /// The router, each route behind its guard.
    pub(super) fn router(self, api: &Api) -> Router<Api> {
        self.rows.into_iter().fold(Router::new(), |router, (route, answers)| {
            let guard = from_fn_with_state((api.access.clone(), route.scope), access::guard);
            router.route(route.path, answers.route_layer(guard))
        })
    }
}
