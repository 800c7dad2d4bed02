//! Asking: one request, and its answer as it comes.

use std::collections::VecDeque;
use std::pin::Pin;

use bytes::Bytes;
use eventsource_stream::{EventStream, EventStreamError};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, Url};
use serde_json::Value;

use super::answer::{AnswerEvent, AskError, Assembly};
use super::clean::{Clean, Gauge};
use super::settings::{Settings, headers};
use super::wire::{Body, Message, Offer, code_of};
use crate::http::{self, Http, HttpError, parse_url};

/// Body of an error that is read, to find its code.
const ERROR_BYTES_MAX: usize = 16 * 1024;

/// What a model is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The conversation.
    pub messages: Vec<Message>,
    /// Whether the model may call tools.
    pub tools: Tools,
}

/// Whether the model may call tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tools {
    /// As it likes.
    Offered,
    /// It has to speak.
    Withheld,
}

/// An answer as it comes, up to [`AnswerEvent::Done`] or [`AnswerEvent::Failed`]. Dropping it closes the connection at
/// once, which is how a server is told to stop.
pub type Answer = BoxStream<'static, AnswerEvent>;

/// Whoever answers questions.
pub trait Model: Send + Sync {
    /// Asks, with `traceparent` as the header of that name. Nothing happens before the answer is polled.
    fn ask(&self, question: &Question, traceparent: Option<&str>) -> Answer;
}

/// A server of the chat-completions API.
#[derive(Clone, Debug)]
pub struct Server {
    http: Http,
    url: Url,
    headers: HeaderMap,
    settings: std::sync::Arc<Settings>,
    offers: Vec<Offer>,
}

impl Server {
    pub(super) fn new(http: Http, settings: std::sync::Arc<Settings>, offers: Vec<Offer>) -> Result<Self, HttpError> {
        let mut url = parse_url(&settings.url, "url")?;
        let path = url.path().trim_end_matches('/').to_owned();
        if !path.ends_with("/chat/completions") {
            url.set_path(&format!("{path}/chat/completions"));
        }
        let mut headers = headers(settings.api_key.as_ref(), "api_key")?;
        headers.insert(ACCEPT, reqwest::header::HeaderValue::from_static("text/event-stream"));
        headers.insert(CONTENT_TYPE, reqwest::header::HeaderValue::from_static("application/json"));
        Ok(Server { http, url, headers, settings, offers })
    }

    fn body(&self, question: &Question) -> Vec<u8> {
        let settings = &self.settings;
        let body = Body {
            model: &settings.model,
            messages: &question.messages,
            stream: true,
            temperature: settings.temperature,
            max_tokens: settings.max_tokens,
            tools: &self.offers,
            tool_choice: match question.tools {
                // A server that was told of no tools does not take a word on them either.
                Tools::Withheld if !self.offers.is_empty() => Some("none"),
                Tools::Withheld | Tools::Offered => None,
            },
            extra: &settings.extra,
        };
        // Plain data with names for keys always becomes JSON.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl Model for Server {
    fn ask(&self, question: &Question, traceparent: Option<&str>) -> Answer {
        let client = self.http.client(&self.url);
        let request = client.post(self.url.clone()).headers(self.headers.clone()).body(self.body(question));
        let request = http::traced(request, traceparent);
        let opening = async move {
            let response = request.send().await.map_err(|_| AskError::Unreachable)?;
            checked(response).await
        };
        let asked = Asked { state: State::Opening(opening.boxed()), waiting: VecDeque::new() };
        stream::unfold(asked, |mut asked| async move { asked.next().await.map(|event| (event, asked)) }).boxed()
    }
}

/// One question on its way.
struct Asked {
    state: State,
    /// What came with the last event and was not taken yet.
    waiting: VecDeque<AnswerEvent>,
}

enum State {
    Opening(BoxFuture<'static, Result<Response, AskError>>),
    Reading(Box<Reading>),
    Over,
}

/// The bytes of an answer. Why they end too early does not matter.
type Pieces = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

struct Reading {
    events: Pin<Box<EventStream<Clean<Pieces>>>>,
    assembly: Assembly,
    gauge: Gauge,
}

impl Asked {
    /// The next event; `None` after the last. Cancel-safe.
    async fn next(&mut self) -> Option<AnswerEvent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                if matches!(event, AnswerEvent::Failed(_)) {
                    self.state = State::Over;
                    self.waiting.clear();
                }
                return Some(event);
            }
            match &mut self.state {
                State::Opening(opening) => {
                    let opened = opening.await;
                    self.open(opened);
                }
                State::Reading(reading) => {
                    let Some(events) = reading.next().await else {
                        self.state = State::Over;
                        return None;
                    };
                    self.waiting.extend(events);
                }
                State::Over => return None,
            }
        }
    }

    fn open(&mut self, opened: Result<Response, AskError>) {
        match opened {
            Ok(response) => {
                self.state = State::Reading(Box::new(Reading::new(Box::pin(response.bytes_stream()))));
                // Whoever counts the time learns that somebody is there.
                self.waiting.push_back(AnswerEvent::Alive);
            }
            Err(error) => self.waiting.push_back(AnswerEvent::Failed(error)),
        }
    }
}

