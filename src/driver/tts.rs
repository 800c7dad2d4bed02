//! The links to the voices: one task per link, made and dropped as the core says.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dial::{Dialler, Socket};
use super::inbox::{Body, Input, Port, Refusal};
use super::local;
use crate::call::action::TtsCommand;
use crate::call::event::{Fault, FaultKind, TtsEvent, VoiceIndex};
use crate::dialect::{Handshake, Message, TtsDialect, fault_of_close, fault_of_status};
use crate::voice;

/// Messages that may wait for a voice's socket. The core holds text back when 20 s of a turn are unheard, and two turns are
/// synthesised at once, so that even one token for each letter does not fill this while the socket takes anything.
const OUTBOX_MESSAGES: usize = 1024;
/// A write that takes longer means that the voice is gone, whatever TCP says.
const WRITE_LIMIT: Duration = Duration::from_secs(2);
/// How long a voice may take to answer our goodbye: it counts sockets that were not closed in order.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// How long a socket that takes nothing any more is still read: what had come before it broke is to be heard.
const REST_LIMIT: Duration = Duration::from_millis(500);

/// How a voice is reached.
pub enum VoiceLink {
    /// Over a WebSocket.
    Socket {
        /// Its language, with this call's names in it.
        dialect: Box<dyn TtsDialect>,
        /// How to get there.
        dialler: Arc<Dialler>,
    },
    /// In this process.
    Local(voice::Pool),
}

impl std::fmt::Debug for VoiceLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            VoiceLink::Socket { .. } => "Socket",
            VoiceLink::Local(_) => "Local",
        })
    }
}

/// The live end of a link. When it is dropped, what waits is still written, then the link says goodbye.
struct Live {
    outbox: Outbox,
    _leave: DropGuard,
}

enum Outbox {
    Socket(mpsc::Sender<String>),
    Local(mpsc::Sender<TtsCommand>),
}

struct Link {
    voice: VoiceLink,
    live: Option<Live>,
    /// Counts the links to this voice.
    count: u32,
}

/// All links of a call.
pub(super) struct Links {
    links: Vec<Link>,
    inbox: mpsc::Sender<Input>,
}

impl Links {
    pub(super) fn new(voices: Vec<VoiceLink>, inbox: mpsc::Sender<Input>) -> Self {
        let links = voices.into_iter().map(|voice| Link { voice, live: None, count: 0 }).collect();
        Links { links, inbox }
    }

    /// Carries out a command. What comes back at once is the answer to it.
    pub(super) fn tell(&mut self, command: TtsCommand, tasks: &mut JoinSet<()>) -> Option<Input> {
        let voice = voice_of(&command);
        let inbox = self.inbox.clone();
        let link = self.links.get_mut(voice)?;
        match command {
            TtsCommand::Dial { .. } => {
                link.count += 1;
                let port = Port::Voice { voice, link: link.count };
                link.live = Some(link.voice.open(port, inbox, tasks));
                None
            }
            TtsCommand::HangUp { .. } => {
                link.live = None;
                None
            }
            TtsCommand::Speak { .. }
            | TtsCommand::Flush { .. }
            | TtsCommand::Finish { .. }
            | TtsCommand::Cancel { .. } => {
                let is_taken = match (&link.live.as_ref()?.outbox, &mut link.voice) {
                    (Outbox::Local(outbox), _) => outbox.try_send(command).is_ok(),
                    (Outbox::Socket(outbox), VoiceLink::Socket { dialect, .. }) => match dialect.encode(&command) {
                        Some(message) => !matches!(outbox.try_send(message), Err(mpsc::error::TrySendError::Full(_))),
                        None => true,
                    },
                    (Outbox::Socket(_), VoiceLink::Local(_)) => true,
                };
                let port = Port::Voice { voice, link: link.count };
                (!is_taken).then_some(Input { port, body: Body::Stuck })
            }
        }
    }

    /// What an input of a voice means; nothing if it is from a link that was dropped.
    pub(super) fn decode(&mut self, voice: VoiceIndex, count: u32, body: Body) -> Option<TtsEvent> {
        let link = self.links.get_mut(voice).filter(|link| link.count == count && link.live.is_some())?;
        let down = |fault: Fault| {
            // Said here and not in the core: the reason is for the operator, and holds nothing of the call.
            tracing::warn!(voice, reason = fault.reason, kind = ?fault.kind, "the link to the voice is down");
            TtsEvent::Down { voice, fault }
        };
        let event = match (body, &mut link.voice) {
            (Body::Text(text), VoiceLink::Socket { dialect, .. }) => dialect.decode(Message::Text(&text)),
            (Body::Binary(bytes), VoiceLink::Socket { dialect, .. }) => dialect.decode(Message::Binary(&bytes)),
            (Body::Voice(event), _) => event,
            (Body::Up, _) => TtsEvent::Up { voice },
            (Body::Refused(refusal), _) => down(fault_of_refusal(refusal)),
            (Body::Closed { code, reason }, _) => down(fault_of_close(code, &reason)),
            (Body::Stuck, _) => {
                down(Fault { kind: FaultKind::Retryable, reason: "the socket takes nothing any more".to_owned() })
            }
            (Body::Text(_) | Body::Binary(_) | Body::Oversize | Body::Agent(_), _) => TtsEvent::Garbage,
        };
        match &event {
            TtsEvent::Down { .. } => link.live = None,
            TtsEvent::Failed { fault, .. } => {
                tracing::warn!(voice, reason = fault.reason, kind = ?fault.kind, "the voice refused");
            }
            TtsEvent::Up { .. }
            | TtsEvent::Audio { .. }
            | TtsEvent::Words { .. }
            | TtsEvent::Done { .. }
            | TtsEvent::Ignored
            | TtsEvent::Garbage => {}
        }
        Some(event)
    }
}

