//! The app: a WebSocket server that takes what the gateway tells and says what the test wants.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::support::soon;

/// Where sessions arrive.
pub(crate) struct App {
    listener: TcpListener,
}

/// The upgrade request of a session.
#[derive(Debug, Default)]
pub(crate) struct Upgrade {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// One session.
pub(crate) struct Session {
    socket: WebSocketStream<TcpStream>,
    pub(crate) upgrade: Upgrade,
}

impl App {
    pub(crate) async fn start() -> Self {
        App { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Settings that lead here, with further lines of `[agent.relay]`.
    pub(crate) fn toml(&self, relay: &str) -> String {
        format!("agent.kind = \"relay\"\n[agent.relay]\nurl = \"ws://{}/relay?tenant=acme\"\n{relay}\n", self.address())
    }

    /// The next session, before it has said anything.
    pub(crate) async fn accept(&self) -> Session {
        soon("a session", async {
            let (stream, _) = self.listener.accept().await.unwrap();
            let mut upgrade = Upgrade::default();
            #[expect(clippy::result_large_err, reason = "the signature is the library's")]
            let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
                upgrade.path = request.uri().to_string();
                let headers = request.headers().iter();
                upgrade.headers = headers
                    .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
                    .collect();
                Ok(response)
            };
            let socket = accept_hdr_async(stream, note).await.unwrap();
            Session { socket, upgrade }
        })
        .await
    }

    /// The next session, and its `setup`.
    pub(crate) async fn begin(&self) -> (Session, Value) {
        let mut session = self.accept().await;
        let setup = session.next("setup").await;
        assert_eq!(setup["type"], "setup");
        (session, setup)
    }

    /// Turns the next one away.
    pub(crate) async fn refuse(&self) {
        let (stream, _) = soon("a connection", self.listener.accept()).await.unwrap();
        drop(stream);
    }
}

impl Session {
    pub(crate) async fn say(&mut self, message: Value) {
        self.say_raw(&message.to_string()).await;
    }

    pub(crate) async fn say_raw(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// A token of a talk cycle.
    pub(crate) async fn token(&mut self, text: &str, last: bool) {
        self.say(json!({"type": "text", "token": text, "last": last})).await;
    }

    /// The next message, whatever it is.
    pub(crate) async fn next(&mut self, what: &str) -> Value {
        let frame = soon(what, self.frame()).await;
        let Message::Text(text) = &frame else { panic!("{frame:?} in place of {what}") };
        serde_json::from_str(text).unwrap()
    }

    /// The next message of a type; others are dropped.
    pub(crate) async fn skip_to(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next(kind).await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Code and reason of the close frame, and the messages before it.
    pub(crate) async fn closed(&mut self) -> (u16, String, Vec<Value>) {
        let mut before = Vec::new();
        loop {
            let frame = soon("the close frame", self.frame()).await;
            if let Message::Close(Some(close)) = &frame {
                return (close.code.into(), close.reason.to_string(), before);
            }
            let Message::Text(text) = &frame else { panic!("{frame:?} in place of the close frame") };
            before.push(serde_json::from_str(text).unwrap());
        }
    }

    /// Leaves without a word.
    pub(crate) fn vanish(self) {
        drop(self);
    }

    async fn frame(&mut self) -> Message {
        loop {
            let frame = self.socket.next().await.expect("the session goes on").unwrap();
            if !matches!(frame, Message::Ping(_) | Message::Pong(_)) {
                return frame;
            }
        }
    }
}