impl Reading {
    fn new(pieces: Pieces) -> Self {
        let gauge = Gauge::default();
        let events = Box::pin(EventStream::new(Clean::new(pieces, gauge.clone())));
        Reading { events, assembly: Assembly::default(), gauge }
    }

    /// What the next event of the stream brings. After the answer's end the rest is read for nothing but the connection,
    /// which can be used again once all of it has been read.
    async fn next(&mut self) -> Option<Vec<AnswerEvent>> {
        if self.assembly.is_over() {
            while let Some(Ok(_)) = self.events.next().await {
                self.gauge.reset();
            }
            return None;
        }
        let events = match self.events.next().await {
            Some(Ok(event)) => {
                self.gauge.reset();
                self.assembly.take(&event.event, &event.data)
            }
            Some(Err(EventStreamError::Transport(error))) => vec![AnswerEvent::Failed(error)],
            Some(Err(EventStreamError::Utf8(_) | EventStreamError::Parser(_))) => {
                vec![AnswerEvent::Failed(AskError::Garbage)]
            }
            None => vec![self.assembly.end()],
        };
        Some(events)
    }
}

/// The response, if it is the beginning of an answer.
async fn checked(response: Response) -> Result<Response, AskError> {
    let status = response.status();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !status.is_success() {
        let retry_after_s = header(RETRY_AFTER).trim().parse().ok();
        let code = error_code(response).await;
        return Err(AskError::Status { status: status.as_u16(), code, retry_after_s });
    }
    // Some servers name no type, or a wrong one; what is surely no stream is a whole answer or a page.
    let kind = header(CONTENT_TYPE).to_ascii_lowercase();
    if kind.starts_with("application/json") || kind.starts_with("text/html") {
        return Err(AskError::NotAStream);
    }
    Ok(response)
}

