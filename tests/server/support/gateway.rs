//! A gateway as `trunkline serve` runs it, on a free port.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline::config::{Input, load};
use trunkline::emulate::cartesia;
use trunkline::{gateway, server};

use super::http::{Answer, Request};
use super::phone::{Phone, Refused};
use super::soon;

/// Bearer token of the API in [`SIGNED`].
pub(crate) const API_TOKEN: &str = "an-api-token-that-is-secret";
/// Key of the stream tokens in [`SIGNED`].
pub(crate) const TOKEN_KEY: &str = "a-token-key-that-is-secret-too";
/// Auth token in [`SIGNED`]; the one of the published vectors.
pub(crate) const AUTH_TOKEN: &str = "12345";
/// Everything that trust needs, apart from the public URL.
pub(crate) const SIGNED: &str = r#"
    server.api_token = "an-api-token-that-is-secret"
    server.token_key = "a-token-key-that-is-secret-too"
    twilio.auth_token = "12345"
    twilio.shared_keys = { SK1 = "a-shared-key-that-is-secret" }
"#;

/// A running gateway. Dropping it ends it, and all its calls with the test's runtime.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) node: server::Node,
    serving: JoinSet<std::io::Result<()>>,
    /// What to send with every request to the API.
    bearer: Option<String>,
}

impl Gateway {
    /// In open mode, with an agent that says only what the API brings, and the settings in `toml`.
    pub(crate) async fn open(toml: &str) -> Self {
        Self::start(toml, false, TcpListener::bind("127.0.0.1:0").await.unwrap()).await
    }

    /// The same with a change that no configuration makes.
    pub(crate) async fn open_with(toml: &str, change: impl FnOnce(&mut server::Settings)) -> Self {
        Self::serve(toml, false, TcpListener::bind("127.0.0.1:0").await.unwrap(), change).await
    }

    /// In signed mode behind `public_url`.
    pub(crate) async fn signed(public_url: &str, toml: &str) -> Self {
        Self::changed(public_url, toml, |_| {}).await
    }

    /// In signed mode behind `public_url`, with a change that no configuration makes.
    pub(crate) async fn changed(public_url: &str, toml: &str, change: impl FnOnce(&mut server::Settings)) -> Self {
        let toml = format!("server.public_url = \"{public_url}\"\n{SIGNED}\n{toml}");
        let mut gateway = Self::serve(&toml, false, TcpListener::bind("127.0.0.1:0").await.unwrap(), change).await;
        gateway.bearer = Some(format!("Bearer {API_TOKEN}"));
        gateway
    }

    /// On a listener of the test's own.
    pub(crate) async fn start(toml: &str, insecure: bool, listener: TcpListener) -> Self {
        Self::serve(toml, insecure, listener, |_| {}).await
    }

    /// With a second listener for the API, and where that is.
    pub(crate) async fn controlled(toml: &str) -> (Self, SocketAddr) {
        let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, public) = (control.local_addr().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let listeners = server::Listeners { public, control: Some(control) };
        (Self::serve(toml, false, listeners, |_| {}).await, at)
    }

    async fn serve(
        toml: &str,
        insecure: bool,
        listeners: impl Into<server::Listeners>,
        change: impl FnOnce(&mut server::Settings),
    ) -> Self {
        let listeners = listeners.into();
        let kind = if toml.contains("agent.kind") { "" } else { "agent.kind = \"api\"\n" };
        // A machine that is busy with other tests may well be too busy for calls, which only one test is about.
        let calm = if toml.contains("limits.late_ms") { "" } else { "limits.late_ms = 0\n" };
        let file = Some(("test.toml".to_owned(), format!("{kind}{calm}{toml}")));
        let loaded =
            load(&Input { file, insecure, ..Input::default() }).unwrap_or_else(|problems| panic!("{problems}"));
        let mut settings = gateway::settings(&loaded.config).unwrap();
        change(&mut settings);
        let node = server::Node::new(settings);
        let (address, stop) = (listeners.public.local_addr().unwrap(), CancellationToken::new());
        let mut serving = JoinSet::new();
        serving.spawn(server::serve(listeners, node.clone(), stop.clone()));
        Gateway { address, stop, node, serving, bearer: None }
    }

    /// A request to the API, with its token if there is one.
    pub(crate) fn api(&self, method: &str, path: &str) -> Request {
        let request = Request::new(method, path);
        match &self.bearer {
            Some(bearer) => request.header("Authorization", bearer),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.api("GET", path).send(self.address).await
    }

    /// `say` with a JSON body.
    pub(crate) async fn say(&self, call: &str, body: Value) -> Answer {
        self.api("POST", &format!("/v1/calls/{call}/say")).json(&body).send(self.address).await
    }

    /// `say` that waits until the turn was heard.
    pub(crate) async fn say_and_wait(&self, call: &str, body: Value) -> Answer {
        self.api("POST", &format!("/v1/calls/{call}/say?wait=heard")).json(&body).send(self.address).await
    }

    /// A value of `/metrics`; 0 if the series is not there yet.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await.body;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// A media stream to us, without anything said on it.
    pub(crate) async fn dial(&self) -> Result<Phone, Refused> {
        Phone::dial(self.address, "/twilio/media", &[]).await
    }

    /// A call that has begun, in a mode that asks for no proof.
    pub(crate) async fn call(&self, call: &str) -> Phone {
        let phone = self.dial().await.unwrap();
        phone.start(call, &[]);
        self.is_listed(call).await;
        phone
    }

    pub(crate) async fn is_listed(&self, call: &str) {
        super::until("the call", async || (self.get(&format!("/v1/calls/{call}")).await.status == 200).then_some(()))
            .await;
    }

    pub(crate) async fn is_gone(&self, call: &str) {
        super::until("the end of the call", async || {
            (self.get(&format!("/v1/calls/{call}")).await.status == 404).then_some(())
        })
        .await;
    }

    /// Waits until `serve` has returned.
    pub(crate) async fn stopped(&mut self) {
        soon("the end of the server", self.serving.join_next()).await.unwrap().unwrap().unwrap();
    }
}

/// An emulated vendor, and the settings that lead to it.
pub(crate) struct Vendor {
    pub(crate) journal: cartesia::Journal,
    pub(crate) toml: String,
    _serving: JoinSet<()>,
}

impl Vendor {
    pub(crate) async fn start(settings: cartesia::Settings) -> Self {
        let server = cartesia::Server::bind("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
        let (journal, url) = (server.journal(), server.url());
        let mut serving = JoinSet::new();
        serving.spawn(server.run(CancellationToken::new()));
        // Nothing is spoken beforehand, so that the vendor hears of nothing but calls.
        let toml = format!(
            "speech = {{ chain = [\"cartesia\"], phrase_cache_mib = 0, cartesia = {{ url = \"{url}\", api_key = \"k\" }} }}\n"
        );
        Vendor { journal, toml, _serving: serving }
    }
}
