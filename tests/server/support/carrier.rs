//! The carrier behind its REST API: takes orders, remembers them, and carries them out on a gateway as Twilio does: asks its
//! webhook with a signed form, opens the stream that the answer names, goes on with the next instruction.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use trunkline::server::twilio::signature::{Algorithm, SIGNATURE_HEADER, sign};

use super::gateway::{AUTH_TOKEN, Gateway};
use super::http::{Answer, Request};
use super::phone::Phone;

pub(crate) const PUBLIC_URL: &str = "https://gw.example.com";
pub(crate) const ACCOUNT: &str = "AC00000000000000000000000000000001";
const KEY: &str = "SK1:the-secret-of-the-api-key";

/// What the API answers to one request, instead of doing what it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// An error with Twilio's own code.
    Error(u16, u32),
    /// An error that says when to come back, in seconds.
    Later(u16, &'static str),
    /// A success that is no JSON.
    Babble,
    /// Nothing, for longer than anybody waits.
    Silence,
    /// The connection breaks.
    Break,
}

/// A request that the API was sent, with good credentials.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) form: BTreeMap<String, String>,
}

#[derive(Default)]
struct Book {
    asked: Vec<Asked>,
    strangers: usize,
    replies: VecDeque<Reply>,
}

/// A running API.
pub(crate) struct Carrier {
    pub(crate) address: SocketAddr,
    book: Arc<Mutex<Book>>,
    _serving: JoinSet<()>,
}

impl Carrier {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, book) = (listener.local_addr().unwrap(), Arc::<Mutex<Book>>::default());
        let app = axum::Router::new().fallback(answer).with_state(book.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Carrier { address, book, _serving: serving }
    }

    /// Settings of a gateway that uses this API.
    pub(crate) fn toml(&self) -> String {
        let (key, secret) = KEY.split_once(':').unwrap();
        format!(
            "twilio.account_sid = \"{ACCOUNT}\"\ntwilio.api_key_sid = \"{key}\"\ntwilio.api_key_secret = \"{secret}\"\n\
             twilio.api_url = \"http://{}\"\ntwilio.from = \"+15550100001\"\n",
            self.address
        )
    }

    /// A gateway that uses this API.
    pub(crate) async fn gateway(&self, toml: &str) -> Gateway {
        Gateway::signed(PUBLIC_URL, &format!("{}{toml}", self.toml())).await
    }

    /// The next requests are answered so, one after the other; those behind them as they should be.
    pub(crate) fn will(&self, replies: &[Reply]) {
        self.lock().replies.extend(replies);
    }

    /// Requests so far, whatever their answers were.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let book = self.lock();
        assert_eq!(book.strangers, 0, "requests without good credentials");
        book.asked.clone()
    }

    /// The latest request.
    pub(crate) fn last(&self) -> Asked {
        self.asked().pop().expect("a request")
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }
}

async fn answer(State(book): State<Arc<Mutex<Book>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let authorization = format!("Basic {}", STANDARD.encode(KEY));
    let is_known = headers.get("authorization").is_some_and(|value| *value == *authorization);
    let is_form = headers.get("content-type").is_some_and(|value| value == "application/x-www-form-urlencoded");
    let form: BTreeMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let (reply, number) = {
        let mut book = book.lock().unwrap();
        if !is_known || !is_form {
            book.strangers += 1;
            return problem(401, 20_003);
        }
        book.asked.push(Asked { at: Instant::now(), path: uri.path().to_owned(), form: form.clone() });
        (book.replies.pop_front(), book.asked.len())
    };
    match reply {
        None => {}
        Some(Reply::Error(status, code)) => return problem(status, code),
        Some(Reply::Later(status, seconds)) => {
            let mut answer = problem(status, 20_429);
            answer.headers_mut().insert("retry-after", seconds.parse().unwrap());
            return answer;
        }
        Some(Reply::Babble) => return (StatusCode::CREATED, "<html>").into_response(),
        Some(Reply::Silence) => sleep(Duration::from_secs(3_600)).await,
        Some(Reply::Break) => std::panic::resume_unwind(Box::new("the connection breaks")),
    }
    let calls = format!("/2010-04-01/Accounts/{ACCOUNT}/Calls");
    match uri.path().strip_prefix(&calls) {
        Some(".json") => (StatusCode::CREATED, json!({ "sid": format!("CA{number:032}") }).to_string()).into_response(),
        Some(_) => json!({ "status": "in-progress" }).to_string().into_response(),
        None => problem(404, 20_404),
    }
}

fn problem(status: u16, code: u32) -> Response {
    // Twilio's own words quote what it was sent.
    let body = json!({ "code": code, "message": "'+15550100002' is not valid", "status": status });
    (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
}

/// Asks the gateway what to do with a call, at a URL that it named; the fields are those of an outbound call.
pub(crate) async fn ask(gateway: &Gateway, url: &str, call: &str) -> Answer {
    let form = [
        ("AccountSid", ACCOUNT),
        ("CallSid", call),
        ("CallStatus", "in-progress"),
        ("Direction", "outbound-api"),
        ("From", "+15550100001"),
        ("To", "+15550100002"),
    ];
    ask_with(gateway, url, &form).await
}

/// The same with any fields.
pub(crate) async fn ask_with(gateway: &Gateway, url: &str, form: &[(&str, &str)]) -> Answer {
    let path = url.strip_prefix(PUBLIC_URL).expect("a URL of ours");
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let signature = sign(Algorithm::HmacSha1, AUTH_TOKEN, url, form);
    Request::new("POST", path).form(&body).header(SIGNATURE_HEADER, &signature).send(gateway.address).await
}

/// Opens the stream that a webhook's answer names.
pub(crate) async fn stream(gateway: &Gateway, call: &str, answer: &Answer) -> (Phone, BTreeMap<String, String>) {
    let elements = elements(answer);
    let parameters: BTreeMap<String, String> = elements
        .iter()
        .filter(|(name, _)| name == "Parameter")
        .map(|element| (attribute(element, "name").to_owned(), attribute(element, "value").to_owned()))
        .collect();
    let signature = sign(Algorithm::HmacSha1, AUTH_TOKEN, "wss://gw.example.com/twilio/media", &[]);
    let phone = Phone::dial(gateway.address, "/twilio/media", &[(SIGNATURE_HEADER, &signature)]).await.unwrap();
    let pairs: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    phone.start(call, &pairs);
    gateway.is_listed(call).await;
    (phone, parameters)
}

/// An element's name and attributes.
pub(crate) type Element = (String, Vec<(String, String)>);

/// The elements of TwiML.
pub(crate) fn elements(answer: &Answer) -> Vec<Element> {
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "text/xml"), "{answer:?}");
    elements_of(&answer.body)
}

/// The same, of its text.
pub(crate) fn elements_of(twiml: &str) -> Vec<Element> {
    let mut reader = quick_xml::Reader::from_str(twiml);
    let mut elements = Vec::new();
    loop {
        let event = reader.read_event().unwrap();
        if let Event::Start(element) | Event::Empty(element) = &event {
            elements.push(element_of(element));
        } else if event == Event::Eof {
            return elements;
        }
    }
}

fn element_of(element: &BytesStart<'_>) -> Element {
    let attributes = element.attributes().map(|attribute| {
        let attribute = attribute.unwrap();
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap().into_owned();
        (attribute.key.as_ref().to_owned(), value)
    });
    (element.name().as_ref().to_owned(), attributes.collect())
}

/// An attribute that is there.
pub(crate) fn attribute<'a>(element: &'a Element, name: &str) -> &'a str {
    &element.1.iter().find(|(key, _)| key == name).unwrap().1
}
