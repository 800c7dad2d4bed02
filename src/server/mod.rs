//! The HTTP side: webhooks, media streams, control, health, drain.

mod admission;
mod after;
pub mod aftermath;
mod api;
mod board;
mod calls;
mod carrier;
mod door;
mod drain;
pub mod facts;
mod failures;
mod fields;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod health;
mod lines;
mod log;
mod media;
mod node;
mod place;
mod play;
mod promises;
mod refusal;
mod relay;
mod remembered;
mod retention;
pub mod routes;
mod say;
mod seldom;
mod sources;
mod steer;
mod strain;
pub mod tls;
pub mod tokens;
pub mod twilio;
mod voices;
pub mod web;
mod webhook;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

pub use after::{AfterApp, AfterAppError};
pub use carrier::{Control, ControlError};
pub use drain::{Listeners, serve};
pub use log::LogSwitch;
pub use node::{AgentSettings, Busy, Hearer, Node, Settings, Speaker, Tapes, Trust};
pub use relay::RelayApp;
pub use retention::{Kept, KeptKind, Swept, sweep};
pub use sources::SourceLimits;

/// Longest body of a request that is not a stream, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Which routes a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routes {
    /// All of them.
    All,
    /// Those of the carrier, and health.
    Carrier,
    /// The API, metrics, and health.
    Control,
}

/// The routes, bare and under the path of the public URL, whichever of the two a proxy leaves.
pub fn router(node: Node, which: Routes) -> Router {
    let health = Router::new().route("/healthz", get(health::alive)).route("/readyz", get(health::ready));
    let routes = match which {
        Routes::All => health.merge(carrier(&node)).merge(routes::guarded(&node)),
        Routes::Carrier => health.merge(carrier(&node)),
        Routes::Control => health.merge(routes::guarded(&node)),
    };
    let routes = routes
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(no_store))
        .with_state(node.clone());
    let prefix = node.prefix().to_owned();
    // A path may begin with a colon or an asterisk, which older routers took for something else.
    let routes = if prefix.is_empty() { routes } else { routes.clone().without_v07_checks().nest(&prefix, routes) };
    routes.layer(from_fn_with_state(node.clone(), guard::open_mode)).layer(from_fn_with_state(node, guard::source))
}

fn carrier(node: &Node) -> Router<Node> {
    let webhooks = Router::new()
        .route("/twilio/voice", get(webhook::voice).post(webhook::voice))
        .route("/twilio/stream-status", post(webhook::stream_status))
        .layer(from_fn_with_state(node.clone(), guard::in_time));
    Router::new()
        .merge(webhooks)
        .route(after::AFTER, post(after::after))
        .route("/twilio/media", get(media::upgrade))
        .route("/twilio/media/", get(media::upgrade))
}

/// Nothing that we answer is worth keeping, and some of it is secret.
async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let value = axum::http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, value);
    response
}
