//! The request with which the carrier asks what to do with a call, and the answer that names a stream.

use std::collections::BTreeMap;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::dial::{Address, Connection, DialError, Line};
use super::signature;
use crate::ids::CallSid;

/// Longest answer read, in bytes; the carrier's own limit for instructions is of this order.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A call that has come in.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Name of the call.
    pub call_sid: CallSid,
    /// Name of the account.
    pub account_sid: String,
    /// The caller's number.
    pub from: String,
    /// The number that was called.
    pub to: String,
}

/// The stream that the answer asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOffer {
    /// Where to stream to.
    pub url: String,
    /// What to send as `customParameters`.
    pub parameters: BTreeMap<String, String>,
}

/// Why no stream was offered.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The webhook could not be reached.
    #[error("the webhook cannot be reached")]
    Dial(#[from] DialError),
    /// The request could not be made.
    #[error("the webhook request cannot be written")]
    Request(#[from] hyper::http::Error),
    /// The connection broke.
    #[error("the webhook request failed")]
    Http(#[from] hyper::Error),
    /// Too slow.
    #[error("no answer from the webhook within {0} seconds")]
    Slow(f32),
    /// Not 200.
    #[error("the webhook answered {0}")]
    Status(StatusCode),
    /// The answer is too long, or broke off.
    #[error("the webhook's answer is longer than {ANSWER_BYTES_MAX} bytes or broke off")]
    Body,
    /// The answer is not XML.
    #[error("the webhook's answer is not xml")]
    Xml,
    /// The answer has no `<Connect><Stream>` with a `url`; named is the first instruction it has instead.
    #[error("the webhook's answer offers no <Connect><Stream url>, its first instruction is <{0}>")]
    NoStream(String),
}

/// Posts the call's form to `url` as the carrier does, signed if `line` has a token, and reads the answer.
///
/// Dropping the future closes the connection.
///
/// # Errors
/// [`WebhookError`] says why no stream was offered.
pub async fn ask(url: &str, line: &Line, call: &Incoming) -> Result<StreamOffer, WebhookError> {
    let address = Address::parse(url, "http", "https", "http:// and https://")?;
    let connection = address.connect(line).await?;
    let request = request(url, &address, line, call)?;
    let answer = timeout(line.limit, exchange(connection, request));
    let (status, body) = answer.await.map_err(|_| WebhookError::Slow(line.limit.as_secs_f32()))??;
    if status != StatusCode::OK {
        return Err(WebhookError::Status(status));
    }
    offer(std::str::from_utf8(&body).map_err(|_| WebhookError::Xml)?)
}

fn request(
    url: &str,
    address: &Address,
    line: &Line,
    call: &Incoming,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let form = form(call);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
    let path = address.uri.path_and_query().map_or("/", |path| path.as_str());
    let host = address.uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::post(path).header(HOST, host).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(token) = &line.auth_token {
        request = request.header(signature::HEADER, signature::sign(token, url, &form));
    }
    request.body(Full::from(body))
}

/// The fields that every incoming call has; the real carrier sends more.
fn form(call: &Incoming) -> Vec<(String, String)> {
    [
        ("CallSid", call.call_sid.as_str()),
        ("AccountSid", &call.account_sid),
        ("ApiVersion", "2010-04-01"),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
        ("From", &call.from),
        ("Caller", &call.from),
        ("To", &call.to),
        ("Called", &call.to),
        ("CallerName", ""),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

async fn exchange(connection: Connection, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), WebhookError> {
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
    // The driver moves bytes while the request is answered, and ends with this set.
    let mut drivers = JoinSet::new();
    drivers.spawn(driver);
    let (parts, body) = Response::into_parts(sender.send_request(request).await?);
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| WebhookError::Body)?;
    Ok((parts.status, body.to_bytes()))
}

/// Reads the carrier's instructions for the first `<Connect><Stream>`.
fn offer(xml: &str) -> Result<StreamOffer, WebhookError> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut path: Vec<String> = Vec::new();
    let (mut found, mut first) = (None, None);
    loop {
        match reader.read_event().map_err(|_| WebhookError::Xml)? {
            Event::Start(element) => {
                path.push(name_of(&element));
                visit(&path, &element, &mut found, &mut first)?;
            }
            Event::Empty(element) => {
                path.push(name_of(&element));
                visit(&path, &element, &mut found, &mut first)?;
                path.pop();
            }
            Event::End(_) => {
                path.pop();
            }
            Event::Eof => break,
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {}
        }
    }
    // A stream without an address is no stream.
    let found = found.filter(|offer: &StreamOffer| !offer.url.is_empty());
    found.ok_or_else(|| WebhookError::NoStream(first.unwrap_or_else(|| "none".to_owned())))
}

fn visit(
    path: &[String],
    element: &BytesStart<'_>,
    found: &mut Option<StreamOffer>,
    first: &mut Option<String>,
) -> Result<(), WebhookError> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match (names.as_slice(), &mut *found) {
        (["Response", "Connect", "Stream"], None) => {
            let url = attribute(element, "url")?.unwrap_or_default();
            *found = Some(StreamOffer { url, parameters: BTreeMap::new() });
        }
        (["Response", "Connect", "Stream", "Parameter"], Some(offer)) => {
            if let (Some(name), Some(value)) = (attribute(element, "name")?, attribute(element, "value")?) {
                offer.parameters.insert(name, value);
            }
        }
        (["Response", instruction], _) if first.is_none() => *first = Some((*instruction).to_owned()),
        _ => {}
    }
    Ok(())
}

fn name_of(element: &BytesStart<'_>) -> String {
    element.name().as_ref().to_owned()
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, WebhookError> {
    let attribute = element.try_get_attribute(name).map_err(|_| WebhookError::Xml)?;
    let value = attribute.map(|found| found.normalized_value(XmlVersion::Explicit1_0).map(|value| value.into_owned()));
    value.transpose().map_err(|_| WebhookError::Xml)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::dial::Route;
    use super::super::plan::AuthToken;
    use super::*;

    const TWIML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <Response><!-- first this --><Connect action="/after"><Stream url="wss://gw.example.com/media?a=1&amp;b=2">
          <Parameter name="token" value="a&quot;b&lt;"/><Parameter name="tenant" value="acme"></Parameter>
        </Stream></Connect><Hangup/></Response>"#;

    fn call() -> Incoming {
        Incoming {
            call_sid: CallSid::parse("CA00000000000000000000000000000002").unwrap(),
            account_sid: "AC00000000000000000000000000000001".into(),
            from: "+15550100001".into(),
            to: "+15550100002".into(),
        }
    }

    #[test]
    fn the_stream_and_its_parameters_are_found() {
        let offer = offer(TWIML).unwrap();
        assert_eq!(offer.url, "wss://gw.example.com/media?a=1&b=2");
        let pairs: Vec<_> = offer.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("tenant", "acme"), ("token", "a\"b<")]);
    }

    #[test]
    fn answers_without_a_two_way_stream_say_what_they_have() {
        let first = |xml| match offer(xml) {
            Err(WebhookError::NoStream(first)) => first,
            other => panic!("{other:?}"),
        };
        assert_eq!(first("<Response><Start><Stream url='wss://a'/></Start></Response>"), "Start");
        assert_eq!(first("<Response><Redirect>https://b</Redirect></Response>"), "Redirect");
        assert_eq!(first("<Response><Connect><Stream/></Connect></Response>"), "Connect");
        assert_eq!(first("<Response/>"), "none");
        assert!(matches!(offer("<Response></Wrong>"), Err(WebhookError::Xml)));
    }

    /// A webhook for one request; gives what it was sent.
    async fn serve(listener: &TcpListener, answer: String) -> String {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut chunk = [0; 4_096];
        while !String::from_utf8_lossy(&request).contains("CallerName=") {
            let count = socket.read(&mut chunk).await.unwrap();
            assert!(count > 0, "the request broke off");
            request.extend_from_slice(&chunk[..count]);
        }
        socket.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn the_form_is_posted_and_signed_over_the_public_url() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let route = Route::Plain(listener.local_addr().unwrap().to_string());
        let line = Line { route, auth_token: Some(AuthToken::new("12345")), ..Line::default() };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{TWIML}", TWIML.len());
        let call = call();
        let asked = ask("https://gw.example.com/twilio/voice", &line, &call);
        let (offered, request) = tokio::join!(asked, serve(&listener, answer));
        assert_eq!(offered.unwrap().parameters.len(), 2);
        assert!(request.starts_with("POST /twilio/voice HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: gw.example.com\r\n"), "{request}");
        assert!(request.contains("From=%2B15550100001&"), "{request}");
        // The vendor's library gives this for the same form.
        assert!(request.contains("x-twilio-signature: A7F6AL10gg9NZpZsN4nAlljdDsw=\r\n"), "{request}");
    }

    #[tokio::test]
    async fn refusals_and_endless_answers_are_errors() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Line { route: Route::Plain(listener.local_addr().unwrap().to_string()), ..Line::default() };
        let call = call();
        let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_owned();
        let (refused, _) = tokio::join!(ask("http://gw.test/voice", &line, &call), serve(&listener, refusal));
        assert!(matches!(refused, Err(WebhookError::Status(StatusCode::FORBIDDEN))));
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(ANSWER_BYTES_MAX + 1));
        let (endless, _) = tokio::join!(ask("http://gw.test/voice", &line, &call), serve(&listener, endless));
        assert!(matches!(endless, Err(WebhookError::Body)));
    }
}
