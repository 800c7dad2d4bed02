//! Serving, and stopping politely.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Routes;
use super::door::Door;
use super::node::Node;

/// How long calls may take to say goodbye, once they have to end.
const GOODBYE_LIMIT: Duration = Duration::from_secs(20);
/// How long they may take to end after that.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Where a node listens.
#[derive(Debug)]
pub struct Listeners {
    /// For the carrier, and for everything else if there is no other.
    pub public: TcpListener,
    /// For the API, metrics and health, without TLS; open until the last call of a drain has ended.
    pub control: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(public: TcpListener) -> Self {
        Listeners { public, control: None }
    }
}

/// Serves until `stop`, then drains in two phases. First the node is no longer ready and new calls are sent away, but
/// streams that hold a token are still taken, until the last one that was handed out was used or is some seconds old. Then the public listener
/// closes and live calls finish; at the limit of the settings they say goodbye. The control listener closes last, after the
/// final numbers were fetched by whoever has fetched them before.
///
/// Dropping the future closes the listeners, warm sockets and every connection that is no call.
///
/// # Errors
/// A listener failed.
pub async fn serve(listeners: impl Into<Listeners>, node: Node, stop: CancellationToken) -> io::Result<()> {
    let Listeners { public, control } = listeners.into();
    node.locate(public.local_addr()?, control.as_ref().map(TcpListener::local_addr).transpose()?);
    let mut ahead = JoinSet::new();
    let mut beside = JoinSet::new();
    // To the very end, and no longer.
    if let Some(log) = &node.settings().log {
        beside.spawn(log.clone().keep());
    }
    let sent = CancellationToken::new();
    if let Some(traces) = &node.settings().traces {
        ahead.spawn(traces.clone().ship(sent.clone()));
    }
    // A node that is about to stop keeps nothing ready.
    node.keep_warm(&mut ahead, &node.stopping().drain);
    if let Some(tls) = &node.settings().tls {
        ahead.spawn(tls.clone().watch(node.stopping().drain.clone()));
    }
    if !node.settings().phrases.is_empty() {
        ahead.spawn(node.clone().speak_phrases());
    }
    if !node.settings().kept.is_empty() {
        ahead.spawn(node.clone().keep_within_age());
    }
    ahead.spawn(super::strain::watch(node.clone()));
    let life = async {
        serve_public(public, &node, &stop, control.is_some()).await?;
        if control.is_some() {
            node.numbers_fetched().await;
        }
        Ok::<(), io::Error>(())
    };
    match &control {
        None => life.await?,
        Some(listener) => {
            let mut door = Door::new(&node, Routes::Control);
            tokio::select! {
                failed = door.accept(listener) => return failed,
                ended = life => ended?,
            }
            door.begin_to_close();
            door.close().await;
        }
    }
    // Every call has ended: what is told of them is all there.
    sent.cancel();
    let left = async { while ahead.join_next().await.is_some() {} };
    let _ = timeout(END_LIMIT, left).await;
    node.finish_files().await;
    tracing::info!("drained");
    Ok(())
}

/// The carrier's side, from the first connection to the end of the last call.
async fn serve_public(
    listener: TcpListener,
    node: &Node,
    stop: &CancellationToken,
    has_control: bool,
) -> io::Result<()> {
    let routes = if has_control { Routes::Carrier } else { Routes::All };
    let mut door = Door::new(node, routes).speaking(node.settings().tls.clone());
    tokio::select! {
        failed = door.accept(&listener) => return failed,
        () = async { stop.cancelled().await; keep_promises(node).await } => {}
    }
    drop(listener);
    door.begin_to_close();
    finish_calls(node).await;
    door.close().await;
    // A stream whose request was still on its way when the last call ended. Once calls were ended by force, nobody waits again.
    if !node.stopping().cancel.is_cancelled() {
        finish_calls(node).await;
    }
    Ok(())
}

/// The first phase: nothing new, but what was promised is kept. A node without open promises does not wait.
async fn keep_promises(node: &Node) {
    node.stopping().drain.cancel();
    let promised = node.promised();
    tracing::info!(calls = node.running().len(), promised_s = promised.as_secs(), "draining");
    let kept = async {
        while !node.promised().is_zero() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let _ = timeout(promised, kept).await;
}

/// The second phase: live calls finish by themselves, or say goodbye at the limit.
async fn finish_calls(node: &Node) {
    let (calls, stopping) = (node.running(), node.stopping());
    calls.close();
    if timeout(node.settings().drain, calls.wait()).await.is_ok() {
        return;
    }
    tracing::warn!(calls = calls.len(), "the limit has passed: live calls say goodbye");
    stopping.leave.cancel();
    if timeout(GOODBYE_LIMIT, calls.wait()).await.is_ok() {
        return;
    }
    tracing::warn!(calls = calls.len(), "goodbye took too long: live calls end now");
    stopping.cancel.cancel();
    let _ = timeout(END_LIMIT, calls.wait()).await;
}
