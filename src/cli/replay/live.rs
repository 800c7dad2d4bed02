//! The carrier's side of a tape, played against a running gateway.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use trunkline::dialect::{Body, Input, Port};
use trunkline::ids::CallTime;
use trunkline::tape::{Tape, What};

const DIAL_LIMIT: Duration = Duration::from_secs(10);
/// How long the gateway may take to close after the tape's last message.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Why a tape could not be played live.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiveError {
    #[error("the gateway does not answer in time")]
    Late,
    #[error("the gateway cannot be reached, or refused")]
    Dial(#[source] Box<WsError>),
    #[error("the stream ended before the tape's last message")]
    Early,
    #[error("cannot print")]
    Print(#[from] io::Error),
}

/// Plays a tape against `url`, and tells what came back.
///
/// # Errors
/// [`LiveError`]: there was no stream, or it ended before the tape did.
pub(super) async fn play(tape: &Tape, url: &str, out: &mut impl Write) -> Result<(), LiveError> {
    let dialled = timeout(DIAL_LIMIT, connect_async(url)).await.map_err(|_| LiveError::Late)?;
    let (socket, _) = dialled.map_err(|error| LiveError::Dial(Box::new(error)))?;
    let (mut writer, mut reader) = socket.split();
    let begun = Instant::now();
    let send = async move {
        for (at, message) in from_carrier(tape) {
            sleep_until(begun + at.since(CallTime::ZERO)).await;
            if writer.send(message).await.is_err() {
                // What the gateway said before is told all the same, by the reader.
                return std::future::pending().await;
            }
        }
        // Kept open until the gateway has closed.
        (writer, Instant::now() + CLOSE_LIMIT)
    };
    let mut came = Came::default();
    let (mut until, mut rest) = (None, None);
    tokio::pin!(send);
    let end = loop {
        let message = tokio::select! {
            // First, so that a message that has left is known to have left before the answer to it is read.
            biased;
            (writer, limit) = &mut send, if until.is_none() => {
                (until, rest) = (Some(limit), Some(writer));
                continue;
            }
            message = reader.next() => message,
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break StreamEnd::Held,
        };
        match message {
            Some(Ok(Message::Text(text))) => came.take(begun, text.as_str()),
            Some(Ok(Message::Close(frame))) => break StreamEnd::Closed(frame),
            Some(Ok(_)) => {}
            Some(Err(error)) => break StreamEnd::Broken(error),
            None => break StreamEnd::Closed(None),
        }
    };
    let is_whole = rest.is_some();
    if let Some(mut writer) = rest {
        let _ = timeout(CLOSE_LIMIT, writer.close()).await;
    }
    came.tell(begun.elapsed(), out)?;
    writeln!(out, "the end         {end}")?;
    if is_whole { Ok(()) } else { Err(LiveError::Early) }
}

/// What the carrier sent, and when.
fn from_carrier(tape: &Tape) -> impl Iterator<Item = (CallTime, Message)> {
    tape.entries.iter().filter_map(|entry| match &entry.what {
        What::Input(Input { port: Port::Carrier, body: Body::Text(text) }) => {
            Some((entry.at, Message::text(text.as_str())))
        }
        What::Input(Input { port: Port::Carrier, body: Body::Binary(bytes) }) => {
            Some((entry.at, Message::Binary(bytes.clone())))
        }
        What::Input(_) | What::Wake | What::Drain | What::Leave | What::Speech(_) | What::Lost(_) | What::End(_) => {
            None
        }
    })
}

/// How a stream ended.
enum StreamEnd {
    /// The gateway closed it, with what it said.
    Closed(Option<CloseFrame>),
    /// The connection broke.
    Broken(WsError),
    /// The gateway did not close it in time.
    Held,
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamEnd::Closed(Some(CloseFrame { code, reason })) => {
                write!(f, "closed by the gateway with code {}, {:?}", u16::from(*code), reason.as_str())
            }
            StreamEnd::Closed(None) => f.write_str("closed by the gateway without a code"),
            StreamEnd::Broken(error) => write!(f, "the connection broke: {error}"),
            StreamEnd::Held => write!(f, "not closed by the gateway within {} s", CLOSE_LIMIT.as_secs()),
        }
    }
}

/// What a gateway sent.
#[derive(Default)]
struct Came {
    first_media: Option<Duration>,
    events: BTreeMap<String, u64>,
    clears: Vec<Duration>,
}

impl Came {
    fn take(&mut self, begun: Instant, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let event = message.get("event").and_then(Value::as_str).unwrap_or("nonsense").to_owned();
        match event.as_str() {
            "media" => drop(self.first_media.get_or_insert_with(|| begun.elapsed())),
            "clear" => self.clears.push(begun.elapsed()),
            _ => {}
        }
        *self.events.entry(event).or_default() += 1;
    }

    fn tell(&self, lasted: Duration, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "played for      {:.2} s", lasted.as_secs_f64())?;
        match self.first_media {
            Some(first) => writeln!(out, "first audio     {:.3} s", first.as_secs_f64())?,
            None => writeln!(out, "first audio     none")?,
        }
        for (event, count) in &self.events {
            writeln!(out, "{:<16}{count}", event.escape_debug().to_string())?;
        }
        for at in &self.clears {
            writeln!(out, "clear at        {:.3} s", at.as_secs_f64())?;
        }
        Ok(())
    }
}