impl VoiceLink {
    fn open(&self, port: Port, inbox: mpsc::Sender<Input>, tasks: &mut JoinSet<()>) -> Live {
        let leave = CancellationToken::new();
        let outbox = match self {
            VoiceLink::Socket { dialect, dialler } => {
                let (outbox, pending) = mpsc::channel(OUTBOX_MESSAGES);
                let teller = Teller { port, inbox, leave: leave.clone() };
                tasks.spawn(Box::pin(pump(dialect.handshake(), dialler.clone(), teller, pending)));
                Outbox::Socket(outbox)
            }
            VoiceLink::Local(pool) => {
                let (outbox, pending) = mpsc::channel(OUTBOX_MESSAGES);
                let serving = Box::pin(local::serve(pool.clone(), port, inbox, pending));
                let left = leave.clone();
                tasks.spawn(async move {
                    left.run_until_cancelled(serving).await;
                });
                Outbox::Local(outbox)
            }
        };
        Live { outbox, _leave: leave.drop_guard() }
    }
}

/// A link's way into the inbox.
struct Teller {
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
async fn pump(handshake: Handshake, dialler: Arc<Dialler>, teller: Teller, outbox: mpsc::Receiver<String>) {
    let dialled = teller.leave.run_until_cancelled(Box::pin(dialler.dial(handshake))).await;
    let end = match dialled {
        Some(Ok(socket)) => {
            teller.tell(Body::Up).await;
            match exchange(socket, &teller, outbox).await {
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

async fn exchange(socket: Socket, teller: &Teller, mut outbox: mpsc::Receiver<String>) -> Ended {
    let (mut writer, mut reader) = socket.split();
    let write = async {
        while let Some(message) = outbox.recv().await {
            let written = async {
                writer.feed(WsMessage::text(message)).await?;
                while let Ok(next) = outbox.try_recv() {
                    writer.feed(WsMessage::text(next)).await?;
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

fn fault_of_refusal(refusal: Refusal) -> Fault {
    match refusal {
        Refusal::Status(status) => fault_of_status(status),
        Refusal::Unreachable(reason) => Fault { kind: FaultKind::Retryable, reason },
        Refusal::Untrusted(reason) => Fault { kind: FaultKind::Fatal, reason },
    }
}

fn voice_of(command: &TtsCommand) -> VoiceIndex {
    match command {
        TtsCommand::Dial { voice } | TtsCommand::HangUp { voice } | TtsCommand::Cancel { voice, .. } => *voice,
        TtsCommand::Speak { on, .. } | TtsCommand::Flush { on } | TtsCommand::Finish { on } => on.voice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ContextId, TurnId};

    #[tokio::test]
    async fn the_last_words_of_a_dropped_link_are_not_its_successors() {
        let (inbox, _held) = mpsc::channel(8);
        let pool = voice::Pool::new(voice::Settings::default());
        let (mut links, mut tasks) = (Links::new(vec![VoiceLink::Local(pool)], inbox), JoinSet::new());
        let done = || Body::Voice(TtsEvent::Done { context: ContextId { turn: TurnId(1), serial: 1 } });
        assert_eq!(links.decode(0, 0, done()), None);
        links.tell(TtsCommand::Dial { voice: 0 }, &mut tasks);
        assert!(links.decode(0, 1, done()).is_some());
        links.tell(TtsCommand::HangUp { voice: 0 }, &mut tasks);
        assert_eq!(links.decode(0, 1, done()), None);
        links.tell(TtsCommand::Dial { voice: 0 }, &mut tasks);
        assert_eq!(links.decode(0, 1, done()), None);
        assert!(links.decode(0, 2, done()).is_some());
        // The end of a link is told once.
        let closed = || Body::Closed { code: Some(1011), reason: String::new() };
        assert!(matches!(links.decode(0, 2, closed()), Some(TtsEvent::Down { .. })));
        assert_eq!(links.decode(0, 2, closed()), None);
        while tasks.join_next().await.is_some() {}
    }
}
