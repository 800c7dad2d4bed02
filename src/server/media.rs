//! The carrier's WebSocket: from the upgrade to the end of the call.

use std::error::Error;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{OriginalUri, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument as _;

use super::calls::CallLimits;
use super::guard::{refuse, signature_headers};
use super::node::{Node, Trust};
use super::twilio::token::PARAMETER;
use crate::call::event::{CarrierEvent, Start};
use crate::dialect::twilio::Twilio;
use crate::dialect::{Body, Input, Port, carrier_event};
use crate::driver::meter::Limit;
use crate::driver::{CLOSE_OVERSIZE, Frame, MESSAGE_BYTES_MAX};

/// A stream that has not been accepted by then is closed.
const START_LIMIT: Duration = Duration::from_secs(5);
/// Messages that may come before `start`.
const BEFORE_START_MAX: usize = 64;
/// How long a peer that is turned away may take to hear it.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);
/// Close code for a peer that is not allowed to do what it does (RFC 6455, section 7.4.1).
const CLOSE_POLICY: u16 = 1008;
/// Close code for a server that is too busy (IANA's registry of WebSocket close codes).
const CLOSE_TRY_LATER: u16 = 1013;
/// A 20 ms frame takes 400 bytes. The default of 128 KiB would be zero-filled before every read and double the CPU.
const READ_BYTES: usize = 2 * 1024;
const WRITE_BYTES: usize = 4 * 1024;
/// What the WebSocket layer reads at most. Above our own limit, so that a long message can be answered with a code.
const READABLE_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// `GET /twilio/media`: a media stream.
pub(super) async fn upgrade(
    State(node): State<Node>,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Trust::Signed { verifier, .. } = &node.settings().trust {
        // Our own route, never the path as it came: which of the two a proxy leaves is its affair.
        let route = if uri.path().ends_with('/') { "/twilio/media/" } else { "/twilio/media" };
        if let Err(refusal) = verifier.upgrade(route, query.as_deref(), signature_headers(&headers)) {
            return refuse(&node, &refusal);
        }
    }
    let Some(arrival) = node.admission().arrival() else {
        node.refused_by(Limit::Arrivals);
        return (StatusCode::SERVICE_UNAVAILABLE, "too many streams have not begun yet\n").into_response();
    };
    let running = node.running().token();
    upgrade
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(16 * WRITE_BYTES)
        .max_message_size(READABLE_BYTES_MAX)
        .max_frame_size(READABLE_BYTES_MAX)
        .on_upgrade(async move |socket| {
            Box::pin(stream(node, socket, arrival)).await;
            drop(running);
        })
}

/// Why a stream is not accepted.
#[derive(Debug, thiserror::Error)]
enum Unwelcome {
    #[error("it did not start in time")]
    Late,
    #[error("it ended before it started")]
    Gone,
    #[error("it said too much before it started")]
    Noise,
    #[error("a message was too long")]
    Oversize,
    #[error("its token is missing")]
    NoToken,
    #[error("its token is not good")]
    Token(#[from] super::twilio::token::TokenError),
}

/// A stream that began.
struct Opened {
    start: Start,
    /// What it said so far, `start` last.
    first: Vec<Input>,
    is_promised: bool,
}

async fn stream(node: Node, socket: WebSocket, arrival: OwnedSemaphorePermit) {
    let (writer, reader) = socket.split();
    let (mut writer, mut reader) = (frames_out(writer), frames_in(reader));
    let mut dialect = Twilio::default();
    let until = Instant::now() + START_LIMIT;
    let opened = timeout_at(until, open(&node, &mut dialect, &mut reader)).await.unwrap_or(Err(Unwelcome::Late));
    drop(arrival);
    match opened {
        Ok(Opened { start, first, is_promised }) => {
            // At every level of the log: it may be raised while the call is on, and then its lines need the name.
            let span = tracing::error_span!("call", call = %start.call, stream = %start.stream);
            let seated = span.in_scope(|| node.seat(is_promised));
            match seated {
                Ok(seat) => {
                    let limits = CallLimits { seat, stopping: node.stopping().clone() };
                    let call = super::calls::run(&node, &start, first, Box::new(dialect), reader, writer, limits);
                    call.instrument(span).await;
                }
                Err(refused) => {
                    // What follows the stream at the carrier is no app's affair: it never saw the call.
                    node.aftermath().turn_away(&start.call);
                    let Some(_place) = node.admission().apology() else {
                        return turn_away(&mut writer, &mut reader, CLOSE_TRY_LATER, refused.reason()).await;
                    };
                    let call = super::refusal::apologise(&node, &start, first, Box::new(dialect), reader, writer);
                    call.instrument(span).await;
                }
            }
        }
        Err(reason) => {
            node.meter().refused("stream");
            match reason {
                Unwelcome::Late => node.meter().limit(Limit::FirstMessage),
                Unwelcome::Noise => node.meter().limit(Limit::MessageRate),
                Unwelcome::Oversize => node.meter().limit(Limit::MessageSize),
                Unwelcome::Gone | Unwelcome::NoToken | Unwelcome::Token(_) => {}
            }
            let cause = reason.source().map(ToString::to_string);
            node.tell("stream", |more| tracing::warn!(%reason, cause, more, "a stream is turned away"));
            let code = if matches!(reason, Unwelcome::Oversize) { CLOSE_OVERSIZE } else { CLOSE_POLICY };
            turn_away(&mut writer, &mut reader, code, &reason.to_string()).await;
        }
    }
}

/// Reads up to an acceptable `start`. Nothing is dialled before.
async fn open(
    node: &Node,
    dialect: &mut Twilio,
    reader: &mut (impl Stream<Item = Frame> + Unpin),
) -> Result<Opened, Unwelcome> {
    let mut first = Vec::new();
    while first.len() < BEFORE_START_MAX {
        let body = match reader.next().await {
            Some(Frame::Text(text)) => Body::Text(text),
            Some(Frame::Binary(bytes)) => Body::Binary(bytes),
            Some(Frame::Alive) => continue,
            Some(Frame::Oversize) => return Err(Unwelcome::Oversize),
            Some(Frame::Close(..)) | None => return Err(Unwelcome::Gone),
        };
        let event = carrier_event(dialect, &body);
        first.push(Input { port: Port::Carrier, body });
        if let CarrierEvent::Started(start) = event {
            let is_promised = admit(node, &start)?;
            return Ok(Opened { start: *start, first, is_promised });
        }
        if event == CarrierEvent::Stopped {
            return Err(Unwelcome::Gone);
        }
    }
    Err(Unwelcome::Noise)
}

/// Whether the stream was promised a seat.
fn admit(node: &Node, start: &Start) -> Result<bool, Unwelcome> {
    match (&node.settings().trust, start.parameters.get(PARAMETER)) {
        (Trust::Signed { .. }, None) => Err(Unwelcome::NoToken),
        (Trust::Signed { .. }, Some(token)) => Ok(node.redeem(token, &start.call)?),
        // Whoever was given a token used it; without trust it keeps nobody out.
        (Trust::Open | Trust::Insecure, token) => {
            Ok(token.is_some_and(|token| node.redeem(token, &start.call).unwrap_or(false)))
        }
    }
}

async fn turn_away(
    writer: &mut (impl Sink<Frame> + Unpin),
    reader: &mut (impl Stream<Item = Frame> + Unpin),
    code: u16,
    reason: &str,
) {
    // What is still under way is read and dropped: unread bytes would turn the close frame into a reset.
    let goodbye = async {
        let _ = writer.send(Frame::Close(Some(code), reason.to_owned())).await;
        while !matches!(reader.next().await, None | Some(Frame::Close(..))) {}
    };
    let _ = timeout(GOODBYE_LIMIT, goodbye).await;
}

fn frames_in(reader: SplitStream<WebSocket>) -> impl Stream<Item = Frame> + Send + Unpin {
    reader.map(|message| match message {
        Ok(Message::Text(text)) if text.len() > MESSAGE_BYTES_MAX => Frame::Oversize,
        Ok(Message::Binary(bytes)) if bytes.len() > MESSAGE_BYTES_MAX => Frame::Oversize,
        Ok(Message::Text(text)) => Frame::Text(text.as_str().to_owned()),
        Ok(Message::Binary(bytes)) => Frame::Binary(bytes),
        Ok(Message::Ping(_) | Message::Pong(_)) => Frame::Alive,
        Ok(Message::Close(frame)) => match frame {
            Some(frame) => Frame::Close(Some(frame.code), frame.reason.to_string()),
            None => Frame::Close(None, String::new()),
        },
        Err(error) if is_oversize(&error) => Frame::Oversize,
        Err(_) => Frame::Close(None, String::new()),
    })
}

fn frames_out(writer: SplitSink<WebSocket, Message>) -> impl Sink<Frame, Error = axum::Error> + Send + Unpin {
    Box::pin(writer.with(async |frame: Frame| {
        Ok::<_, axum::Error>(match frame {
            Frame::Text(text) => Message::text(text),
            Frame::Binary(bytes) => Message::Binary(bytes),
            Frame::Alive | Frame::Oversize => Message::Ping(axum::body::Bytes::new()),
            Frame::Close(code, reason) => {
                Message::Close(code.map(|code| CloseFrame { code, reason: reason.as_str().into() }))
            }
        })
    }))
}

fn is_oversize(error: &(dyn Error + 'static)) -> bool {
    use tokio_tungstenite::tungstenite::Error as WsError;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if matches!(error.downcast_ref::<WsError>(), Some(WsError::Capacity(_))) {
            return true;
        }
        cause = error.source();
    }
    false
}
