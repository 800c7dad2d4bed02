//! The socket and the clock of one call; everything else is [`Phone`].

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::sync::CancellationToken;

use super::dial::{Address, Connection, DialError};
use super::figures;
use super::log::{EndedBy, Log, TimelineEntry};
use super::phone::Phone;
use super::plan::Plan;
use super::recording::Recording;
use super::report::Report;
use super::signature;
use crate::ids::CallTime;

/// Longest time for one write, after which the gateway counts as stuck.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// Longest time for the closing handshake.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// Longest message taken: 90 seconds of audio, more than any gateway should send at once.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// What a call left behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figures.
    pub report: Report,
    /// What was spoken and played.
    pub recording: Recording,
    /// Every event, stamped.
    pub log: Log,
    /// The events that a person wants to know.
    pub timeline: Vec<TimelineEntry>,
}

/// Why a call could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// The gateway could not be reached.
    #[error("the gateway cannot be reached")]
    Dial(#[from] DialError),
    /// A header of the plan cannot be sent.
    #[error("the header {0} cannot be sent")]
    Header(String),
    /// The gateway answered the upgrade with something else.
    #[error("the gateway refused the upgrade with {0}")]
    Refused(u16),
    /// The upgrade failed.
    #[error("the upgrade failed")]
    Upgrade(#[source] Box<SocketError>),
    /// The upgrade took too long.
    #[error("no answer to the upgrade within {} seconds", .0.as_secs_f32())]
    Slow(Duration),
    /// The emulator was told to stop before the call was made.
    #[error("cancelled before the call was made")]
    Cancelled,
}

/// Makes the call and stays in it until it is over.
///
/// Live progress goes to `progress`; what does not fit is left out there, the outcome has all of it. `cancel` hangs up.
/// Dropping the future cuts the connection without a close.
///
/// # Errors
/// [`CarrierError`] says why the call could not be made. Once it was made, its end is part of the [`Report`].
pub async fn run(
    plan: Plan,
    progress: Option<mpsc::Sender<TimelineEntry>>,
    cancel: CancellationToken,
) -> Result<Outcome, CarrierError> {
    let socket = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(CarrierError::Cancelled),
        socket = Box::pin(open(&plan)) => socket?,
    };
    Ok(converse(socket, plan, progress, cancel).await)
}

/// Dials and upgrades.
pub(super) async fn open(plan: &Plan) -> Result<WebSocketStream<Connection>, CarrierError> {
    let address = Address::parse(&plan.url, "ws", "wss", "ws:// and wss://")?;
    let request = request(plan)?;
    let connection = address.connect(&plan.line).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(plan.buffers.read)
        .write_buffer_size(plan.buffers.write)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let upgrade = timeout(plan.line.limit, client_async_with_config(request, connection, Some(config)));
    match upgrade.await.map_err(|_| CarrierError::Slow(plan.line.limit))? {
        Ok((socket, _)) => Ok(socket),
        Err(SocketError::Http(answer)) => Err(CarrierError::Refused(answer.status().as_u16())),
        Err(error) => Err(CarrierError::Upgrade(Box::new(error))),
    }
}

fn request(plan: &Plan) -> Result<Request, CarrierError> {
    let upgrade = |error| CarrierError::Upgrade(Box::new(error));
    let mut request = plan.url.as_str().into_client_request().map_err(upgrade)?;
    let token = plan.line.auth_token.as_ref();
    let signature = token.map(|token| (signature::HEADER.to_owned(), signature::sign(token, &plan.url, &[])));
    for (name, value) in plan.headers.iter().cloned().chain(signature) {
        let (Ok(header), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value)) else {
            return Err(CarrierError::Header(name));
        };
        request.headers_mut().append(header, value);
    }
    Ok(request)
}

/// Microseconds since the stream was open, or since the first of many.
pub(super) struct Clock {
    zero: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Clock { zero: Instant::now() }
    }

    pub(super) fn now(&self) -> CallTime {
        CallTime::ZERO + self.zero.elapsed()
    }

    pub(super) fn instant(&self, at: CallTime) -> Instant {
        self.zero + at.since(CallTime::ZERO)
    }
}

