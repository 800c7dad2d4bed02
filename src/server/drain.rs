//! Serving, and stopping politely.

use std::future::IntoFuture as _;
use std::io;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::node::Node;
use super::router;

/// How long calls may take to end once they have to.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How long requests that are no calls may take to end once the listener is closed.
const REQUESTS_LIMIT: Duration = Duration::from_secs(5);

/// Serves until `stop`, then drains in two phases. First the node is no longer ready and new calls are sent away, but
/// streams that hold a token are still taken, until the last token that was handed out has expired. Then the listener
/// closes and live calls finish, within the limit of the settings.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, node: Node, stop: CancellationToken) -> io::Result<()> {
    let closed = CancellationToken::new();
    let listener = listener.tap_io(|stream| {
        // A frame every 20 ms must not wait for the next one. A socket that cannot is served all the same.
        let _ = stream.set_nodelay(true);
    });
    let close = closed.clone();
    let serving = axum::serve(listener, router(node.clone()))
        .with_graceful_shutdown(async move { close.cancelled().await })
        .into_future();
    let draining = async {
        stop.cancelled().await;
        drain(&node, &closed).await;
    };
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        () = draining => {}
    }
    // Event streams and waiting requests end with their calls; the rest is cut off.
    timeout(REQUESTS_LIMIT, serving).await.unwrap_or(Ok(()))
}

async fn drain(node: &Node, closed: &CancellationToken) {
    node.draining().cancel();
    let promised = node.promised();
    tracing::info!(calls = node.running().len(), promised_s = promised.as_secs(), "draining");
    // A node whose promises have all been kept need not wait for them to expire.
    let kept = async {
        while !node.promised().is_zero() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let _ = timeout(promised, kept).await;
    closed.cancel();
    node.running().close();
    let limit = node.settings().drain;
    if timeout(limit, node.running().wait()).await.is_err() {
        tracing::warn!(calls = node.running().len(), "the limit has passed: live calls end now");
        node.ending().cancel();
        let _ = timeout(END_LIMIT, node.running().wait()).await;
    }
    tracing::info!("drained");
}
