//! A small server that keeps what it is sent, and answers as a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// What came on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// Audio, as a binary frame or as base64 in JSON.
    Audio(Vec<u8>),
    /// Any other text frame.
    Text(String),
}

/// One link, as far as it has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    /// Path and query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) got: Vec<Got>,
}

impl Link {
    /// All audio so far.
    pub(crate) fn audio(&self) -> Vec<u8> {
        let audio = self.got.iter().filter_map(|got| match got {
            Got::Audio(audio) => Some(audio.as_slice()),
            Got::Text(_) => None,
        });
        audio.collect::<Vec<_>>().concat()
    }

    /// All texts so far.
    pub(crate) fn texts(&self) -> Vec<&str> {
        let texts = self.got.iter().filter_map(|got| match got {
            Got::Text(text) => Some(text.as_str()),
            Got::Audio(_) => None,
        });
        texts.collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// What a server does when something has come. It sees the link with it.
pub(crate) enum Answer {
    /// Sends these texts.
    Say(Vec<String>),
    /// Drops the link without a word.
    Drop,
}

/// A listening server. Dropping it drops every link.
pub(crate) struct Vendor {
    pub(crate) address: SocketAddr,
    links: Arc<Mutex<Vec<Link>>>,
    _tasks: JoinSet<()>,
}

impl Vendor {
    /// A server that answers with `answer`; it is given the link's number, from 0, and the link.
    pub(crate) async fn start(answer: fn(usize, &Link) -> Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let links: Arc<Mutex<Vec<Link>>> = Arc::default();
        let kept = links.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(serve(stream, kept.clone(), answer));
            }
        });
        Vendor { address, links, _tasks: tasks }
    }

    /// Every link so far.
    pub(crate) fn links(&self) -> Vec<Link> {
        self.links.lock().unwrap().clone()
    }

    /// Whether a link has come so far.
    pub(crate) fn has(&self, number: usize, holds: impl FnOnce(&Link) -> bool) -> bool {
        self.links.lock().unwrap().get(number).is_some_and(holds)
    }
}

async fn serve(stream: TcpStream, links: Arc<Mutex<Vec<Link>>>, answer: fn(usize, &Link) -> Answer) {
    let mut link = Link::default();
    #[expect(clippy::result_large_err, reason = "the WebSocket library's own signature")]
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        link.path = request.uri().to_string();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        link.headers =
            request.headers().iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, note).await.unwrap();
    let number = {
        let mut links = links.lock().unwrap();
        links.push(link);
        links.len() - 1
    };
    while let Some(Ok(message)) = socket.next().await {
        let got = match message {
            Message::Binary(audio) => Got::Audio(audio.to_vec()),
            Message::Text(text) => audio_of(text.as_str()).map_or_else(|| Got::Text(text.to_string()), Got::Audio),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        let answer = {
            let mut links = links.lock().unwrap();
            links[number].got.push(got);
            answer(number, &links[number])
        };
        match answer {
            Answer::Say(texts) => {
                for text in texts {
                    socket.send(Message::text(text)).await.unwrap();
                }
            }
            Answer::Drop => return,
        }
    }
}

/// Audio that is written as base64 in JSON.
fn audio_of(text: &str) -> Option<Vec<u8>> {
    let message: Value = serde_json::from_str(text).ok()?;
    (message["type"] == "audio").then(|| STANDARD.decode(message["audio"].as_str().unwrap()).unwrap())
}
