//! The server against a client made of hyper and this file alone.
//!
//! Most run over an in-memory socket on a paused clock: every time in them is exact.

mod faults;
mod protocol;
mod sockets;

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::emulate::tts::tone;

/// Longest wait of a test, in the clock's time.
const LIMIT: Duration = Duration::from_secs(60);

/// One client's connection. Dropping it closes it.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes.
    _driver: JoinSet<()>,
}

impl Client {
    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            connection.await.ok();
        });
        Self { sender, _driver: driver }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        timeout(LIMIT, self.sender.send_request(request)).await.expect("an answer in time")
    }

    async fn post(&mut self, body: &Value) -> Response<Incoming> {
        self.send(post(body)).await.unwrap()
    }
}

/// A server behind in-memory sockets.
struct Rig {
    emulator: Emulator,
    connections: JoinSet<()>,
    stop: CancellationToken,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        Self { emulator: Emulator::new(settings).unwrap(), connections: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// A server of tones with these faults.
    fn faulty(faults: &[&str]) -> Self {
        Self::new(Settings { faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(), ..tones() })
    }

    async fn client(&mut self) -> Client {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (emulator, stop) = (self.emulator.clone(), self.stop.clone());
        self.connections.spawn(async move { emulator.serve(far, stop).await });
        Client::over(near).await
    }

    /// The last request as soon as it has ended.
    async fn ended(&self) -> Record {
        let waiting = async {
            loop {
                if let Some(record) = self.emulator.journal().last().filter(|record| record.ended.is_some()) {
                    return record;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, waiting).await.expect("an end in time")
    }

    async fn how_it_ended(&self) -> End {
        self.ended().await.ended.unwrap().1
    }
}

fn tones() -> Settings {
    Settings { voice: Voice::Tone, ..Settings::default() }
}

/// Twenty characters: 1.2 s of tone, which is 14 pieces of 90 ms.
const TEXT: &str = "Twenty letters, yes.";

fn request(text: &str) -> Value {
    json!({"model": "tts-1", "input": text, "voice": "alloy", "response_format": "pcm"})
}

fn with(mut request: Value, more: Value) -> Value {
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn post(body: &Value) -> Request<Full<Bytes>> {
    let request = Request::post("/v1/audio/speech").header("host", "localhost");
    request.header("content-type", "application/json").body(Full::from(body.to_string())).unwrap()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "localhost").body(Full::default()).unwrap()
}

async fn json_of(response: Response<Incoming>) -> Value {
    let body = timeout(LIMIT, response.into_body().collect()).await.expect("a body in time").unwrap();
    serde_json::from_slice(&body.to_bytes()).unwrap()
}

/// The pieces of a body with their times, and whether it came to its end.
async fn pieces(response: Response<Incoming>) -> (Vec<(Duration, Bytes)>, bool) {
    let (began, mut body, mut pieces) = (Instant::now(), response.into_body(), Vec::new());
    while let Some(frame) = timeout(LIMIT, body.frame()).await.expect("a frame in time") {
        let Ok(frame) = frame else { return (pieces, false) };
        pieces.push((began.elapsed(), frame.into_data().unwrap()));
    }
    (pieces, true)
}

/// A whole body, and whether it came to its end.
async fn bytes(response: Response<Incoming>) -> (Vec<u8>, bool) {
    let (pieces, is_whole) = pieces(response).await;
    (pieces.iter().flat_map(|(_, piece)| piece.to_vec()).collect(), is_whole)
}

fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes(pair.try_into().unwrap())).collect()
}