/// Holds a call over an open socket, on which `connected` is the first message. [`run`] does this after dialling.
pub async fn converse<S>(
    mut socket: WebSocketStream<S>,
    plan: Plan,
    progress: Option<mpsc::Sender<TimelineEntry>>,
    cancel: CancellationToken,
) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let clock = Clock::start();
    let mut phone = Phone::new(&plan, clock.now());
    loop {
        let sent = send_all(&mut socket, &mut phone).await;
        if let Err(by) = sent {
            phone.end(clock.now(), by);
        }
        while let Some(line) = phone.poll_progress() {
            if let Some(progress) = &progress {
                // A slow reader of progress must not slow the call down.
                let _ = progress.try_send(line);
            }
        }
        if phone.is_over() {
            break;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => phone.end(clock.now(), EndedBy::Cancelled),
            message = socket.next() => take(&mut phone, clock.now(), message),
            () = sleep_until(clock.instant(phone.next_wake())) => phone.wake(clock.now()),
        }
    }
    close(&mut socket).await;
    let (log, recording) = phone.finish();
    Outcome { report: figures::report(&log), recording, timeline: log.timeline(), log }
}

async fn send_all<S>(socket: &mut WebSocketStream<S>, phone: &mut Phone) -> Result<(), EndedBy>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let write = async {
        while let Some(text) = phone.poll_send() {
            socket.feed(Message::text(text)).await?;
        }
        socket.flush().await
    };
    match timeout(WRITE_MAX, write).await {
        Ok(Ok(())) => Ok(()),
        // The gateway's close is still to be read, and says more than the failed write.
        Ok(Err(SocketError::Protocol(_) | SocketError::ConnectionClosed | SocketError::AlreadyClosed)) => Ok(()),
        Ok(Err(_)) => Err(EndedBy::Lost),
        Err(_) => Err(EndedBy::Stuck),
    }
}

fn take(phone: &mut Phone, now: CallTime, message: Option<Result<Message, SocketError>>) {
    match message {
        Some(Ok(Message::Text(text))) => phone.receive(now, text.as_str()),
        Some(Ok(Message::Binary(_))) => phone.receive_binary(now),
        // The socket answers pings by itself.
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
        Some(Ok(Message::Close(frame))) => {
            phone.end(now, EndedBy::Gateway { code: frame.map(|frame| u16::from(frame.code)) });
        }
        Some(Err(_)) | None => phone.end(now, EndedBy::Lost),
    }
}

