//! The one inbox of a call: everything that enters it, in one order. This is where tapes will be recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::call::event::{AgentEvent, CarrierEvent, TtsEvent, VoiceIndex};
use crate::dialect::{CarrierDialect, Message};
use crate::ids::TurnId;

/// Inputs that may wait. A full inbox makes the pumps wait, which stops the reading of their sockets.
const INBOX_INPUTS: usize = 256;

/// Where an input came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The carrier's socket.
    Carrier,
    /// The link to a voice; links are counted, so that the last words of a dead one are not taken for its successor's.
    Voice {
        /// Which voice.
        voice: VoiceIndex,
        /// Which of its links.
        link: u32,
    },
    /// An agent, or a person through the API.
    Agent,
}

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Bytes),
    /// A message too long to be read.
    Oversize,
    /// The socket is open.
    Up,
    /// The socket could not be opened.
    Refused(Refusal),
    /// The socket was closed, or broke.
    Closed {
        /// Close code, if the peer said one.
        code: Option<u16>,
        /// The peer's reason.
        reason: String,
    },
    /// Our outbox for the socket is full: it takes nothing any more.
    Stuck,
    /// What an agent wants.
    Agent(AgentEvent),
    /// What a voice in this process answered.
    Voice(TtsEvent),
}

/// Why a socket could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server answered with an HTTP status other than 101.
    Status(u16),
    /// It could not be reached, or not in time.
    Unreachable(String),
    /// It can be reached but must not be trusted.
    Untrusted(String),
}

/// One input of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Where it came from.
    pub port: Port,
    /// What it is.
    pub body: Body,
}

/// The reading end.
#[derive(Debug)]
pub struct Inbox {
    sender: mpsc::Sender<Input>,
    receiver: mpsc::Receiver<Input>,
}

impl Inbox {
    /// The next input. Cancel-safe.
    pub async fn next(&mut self) -> Option<Input> {
        self.receiver.recv().await
    }

    pub(super) fn sender(&self) -> mpsc::Sender<Input> {
        self.sender.clone()
    }
}

/// The call is over, so that nothing can be said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call is over")]
pub struct CallOver;

/// An agent's way into a call.
#[derive(Clone, Debug)]
pub struct CallPort {
    sender: mpsc::Sender<Input>,
    turns: Arc<AtomicU32>,
}

impl CallPort {
    /// A turn that nobody else has.
    pub fn next_turn(&self) -> TurnId {
        TurnId(self.turns.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether `turn` was given out.
    pub fn knows(&self, turn: TurnId) -> bool {
        turn.0 >= 1 && turn.0 <= self.turns.load(Ordering::Relaxed)
    }

    /// Gives the call an event. Waits while the inbox is full. Cancel-safe: the event is sent whole or not at all.
    ///
    /// # Errors
    /// [`CallOver`].
    pub async fn send(&self, event: AgentEvent) -> Result<(), CallOver> {
        self.sender.send(Input { port: Port::Agent, body: Body::Agent(event) }).await.map_err(|_| CallOver)
    }
}

/// A call's inbox, and an agent's way into it.
pub fn inbox() -> (CallPort, Inbox) {
    let (sender, receiver) = mpsc::channel(INBOX_INPUTS);
    (CallPort { sender: sender.clone(), turns: Arc::default() }, Inbox { sender, receiver })
}

/// What an input from the carrier means.
pub fn carrier_event(dialect: &mut dyn CarrierDialect, body: &Body) -> CarrierEvent {
    match body {
        Body::Text(text) => dialect.decode(Message::Text(text)),
        Body::Binary(bytes) => dialect.decode(Message::Binary(bytes)),
        Body::Oversize | Body::Closed { .. } | Body::Stuck | Body::Refused(_) => CarrierEvent::Lost,
        Body::Up | Body::Agent(_) | Body::Voice(_) => CarrierEvent::Ignored,
    }
}
