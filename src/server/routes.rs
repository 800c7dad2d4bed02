//! The routes of the HTTP API, and what somebody must be allowed to do who asks for each.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{self, MethodRouter};

use super::node::Node;
use super::tokens::Scope;
use super::{api, guard, health, log, place, play, say, steer, voices};

/// A route of the API.
pub struct Route {
    /// Method, in capitals.
    pub method: &'static str,
    /// Path, with `{id}` where a call is named.
    pub path: &'static str,
    /// What a token must be good for.
    pub scope: Scope,
    handler: MethodRouter<Node>,
}

/// All of them. Whatever is not in here asks for no token: the carrier's routes, which are signed, and the health of the node.
pub fn routes() -> Vec<Route> {
    use Scope::{Admin, Calls, Metrics, Read, Speak};
    vec![
        get("/v1/calls", Read, api::list),
        post("/v1/calls", Calls, place::place),
        get("/v1/calls/{id}", Read, api::show),
        delete("/v1/calls/{id}", Calls, steer::hang_up),
        post("/v1/calls/{id}/say", Speak, say::say),
        post("/v1/calls/{id}/play", Speak, play::play),
        post("/v1/calls/{id}/clear", Speak, api::clear),
        post("/v1/calls/{id}/transfer", Calls, steer::transfer),
        post("/v1/calls/{id}/redirect", Calls, steer::redirect),
        post("/v1/calls/{id}/digits", Calls, steer::digits),
        get("/v1/calls/{id}/events", Read, api::events),
        get("/v1/voices", Read, voices::list),
        get("/v1/log", Admin, log::show),
        put("/v1/log", Admin, log::set),
        get("/metrics", Metrics, health::metrics),
    ]
}

/// The API behind its guard.
pub(super) fn guarded(node: &Node) -> Router<Node> {
    routes().into_iter().fold(Router::new(), |router, Route { path, scope, handler, .. }| {
        router.route(path, handler.layer(from_fn_with_state((node.clone(), scope), guard::api)))
    })
}

fn get<H: Handler<T, Node>, T: 'static>(path: &'static str, scope: Scope, handler: H) -> Route {
    Route { method: "GET", path, scope, handler: routing::get(handler) }
}

fn post<H: Handler<T, Node>, T: 'static>(path: &'static str, scope: Scope, handler: H) -> Route {
    Route { method: "POST", path, scope, handler: routing::post(handler) }
}

fn put<H: Handler<T, Node>, T: 'static>(path: &'static str, scope: Scope, handler: H) -> Route {
    Route { method: "PUT", path, scope, handler: routing::put(handler) }
}

fn delete<H: Handler<T, Node>, T: 'static>(path: &'static str, scope: Scope, handler: H) -> Route {
    Route { method: "DELETE", path, scope, handler: routing::delete(handler) }
}