async fn close<S>(socket: &mut WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = async {
        if socket.close(None).await.is_ok() {
            // Until the gateway closes too, what it still sends is read and dropped.
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    // A gateway that does not close in time is left; the call is over either way.
    let _ = timeout(CLOSE_MAX, handshake).await;
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use serde_json::{Value, json};
    use tokio::io::DuplexStream;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

    use super::super::plan::HangUp;
    use super::*;
    use crate::ids::{CallSid, StreamSid};

    fn plan() -> Plan {
        Plan::new("ws://gateway.test/", CallSid::parse("CA1").unwrap(), StreamSid::parse("MZ1").unwrap())
    }

    type Gateway = WebSocketStream<DuplexStream>;

    /// A call over memory, so that tokio's paused clock rules both ends.
    async fn call<F: Future<Output = Gateway>>(plan: Plan, gateway: impl FnOnce(Gateway) -> F) -> Outcome {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let server = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        tokio::join!(converse(client, plan, None, CancellationToken::new()), gateway(server)).0
    }

    fn media(millis: usize) -> Message {
        use base64::Engine;
        let payload = base64::engine::general_purpose::STANDARD.encode(vec![0x20; millis * 8]);
        Message::text(json!({"event": "media", "streamSid": "MZ1", "media": {"payload": payload}}).to_string())
    }

    /// Reads until the other side closes; the events seen.
    async fn drain(socket: &mut Gateway) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                let value: Value = serde_json::from_str(text.as_str()).unwrap();
                events.push(value["event"].as_str().unwrap().to_owned());
            }
        }
        events
    }

    #[tokio::test(start_paused = true)]
    async fn a_planned_hang_up_sends_stop_and_closes() {
        let hang_up = HangUp::After(Duration::from_millis(210));
        let mut seen = Vec::new();
        let outcome = call(Plan { hang_up, ..plan() }, async |mut socket: Gateway| {
            seen = drain(&mut socket).await;
            socket
        })
        .await;
        assert_eq!(outcome.report.ended, EndedBy::Caller);
        assert_eq!(seen.iter().filter(|event| *event == "media").count(), 10);
        assert_eq!((seen[0].as_str(), seen[1].as_str(), seen[seen.len() - 1].as_str()), ("connected", "start", "stop"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_real_stall_is_seen_to_the_millisecond() {
        let outcome = call(plan(), async |mut socket: Gateway| {
            let begin = Instant::now();
            for n in 0..100_u64 {
                // From the fiftieth frame on everything is 160 ms late, 60 ms more than the lead covers.
                let stall = if n >= 50 { 160 } else { 0 };
                sleep_until(begin + Duration::from_millis((20 * n).saturating_sub(100) + stall)).await;
                socket.send(media(20)).await.unwrap();
            }
            drain(&mut socket).await;
            socket
        })
        .await;
        let report = outcome.report;
        let gaps = report.underruns.unwrap();
        assert_eq!(gaps.count, 1);
        assert!((gaps.total_ms - 60.0).abs() <= 2.0, "{gaps:?}");
        assert!((report.audio_played_ms - 2_000.0).abs() < 0.001);
        assert_eq!(outcome.recording.samples_played_by(CallTime::from_millis(60_000)), 16_000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_gateways_close_code_is_kept_and_a_lost_socket_told_apart() {
        let outcome = call(plan(), async |mut socket: Gateway| {
            let frame = CloseFrame { code: CloseCode::Policy, reason: "".into() };
            socket.close(Some(frame)).await.unwrap();
            drain(&mut socket).await;
            socket
        })
        .await;
        assert_eq!(outcome.report.ended, EndedBy::Gateway { code: Some(1_008) });
        assert!(outcome.report.closed_at_once());

        let (near, far) = tokio::io::duplex(64 * 1024);
        let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        drop(far);
        let outcome = converse(client, plan(), None, CancellationToken::new()).await;
        assert_eq!(outcome.report.ended, EndedBy::Lost);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_stops_reading_ends_the_call() {
        let (near, far) = tokio::io::duplex(2 * 1024);
        let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let outcome = converse(client, plan(), None, CancellationToken::new()).await;
        assert_eq!(outcome.report.ended, EndedBy::Stuck);
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_hangs_up() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let mut server = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        let cancel = CancellationToken::new();
        let (lines, mut progress) = mpsc::channel(8);
        let stop = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cancel.cancel();
        };
        let call = converse(client, plan(), Some(lines), cancel.clone());
        let (outcome, seen, ()) = tokio::join!(call, drain(&mut server), stop);
        assert_eq!(outcome.report.ended, EndedBy::Cancelled);
        assert_eq!(seen.last().map(String::as_str), Some("stop"));
        let mut told = Vec::new();
        while let Some(line) = progress.recv().await {
            told.push(line);
        }
        assert_eq!(told, outcome.timeline);
    }

    #[test]
    fn the_upgrade_is_signed_over_the_url_as_the_carrier_knows_it() {
        let mut plan = Plan { url: "wss://gw.example.com/twilio/media".into(), ..plan() };
        plan.line.auth_token = Some(super::super::AuthToken::new("12345"));
        plan.headers = vec![("x-one".into(), "1".into())];
        let request = request(&plan).unwrap();
        assert_eq!(request.headers()["x-twilio-signature"], "xOtUNom2O6Ixz0xt8ODDv8MkQUY=");
        assert_eq!(
            (&request.headers()["host"], &request.headers()["x-one"]),
            (&"gw.example.com".parse().unwrap(), &"1".parse().unwrap())
        );
        plan.headers = vec![("bad name".into(), "1".into())];
        assert!(matches!(super::request(&plan), Err(CarrierError::Header(_))));
        assert!(!format!("{plan:?}").contains("12345"));
    }
}
