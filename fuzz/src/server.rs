//! What comes in over HTTP: the API, and the carrier's webhooks.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Body as Sent;
use axum::http::Request;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;
use trunkline::config::{Input, load};
use trunkline::secret::Secret;
use trunkline::server::twilio::public_url::PublicUrl;
use trunkline::server::twilio::signature::{Algorithm, Body, SignatureHeaders, Verifier, sign};
use trunkline::server::twilio::webhook::Fields;
use trunkline::server::{Node, Routes, fuzzing, router};
use trunkline::{gateway, server};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));

/// A server that wants no proof, and one that does.
static ROUTERS: LazyLock<[Router; 2]> = LazyLock::new(|| {
    let signed = "server.public_url = \"https://gw.example.com/base\"\nserver.api_token = \"0123456789abcdef\"\n\
        server.token_key = \"0123456789abcdef\"\ntwilio.auth_token = \"12345\"";
    ["", signed].map(|toml| {
        let file = Some(("fuzz.toml".to_owned(), format!("agent.kind = \"api\"\n{toml}")));
        let loaded = load(&Input { file, ..Input::default() }).expect("a configuration");
        let settings: server::Settings = gateway::settings(&loaded.config).expect("settings");
        router(Node::new(settings), Routes::All)
    })
});

/// A request as it stands on the wire, without the version; and its body once more as that of every route.
pub fn api(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    fuzzing::bodies(body.as_bytes(), head);
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().splitn(2, ' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    for router in &*ROUTERS {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in lines.clone().filter_map(|line| line.split_once(": ")) {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(Sent::from(body.to_owned())) else { return };
        let answer = RUNTIME.block_on(router.clone().oneshot(request)).unwrap_or_else(|never| match never {});
        assert_ne!(answer.status().as_u16(), 500, "{head:?}");
    }
}

/// A form, its query and two headers, divided by lines: nobody is believed who has not the key, and whoever has it is.
pub fn webhook(input: &[u8]) {
    const TOKEN: &str = "12345";
    const KEY: &str = "a-shared-key";
    let mut parts = input.splitn(4, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (query, signature, settings, form) = (next(), next(), next(), next());
    let (query, signature, settings) =
        (String::from_utf8_lossy(query), String::from_utf8_lossy(signature), String::from_utf8_lossy(settings));
    let url = PublicUrl::parse("https://gw.example.com:8443/base").expect("a url");
    let keys = BTreeMap::from([("SK1".to_owned(), Secret::new(KEY))]);
    let verifier = Verifier::new(url.clone(), Some(Secret::new(TOKEN)), keys);
    let query = (!query.is_empty()).then_some(&*query);
    for settings in [None, Some(&*settings)] {
        let headers = SignatureHeaders { signature: Some(&signature), settings };
        for body in [Body::Empty, Body::Form(form), Body::Json(form)] {
            if let Err(refusal) = verifier.webhook("/twilio/voice", query, body, headers) {
                assert!(!refusal.to_string().contains(TOKEN));
            } else {
                panic!("a signature was guessed");
            }
        }
        assert!(verifier.upgrade("/twilio/media", query, headers).is_err(), "a signature was guessed");
    }
    let fields = Fields::decode(form);
    let _ = (fields.call_sid(), fields.from(), fields.to(), fields.account_sid(), format!("{fields:?}"));
    let pairs: Vec<(&str, &str)> = fields.iter().collect();
    let full = match query {
        Some(query) => format!("{}?{query}", url.http_url("/twilio/voice")),
        None => url.http_url("/twilio/voice"),
    };
    let good = sign(Algorithm::HmacSha1, TOKEN, &full, &pairs);
    let headers = SignatureHeaders { signature: Some(&good), settings: None };
    assert!(verifier.webhook("/twilio/voice", query, Body::Form(form), headers).is_ok(), "the key was not believed");
}