async fn error_code(response: Response) -> String {
    let (body, _) = http::read(response, ERROR_BYTES_MAX).await;
    let error = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    code_of(error.get("error").unwrap_or(&error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::super::answer::{Finish, ToolCall};
    use super::*;
    use crate::secret::Secret;

    /// Every line end, comments, fields that nobody knows, a character of each length, a call in parts, the count of
    /// tokens, and the word at the end. The byte order mark stands where a server may put it.
    const BODY: &str = "\u{feff}: hello\r\n\r\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
        data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\" caf\u{e9}\"}}]}\r\r\
        event: message\nid: 7\nretry: 10\nnonsense\nfield: x\n\
        data: {\"choices\":[{\"index\":0,\r\ndata: \"delta\":{\"content\":\", 5 \u{20ac} \u{1f600}\"}}]}\r\n\r\n\
        data: {\"choices\":[]}\n\n: still there\n\n\
        data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"look\"}}]}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\":\"}}]}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"\u{e9}\\\"}\"}}]}}]}\n\n\
        data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"total_tokens\":13}}\n\ndata: [DONE]\n\n";

    fn read(pieces: Vec<Bytes>) -> Vec<AnswerEvent> {
        let pieces = stream::iter(pieces.into_iter().map(Ok::<_, reqwest::Error>));
        let reading = Box::new(Reading::new(Box::pin(pieces)));
        let mut asked = Asked { state: State::Reading(reading), waiting: VecDeque::new() };
        let mut events = Vec::new();
        while let Some(event) = asked.next().now_or_never().expect("everything is there") {
            events.push(event);
        }
        events
    }

    fn cut_at(text: &str, cuts: &[usize]) -> Vec<Bytes> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        places.extend([0, text.len()]);
        places.sort_unstable();
        let piece = |ends: &[usize]| Bytes::copy_from_slice(&text.as_bytes()[ends[0]..ends[1]]);
        places.windows(2).map(piece).collect()
    }

    fn whole() -> Vec<AnswerEvent> {
        let call = ToolCall { id: "c".into(), name: "look".into(), arguments: "{\"a\":\"\u{e9}\"}".into() };
        vec![
            AnswerEvent::Alive,
            AnswerEvent::Text(" caf\u{e9}".into()),
            AnswerEvent::Text(", 5 \u{20ac} \u{1f600}".into()),
            AnswerEvent::Alive,
            AnswerEvent::Calling,
            AnswerEvent::Calling,
            AnswerEvent::Calling,
            AnswerEvent::Done { finish: Finish::Complete, calls: vec![call] },
        ]
    }

    #[test]
    fn an_answer_may_be_cut_anywhere() {
        assert_eq!(read(cut_at(BODY, &[])), whole());
        for cut in 0..=BODY.len() {
            assert_eq!(read(cut_at(BODY, &[cut])), whole(), "cut at {cut}");
        }
        let single: Vec<usize> = (0..BODY.len()).collect();
        assert_eq!(read(cut_at(BODY, &single)), whole());
    }

    #[test]
    fn what_ends_anywhere_is_an_answer_or_a_fault_and_never_half_a_call() {
        for end in 0..BODY.len() {
            let Some(head) = BODY.as_bytes().get(..end) else { panic!("in range") };
            let events = read(vec![Bytes::copy_from_slice(head)]);
            let (last, before) = events.split_last().expect("an end");
            match last {
                AnswerEvent::Done { .. } => assert_eq!(events, whole()),
                AnswerEvent::Failed(AskError::Truncated) => assert_eq!(before, &whole()[..before.len()]),
                other => panic!("{other:?} at {end}"),
            }
        }
    }

    proptest! {
        #[test]
        fn an_answer_may_be_cut_into_any_pieces(cuts in prop::collection::vec(any::<usize>(), 0..40)) {
            prop_assert_eq!(read(cut_at(BODY, &cuts)), whole());
        }

        #[test]
        fn any_bytes_are_an_answer_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let events = read(vec![Bytes::from(bytes)]);
            let last = events.last().expect("an end");
            prop_assert!(matches!(last, AnswerEvent::Done { .. } | AnswerEvent::Failed(_)), "{events:?}");
        }
    }

    fn server(settings: Settings) -> Server {
        let http = Http::new(http::Settings::default()).unwrap();
        let offers = super::super::toolbox::Toolbox::new(Arc::new(settings.clone()), true).offers();
        Server::new(http, Arc::new(settings), offers).unwrap()
    }

    #[test]
    fn the_url_is_that_of_the_api_or_of_its_route() {
        let url = |url: &str| server(Settings { url: url.into(), ..Settings::default() }).url.to_string();
        assert_eq!(url("https://api.openai.com/v1"), "https://api.openai.com/v1/chat/completions");
        assert_eq!(url("http://[::1]:11434/v1/"), "http://[::1]:11434/v1/chat/completions");
        assert_eq!(url("https://a.b/x/chat/completions?api-version=1"), "https://a.b/x/chat/completions?api-version=1");
        assert_eq!(url("https://a.b/openai?key=1"), "https://a.b/openai/chat/completions?key=1");
        let http = Http::new(http::Settings::default()).unwrap();
        let wrong = Settings { url: "ftp://a.b".into(), ..Settings::default() };
        assert!(matches!(Server::new(http, Arc::new(wrong), vec![]), Err(HttpError::Url("url"))));
    }

    #[test]
    fn a_request_holds_what_is_set_and_nothing_else() {
        let bare = Settings {
            model: "m".into(),
            built_in: super::super::settings::BuiltIn {
                end_call: false,
                send_digits: false,
                collect_digits: false,
                ..Default::default()
            },
            ..Settings::default()
        };
        let question = |tools| Question { messages: vec![Message::User { content: "Hi".into() }], tools };
        let body = |settings: &Settings, tools| -> Value {
            serde_json::from_slice(&server(settings.clone()).body(&question(tools))).unwrap()
        };
        let least = serde_json::json!({
            "model": "m", "messages": [{ "role": "user", "content": "Hi" }], "stream": true
        });
        assert_eq!(body(&bare, Tools::Offered), least);
        assert_eq!(body(&bare, Tools::Withheld), least, "no word on tools that there are none of");
        let extra = serde_json::json!({ "top_p": 0.5 });
        let Value::Object(extra) = extra else { panic!("an object") };
        let full =
            Settings { temperature: Some(0.5), max_tokens: Some(99), extra, model: "m".into(), ..Settings::default() };
        let offered = body(&full, Tools::Offered);
        assert_eq!((&offered["temperature"], &offered["max_tokens"]), (&Value::from(0.5), &Value::from(99)));
        assert_eq!(offered["top_p"], 0.5);
        assert_eq!(offered["tools"][0]["function"]["name"], "end_call");
        assert_eq!(offered.get("tool_choice"), None);
        assert_eq!(body(&full, Tools::Withheld)["tool_choice"], "none");
    }

    #[test]
    fn a_key_is_shown_to_nobody() {
        let server = server(Settings { api_key: Some(Secret::new("hunter2")), ..Settings::default() });
        assert_eq!(server.headers["authorization"], "Bearer hunter2");
        assert!(!format!("{server:?}").contains("hunter2"));
    }
}
