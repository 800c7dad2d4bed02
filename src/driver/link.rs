//! A socket that we dialled, whoever is at its other end: one task that dials, then moves messages both ways.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::account::{Account, Hold};
use super::dial::{Dialler, Socket};
use crate::dialect::{Body, Handshake, Input, Outgoing, Port, Refusal};

/// A write that takes longer means that the peer is gone, whatever TCP says.
const WRITE_LIMIT: Duration = Duration::from_secs(2);
/// How long a peer may take to answer our goodbye: vendors count sockets that were not closed in order.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// How long a socket that takes nothing any more is still read: what had come before it broke is to be heard.
const REST_LIMIT: Duration = Duration::from_millis(500);

/// How a link is made.
pub(super) enum Door {
    /// It is dialled.
    Open(Arc<Dialler>),
    /// By the leave of the account that all calls share.
    Shared(Arc<Account>),
}

impl From<Arc<Dialler>> for Door {
    fn from(dialler: Arc<Dialler>) -> Self {
        Door::Open(dialler)
    }
}

impl From<Arc<Account>> for Door {
    fn from(account: Arc<Account>) -> Self {
        Door::Shared(account)
    }
}

impl Door {
    async fn dial(&self, handshake: Handshake) -> Result<Line, Refusal> {
        match self {
            Door::Open(dialler) => {
                let socket = Box::pin(dialler.dial(handshake)).await?;
                Ok(Line { socket, early: Vec::new(), hold: None })
            }
            Door::Shared(account) => Box::pin(account.dial(handshake)).await,
        }
    }
}

/// A socket that was made, and what goes with it.
pub(super) struct Line {
    pub(super) socket: Socket,
    /// What the peer said before anybody listened.
    pub(super) early: Vec<WsMessage>,
    /// What it takes up in the account, until it is dropped.
    pub(super) hold: Option<Hold>,
}

/// The live end of a link. When it is dropped, what waits is still written, then the link says goodbye.
pub(super) struct Live {
    outbox: mpsc::Sender<Outgoing>,
    _leave: DropGuard,
}

impl Live {
    /// Begins a link through `door`. Its answers, from [`Body::Up`] on, come into `inbox` from `port`; at most `capacity` messages wait
    /// for it.
    pub(super) fn open(
        handshake: Handshake,
        door: impl Into<Door>,
        port: Port,
        inbox: mpsc::Sender<Input>,
        capacity: usize,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let leave = CancellationToken::new();
        let (outbox, pending) = mpsc::channel(capacity);
        let teller = Teller { port, inbox, leave: leave.clone() };
        tasks.spawn(Box::pin(pump(handshake, door.into(), teller, pending)));
        Live { outbox, _leave: leave.drop_guard() }
    }

    /// Gives the link a message; whether there was room for it. One that has ended takes everything: its end is told apart.
    pub(super) fn send(&self, message: Outgoing) -> bool {
        !matches!(self.outbox.try_send(message), Err(mpsc::error::TrySendError::Full(_)))
    }
}

/// A link's way into the inbox.
pub(super) struct Teller {
    port: Port,
    inbox: mpsc::Sender<Input>,
    /// Cancelled when nobody wants to hear of the link any more.
    leave: CancellationToken,
}

impl Teller {
    /// Waits while the inbox is full, which stops the reading of the socket, but not beyond the link's end.
    async fn tell(&self, body: Body) {
        let sent = self.inbox.send(Input { port: self.port, body });
        // When the call is over, so is the link: there is nothing left to do about a failure.
        let _ = self.leave.run_until_cancelled(sent).await;
    }
}

/// Dials, then moves messages both ways until either side ends.
async fn pump(handshake: Handshake, door: Door, teller: Teller, outbox: mpsc::Receiver<Outgoing>) {
    let dialled = teller.leave.run_until_cancelled(Box::pin(door.dial(handshake))).await;
    let end = match dialled {
        Some(Ok(line)) => {
            teller.tell(Body::Up).await;
            match exchange(line, &teller, outbox).await {
                Ended::Told => return,
                Ended::Broken => Body::Closed { code: None, reason: String::new() },
            }
        }
        Some(Err(refusal)) => Body::Refused(refusal),
        None => return,
    };
    teller.tell(end).await;
}

/// How an exchange ended.
enum Ended {
    /// The peer closed it, which the inbox knows.
    Told,
    /// Without a close frame.
    Broken,
}

async fn exchange(line: Line, teller: &Teller, mut outbox: mpsc::Receiver<Outgoing>) -> Ended {
    let Line { socket, early, hold: _hold } = line;
    let (mut writer, reader) = socket.split();
    let mut reader = stream::iter(early.into_iter().map(Ok)).chain(reader);
    let write = async {
        while let Some(message) = outbox.recv().await {
            let written = async {
                writer.feed(ws_message(message)).await?;
                while let Ok(next) = outbox.try_recv() {
                    writer.feed(ws_message(next)).await?;
                }
                writer.flush().await
            };
            if !matches!(timeout(WRITE_LIMIT, written).await, Ok(Ok(()))) {
                return sleep(REST_LIMIT).await;
            }
        }
        // Whether it was written or not, the reading half ends the exchange: with the answer, or without.
        let _ = timeout(WRITE_LIMIT, writer.close()).await;
        std::future::pending().await
    };
    let read = async {
        loop {
            let body = match reader.next().await {
                Some(Ok(WsMessage::Text(text))) => Body::Text(text.as_str().to_owned()),
                Some(Ok(WsMessage::Binary(bytes))) => Body::Binary(bytes),
                Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_))) => continue,
                Some(Ok(WsMessage::Close(frame))) => {
                    let (code, reason) =
                        frame.map_or((None, String::new()), |f| (Some(u16::from(f.code)), f.reason.to_string()));
                    teller.tell(Body::Closed { code, reason }).await;
                    // Asking once more sends our own close frame, which the vendor waits for.
                    let _ = timeout(GOODBYE_LIMIT, reader.next()).await;
                    return Ended::Told;
                }
                Some(Err(_)) | None => return Ended::Broken,
            };
            teller.tell(body).await;
        }
    };
    let gone = async {
        teller.leave.cancelled().await;
        sleep(GOODBYE_LIMIT).await;
    };
    tokio::select! { ended = read => ended, () = write => Ended::Broken, () = gone => Ended::Broken }
}

fn ws_message(message: Outgoing) -> WsMessage {
    match message {
        Outgoing::Text(text) => WsMessage::text(text),
        Outgoing::Binary(bytes) => WsMessage::binary(bytes),
        Outgoing::Close { code, reason } => {
            WsMessage::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
        }
    }
}
