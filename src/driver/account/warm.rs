//! Sockets that are dialled before there is a call for them: each belongs to one call from its adoption on.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Bytes, Message as WsMessage};
use tokio_util::sync::CancellationToken;

use super::Account;
use crate::dialect::Handshake;
use crate::driver::link::Line;

/// Wait after a dial that failed or was spared, before jitter, which at most doubles it.
const RETRY: Duration = Duration::from_secs(2);
/// A socket that says nothing is asked whether it is still there; one that does not answer until the next time is not.
const PING_EVERY: Duration = Duration::from_secs(20);
/// What a provider may say before it was asked anything. It is kept for the call; more than this is not waited for.
const EARLY_MESSAGES_MAX: usize = 8;
/// How long a goodbye may take.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// The way to a socket that waits.
struct Idle {
    handshake: Handshake,
    /// Whoever is sent here gets the line.
    claim: oneshot::Sender<oneshot::Sender<Line>>,
}

/// The warm sockets of one account, the oldest first.
#[derive(Default)]
pub(super) struct Pool(Mutex<VecDeque<Idle>>);

impl Pool {
    /// Takes over a socket that was dialled in the same way, if there is one. The oldest first, before it has to be renewed.
    pub(super) async fn adopt(&self, handshake: &Handshake) -> Option<Line> {
        loop {
            let idle = {
                let mut idle = self.idle();
                let at = idle.iter().position(|idle| idle.handshake == *handshake)?;
                idle.remove(at)?
            };
            let (give, given) = oneshot::channel();
            // One that has just been closed gives nothing: the next one may.
            if idle.claim.send(give).is_ok()
                && let Ok(line) = given.await
            {
                return Some(line);
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.idle().iter().filter(|idle| !idle.claim.is_closed()).count()
    }

    fn add(&self, idle: Idle) {
        self.idle().push_back(idle);
    }

    /// Forgets those that are gone.
    fn sweep(&self) {
        self.idle().retain(|idle| !idle.claim.is_closed());
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// Keeps as many sockets warm as the settings say, dialled with `handshake`, until `stop`; then says goodbye on them.
    ///
    /// Dropping the future drops the sockets without a goodbye.
    pub async fn keep_warm(self: Arc<Self>, handshake: Handshake, stop: CancellationToken) {
        let wanted = self.settings.warm as usize;
        let mut sockets = JoinSet::new();
        while !stop.is_cancelled() {
            self.pool.sweep();
            self.meter.warm(self.pool.len());
            let missing = sockets.len() < wanted;
            let refilled = async {
                if !missing {
                    return std::future::pending().await;
                }
                let line = self.dial_warm(&handshake).await;
                if line.is_none() {
                    sleep(RETRY + self.jitter.within(RETRY)).await;
                }
                line
            };
            let line = tokio::select! {
                () = stop.cancelled() => break,
                line = refilled => line,
                // Adopted, closed or too old.
                Some(_) = sockets.join_next() => continue,
            };
            if let Some(line) = line {
                let (claim, claimed) = oneshot::channel();
                self.pool.add(Idle { handshake: handshake.clone(), claim });
                // Spread, so that they do not grow old together.
                let age = self.settings.warm_age - self.jitter.within(self.settings.warm_age / 4);
                sockets.spawn(Box::pin(wait(line, claimed, Instant::now() + age, stop.clone())));
            }
        }
        while sockets.join_next().await.is_some() {}
        self.pool.sweep();
        self.meter.warm(0);
    }

    /// One more socket, if it can be had without keeping a call waiting.
    async fn dial_warm(self: &Arc<Self>, handshake: &Handshake) -> Option<Line> {
        let probe = self.admit().ok()?;
        self.dial_anew(handshake.clone(), probe, Duration::ZERO).await.ok()
    }
}

/// A warm socket's life: until it is claimed, closed, dead, too old, or nobody is served any more.
async fn wait(
    mut line: Line,
    claimed: oneshot::Receiver<oneshot::Sender<Line>>,
    old_at: Instant,
    stop: CancellationToken,
) {
    if let Some(hold) = &mut line.hold {
        hold.settle();
    }
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    let mut is_answered = true;
    tokio::pin!(claimed);
    loop {
        tokio::select! {
            biased;
            claim = &mut claimed => {
                // A call that is gone meanwhile drops the line, and the line its seat.
                if let Ok(give) = claim {
                    let _ = give.send(line);
                }
                return;
            }
            message = line.socket.next() => match hear(&mut line, message) {
                ControlFlow::Continue(()) => is_answered = true,
                ControlFlow::Break(()) => break,
            },
            _ = ping.tick() => {
                let asked = timeout(GOODBYE_LIMIT, line.socket.send(WsMessage::Ping(Bytes::new()))).await;
                if !std::mem::replace(&mut is_answered, false) || !matches!(asked, Ok(Ok(()))) {
                    break;
                }
            }
            () = sleep_until(old_at) => break,
            () = stop.cancelled() => break,
        }
    }
    // From here on nobody can claim it.
    claimed.close();
    // Whoever claimed it at the same moment learns that it is gone.
    drop(claimed.try_recv());
    let goodbye = async {
        let _ = line.socket.close(None).await;
        while matches!(line.socket.next().await, Some(Ok(_))) {}
    };
    let _ = timeout(GOODBYE_LIMIT, goodbye).await;
}

/// Takes what came on a socket that waits.
fn hear<E>(line: &mut Line, message: Option<Result<WsMessage, E>>) -> ControlFlow<()> {
    match message {
        // Reading answers pings.
        Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_))) => ControlFlow::Continue(()),
        Some(Ok(message @ (WsMessage::Text(_) | WsMessage::Binary(_)))) if line.early.len() < EARLY_MESSAGES_MAX => {
            line.early.push(message);
            ControlFlow::Continue(())
        }
        Some(Ok(WsMessage::Text(_) | WsMessage::Binary(_) | WsMessage::Close(_)) | Err(_)) | None => {
            ControlFlow::Break(())
        }
    }
}
