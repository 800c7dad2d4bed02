//! The HTTP side: webhooks, media streams, control, health, drain.

mod after;
pub mod aftermath;
mod api;
mod board;
mod calls;
mod carrier;
mod drain;
pub mod facts;
mod fields;
mod guard;
mod health;
mod media;
mod node;
mod place;
mod play;
mod promises;
mod relay;
mod remembered;
mod say;
mod steer;
pub mod twilio;
mod voices;
pub mod web;
mod webhook;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};

pub use after::{AfterApp, AfterAppError};
pub use carrier::{Control, ControlError};
pub use drain::serve;
pub use node::{AgentSettings, Hearer, Node, Settings, Speaker, Tapes, Trust};
pub use relay::RelayApp;

/// Longest body of a request that is not a stream, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Every route, bare and under the path of the public URL, whichever of the two a proxy leaves.
pub fn router(node: Node) -> Router {
    let routes = routes(node.clone());
    let prefix = node.prefix().to_owned();
    // A path may begin with a colon or an asterisk, which older routers took for something else.
    let routes = if prefix.is_empty() { routes } else { routes.clone().without_v07_checks().nest(&prefix, routes) };
    routes.layer(from_fn_with_state(node, guard::open_mode))
}

fn routes(node: Node) -> Router {
    let api = Router::new()
        .route("/v1/calls", get(api::list).post(place::place))
        .route("/v1/calls/{id}", get(api::show))
        .route("/v1/calls/{id}", delete(steer::hang_up))
        .route("/v1/calls/{id}/say", post(say::say))
        .route("/v1/calls/{id}/play", post(play::play))
        .route("/v1/calls/{id}/clear", post(api::clear))
        .route("/v1/calls/{id}/transfer", post(steer::transfer))
        .route("/v1/calls/{id}/redirect", post(steer::redirect))
        .route("/v1/calls/{id}/digits", post(steer::digits))
        .route("/v1/calls/{id}/events", get(api::events))
        .route("/v1/voices", get(voices::list))
        .route("/metrics", get(health::metrics))
        .layer(from_fn_with_state(node.clone(), guard::api_token));
    let webhooks = Router::new()
        .route("/twilio/voice", get(webhook::voice).post(webhook::voice))
        .route("/twilio/stream-status", post(webhook::stream_status))
        .layer(from_fn(guard::in_time));
    Router::new()
        .merge(webhooks)
        .route(after::AFTER, post(after::after))
        .route("/twilio/media", get(media::upgrade))
        .route("/twilio/media/", get(media::upgrade))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .merge(api)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(no_store))
        .with_state(node)
}

/// Nothing that we answer is worth keeping, and some of it is secret.
async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let value = axum::http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, value);
    response
}
