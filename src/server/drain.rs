//! Serving, and stopping politely.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::node::Node;
use super::router;

/// How long calls may take to end once they have to.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How long requests that are no calls may take to end once there is no call any more.
const REQUESTS_LIMIT: Duration = Duration::from_secs(5);
/// How long the head of a request may take to come, the wait for it on a connection that is kept alive included.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Longest head of a request in bytes, and how far a streamed body is read ahead. Least that `hyper` takes is 8192.
const READ_BYTES_MAX: usize = 16 * 1024;
/// Connections beside those of calls: requests, event streams, text streams. Further ones wait to be accepted.
const CONNECTIONS_SPARE: usize = 1_024;
/// Wait after the system refused a connection, out of descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then drains in two phases. First the node is no longer ready and new calls are sent away, but
/// streams that hold a token are still taken, until the last token that was handed out has expired. Then the listener
/// closes and live calls finish, within the limit of the settings.
///
/// Dropping the future closes the listener, warm sockets and every connection that is no call.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, node: Node, stop: CancellationToken) -> io::Result<()> {
    let mut door = Door::new(&node);
    let mut ahead = JoinSet::new();
    // A node that is about to stop keeps nothing ready.
    node.keep_warm(&mut ahead, node.draining());
    if !node.settings().phrases.is_empty() {
        ahead.spawn(node.clone().speak_phrases());
    }
    tokio::select! {
        failed = door.accept(&listener) => return failed,
        () = async { stop.cancelled().await; keep_promises(&node).await } => {}
    }
    drop(listener);
    door.closing.cancel();
    finish_calls(&node).await;
    door.close().await;
    let left = async { while ahead.join_next().await.is_some() {} };
    let _ = timeout(END_LIMIT, left).await;
    node.finish_tapes().await;
    tracing::info!("drained");
    Ok(())
}

/// Every connection that is not a media stream. A free task would outlive the server.
struct Door {
    router: Router,
    connections: JoinSet<()>,
    connections_max: usize,
    /// Cancelled when connections have to end after the request that they are at.
    closing: CancellationToken,
}

impl Door {
    fn new(node: &Node) -> Self {
        Door {
            router: router(node.clone()),
            connections: JoinSet::new(),
            connections_max: node.settings().calls_max.saturating_add(CONNECTIONS_SPARE),
            closing: CancellationToken::new(),
        }
    }

    /// Accepts connections for as long as it is polled. Cancel-safe.
    async fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let has_room = self.connections.len() < self.connections_max;
            let accepted = tokio::select! {
                Some(_) = self.connections.join_next() => continue,
                accepted = listener.accept(), if has_room => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    self.connections.spawn(connection(stream, self.router.clone(), self.closing.clone()));
                }
                // Not a listener (any more).
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Event streams and waiting requests end with their calls; what is left then is cut off.
    async fn close(mut self) {
        let ended = async { while self.connections.join_next().await.is_some() {} };
        let _ = timeout(REQUESTS_LIMIT, ended).await;
        self.connections.shutdown().await;
    }
}

async fn connection(stream: TcpStream, router: Router, closing: CancellationToken) {
    // A frame every 20 ms must not wait for the next one. A socket that cannot is served all the same.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(READ_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    // What goes wrong on a connection is its client's affair: there is nobody to answer any more.
    tokio::select! {
        _ = &mut connection => return,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// The first phase: nothing new, but what was promised is kept. A node without open promises does not wait.
async fn keep_promises(node: &Node) {
    node.draining().cancel();
    let promised = node.promised();
    tracing::info!(calls = node.running().len(), promised_s = promised.as_secs(), "draining");
    let kept = async {
        while !node.promised().is_zero() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let _ = timeout(promised, kept).await;
}

/// The second phase: live calls finish by themselves, or are ended at the limit.
async fn finish_calls(node: &Node) {
    node.running().close();
    if timeout(node.settings().drain, node.running().wait()).await.is_err() {
        tracing::warn!(calls = node.running().len(), "the limit has passed: live calls end now");
        node.ending().cancel();
        let _ = timeout(END_LIMIT, node.running().wait()).await;
    }
}
