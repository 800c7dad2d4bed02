//! Every proxy that can stand in front: whatever it does to path, host and headers, and whatever a stranger writes into them, a
//! request that is signed for the public URL is taken, and one that is signed for anything else is not.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::gateway::{AUTH_TOKEN, Gateway};
use crate::support::soon;

/// Public URLs: with and without a port, a path, a slash at the end, TLS.
const PUBLIC_URLS: [&str; 8] = [
    "https://gw.example.com",
    "https://gw.example.com/",
    "https://gw.example.com:8443",
    "https://gw.example.com:443/gateways/one",
    "https://gw.example.com/gateways/one/",
    "https://gw.example.com:8443/twilio",
    "http://gw.example.com",
    "http://gw.example.com:8080/v1",
];

/// What a proxy, or somebody in front of it, says of where the request went.
const FORWARDED: [&str; 10] = [
    "",
    "X-Forwarded-Proto: https\r\nX-Forwarded-Host: gw.example.com\r\nX-Forwarded-For: 192.0.2.7\r\n",
    "X-Forwarded-Proto: http\r\n",
    "X-Forwarded-Host: evil.example.com\r\n",
    "X-Forwarded-Port: 81\r\n",
    "X-Forwarded-Prefix: /evil\r\nX-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\n",
    "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n",
    "Forwarded: for=192.0.2.7;host=gw.example.com;proto=https\r\n",
    "Forwarded: for=127.0.0.1;host=evil.example.com;proto=http\r\n",
    "X-Forwarded-Proto: http, https\r\nX-Forwarded-Host: evil.example.com, gw.example.com\r\n\
     Forwarded: host=evil.example.com\r\nForwarded: host=gw.example.com\r\nVia: 1.1 proxy\r\n",
];

/// Thousands of requests from one source, and a seat promised by each webhook.
const NO_LIMITS: &str = "limits.source_rate = 0\nserver.max_calls = 100000\n";
const HOSTS: [Option<&str>; 3] = [Some("gw.example.com"), Some("internal.example.net:9999"), None];
const FORM: &[(&str, &str)] = &[("CallSid", "CA1"), ("From", "+15550100001"), ("CallStatus", "ringing")];

/// Signs as Twilio's description says, by code of its own: the URL, then name and value of each distinct pair, sorted.
fn signature(key: &str, url: &str, form: &[(&str, &str)]) -> String {
    let mut text = url.to_owned();
    for (name, value) in form.iter().collect::<BTreeSet<_>>() {
        text.push_str(name);
        text.push_str(value);
    }
    let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The webhook, with a form.
    Post,
    /// The webhook, all in the query.
    Get,
    /// A media stream.
    Stream,
    /// The same with a slash behind it.
    StreamSlash,
}

impl What {
    const ALL: [What; 4] = [What::Post, What::Get, What::Stream, What::StreamSlash];

    const fn path(self) -> &'static str {
        match self {
            What::Post => "/twilio/voice?b=2&a=%41+x",
            What::Get => "/twilio/voice?CallSid=CA1&From=%2B15550100001",
            What::Stream => "/twilio/media",
            What::StreamSlash => "/twilio/media/",
        }
    }

    const fn form(self) -> &'static [(&'static str, &'static str)] {
        match self {
            What::Post => FORM,
            What::Get | What::Stream | What::StreamSlash => &[],
        }
    }

    /// The scheme of the URL that the carrier was told, for a public URL of that scheme.
    fn url(self, public: &str, path: &str) -> String {
        let public = public.trim_end_matches('/');
        let public = match self {
            What::Post | What::Get => public.to_owned(),
            What::Stream | What::StreamSlash => public.replacen("http", "ws", 1),
        };
        public + path
    }

    /// The status that says: this is the carrier.
    const fn welcome(self) -> u16 {
        match self {
            What::Post | What::Get => 200,
            What::Stream | What::StreamSlash => 101,
        }
    }
}

/// A connection as a proxy keeps one to its upstream.
struct Upstream {
    address: SocketAddr,
    kept: Option<BufReader<TcpStream>>,
}

impl Upstream {
    /// Sends one request; the status of its answer.
    async fn ask(&mut self, what: What, path: &str, host: Option<&str>, headers: &str, body: &str) -> u16 {
        let host = host.map(|host| format!("Host: {host}\r\n")).unwrap_or_default();
        let (method, more) = match what {
            What::Post => {
                let length = body.len();
                ("POST", format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n"))
            }
            What::Get => ("GET", String::new()),
            What::Stream | What::StreamSlash => (
                "GET",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    .to_owned(),
            ),
        };
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                BufReader::new(stream)
            }
        };
        let request = format!("{method} {path} HTTP/1.1\r\n{host}{headers}{more}\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let status = soon("the answer", answer(&mut stream)).await;
        if status != 101 {
            self.kept = Some(stream);
        }
        status
    }
}

async fn answer(stream: &mut BufReader<TcpStream>) -> u16 {
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        } else if status == 0 {
            status = line.split(' ').nth(1).unwrap().parse().unwrap();
        } else if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    status
}

fn encoded(form: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

/// The path of a public URL, without a slash at its end.
fn prefix(public: &str) -> &str {
    let authority = public.split_once("://").unwrap().1;
    authority.find('/').map_or("", |at| authority[at..].trim_end_matches('/'))
}

/// URLs that look like ours, and are not.
fn strangers(public: &str, what: What) -> Vec<String> {
    let url = what.url(public, what.path());
    let origin = public.trim_end_matches('/').strip_suffix(prefix(public)).unwrap();
    let other = if public.starts_with("https") {
        public.replacen("https", "http", 1)
    } else {
        public.replacen("http", "https", 1)
    };
    let host = |host: &str| url.replacen("gw.example.com", host, 1);
    let mut urls = vec![
        what.url(&other, what.path()),
        host("evil.example.com"),
        host("gw.example.com.evil.example"),
        host("user@gw.example.com"),
        host("GW.example.com"),
        host("gw.example.com."),
        what.url(&format!("{origin}/evil{}", prefix(public)), what.path()),
        what.url(public, "/twilio/after"),
        what.url(public, "/twilio/voic"),
        format!("{url}x"),
        format!("{url}#x"),
        what.url(public, &what.path().replace("twilio", "Twilio")),
        what.url("http://evil.example.com:81/evil", what.path()),
        what.url("http://internal.example.net:9999", what.path()),
        String::new(),
    ];
    // The port may be left out, or be that of the scheme; another one is somebody else.
    urls.push(format!(
        "{}:8444{}",
        url.split(":8").next().unwrap().split("/gateways").next().unwrap(),
        "/twilio/voice"
    ));
    if !prefix(public).is_empty() {
        urls.push(what.url(origin, what.path()));
    }
    if what.path().contains('?') {
        urls.push(url.replace("?", "?x=1&"));
        urls.push(url.split('?').next().unwrap().to_owned());
    }
    urls
}

#[tokio::test]
async fn a_request_is_taken_for_what_it_was_signed_for_whatever_stands_in_between() {
    let (mut taken, mut refused) = (0, 0);
    for public in PUBLIC_URLS {
        let gateway = Gateway::signed(public, NO_LIMITS).await;
        let mut upstream = Upstream { address: gateway.address, kept: None };
        let prefix = prefix(public);
        // A proxy passes the path of the public URL on, or takes it away.
        let locals: BTreeSet<&str> = [prefix, ""].into();
        for what in What::ALL {
            let good = signature(AUTH_TOKEN, &what.url(public, what.path()), what.form());
            let strangers = strangers(public, what);
            let mut others = strangers.iter().cycle();
            let body = encoded(what.form());
            for local in &locals {
                for host in HOSTS {
                    for forwarded in FORWARDED {
                        let path = format!("{local}{}", what.path());
                        let signed = |signature: &str| format!("{forwarded}X-Twilio-Signature: {signature}\r\n");
                        let status = upstream.ask(what, &path, host, &signed(&good), &body).await;
                        let case = format!("{public} {what:?} {path} {host:?} {forwarded:?}");
                        assert_eq!(status, what.welcome(), "{case}");
                        taken += 1;
                        let other = others.next().unwrap();
                        let forged = signature(AUTH_TOKEN, other, what.form());
                        let status = upstream.ask(what, &path, host, &signed(&forged), &body).await;
                        assert_eq!(status, 403, "signed for {other}: {case}");
                        refused += 1;
                    }
                }
            }
            // All strangers, and the right URL with another key, without proxies in between.
            for other in &strangers {
                let header = format!("X-Twilio-Signature: {}\r\n", signature(AUTH_TOKEN, other, what.form()));
                let path = format!("{prefix}{}", what.path());
                let status = upstream.ask(what, &path, HOSTS[0], &header, &body).await;
                assert_eq!(status, 403, "{public} {what:?} signed for {other}");
                refused += 1;
            }
            for key in ["", "12346", "1234", "123450"] {
                let forged = signature(key, &what.url(public, what.path()), what.form());
                let header = format!("X-Twilio-Signature: {forged}\r\n");
                let status = upstream.ask(what, what.path(), HOSTS[0], &header, &body).await;
                assert_eq!(status, 403, "{public} {what:?} with the key {key:?}");
                refused += 1;
            }
        }
    }
    assert!(taken > 1_000 && refused > 1_000, "{taken} taken, {refused} refused");
}

#[tokio::test]
async fn ports_that_the_scheme_means_anyway_may_be_signed_or_not() {
    for (public, forms) in [
        ("https://gw.example.com", ["https://gw.example.com", "https://gw.example.com:443"]),
        ("https://gw.example.com:443", ["https://gw.example.com", "https://gw.example.com:443"]),
        ("https://gw.example.com:8443", ["https://gw.example.com", "https://gw.example.com:8443"]),
        ("http://gw.example.com", ["http://gw.example.com", "http://gw.example.com:80"]),
    ] {
        let gateway = Gateway::signed(public, NO_LIMITS).await;
        let mut upstream = Upstream { address: gateway.address, kept: None };
        for form in forms {
            for what in What::ALL {
                let header = format!(
                    "X-Twilio-Signature: {}\r\n",
                    signature(AUTH_TOKEN, &what.url(form, what.path()), what.form())
                );
                let status = upstream.ask(what, what.path(), None, &header, &encoded(what.form())).await;
                assert_eq!(status, what.welcome(), "{public} {what:?} signed for {form}");
            }
        }
    }
}

#[tokio::test]
async fn forms_of_every_kind_are_signed_pair_by_pair() {
    let gateway = Gateway::signed("https://gw.example.com", NO_LIMITS).await;
    let mut upstream = Upstream { address: gateway.address, kept: None };
    let many: String = (0..300).rev().map(|n| format!("&p{n}=v{n}")).collect();
    let many_pairs: Vec<(String, String)> = (0..300).map(|n| (format!("p{n}"), format!("v{n}"))).collect();
    let mut many_pairs: Vec<(&str, &str)> =
        many_pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    many_pairs.push(("CallSid", "CA1"));
    let many = format!("CallSid=CA1{many}");
    let bodies: &[(&str, &[(&str, &str)])] = &[
        ("CallSid=CA1", &[("CallSid", "CA1")]),
        ("CallSid=CA1&a=1&a=2", &[("CallSid", "CA1"), ("a", "1"), ("a", "2")]),
        ("a=2&a=1&CallSid=CA1", &[("CallSid", "CA1"), ("a", "1"), ("a", "2")]),
        ("a=1&CallSid=CA1&a=1", &[("CallSid", "CA1"), ("a", "1")]),
        ("B=1&a=2&CallSid=CA1&_=3", &[("B", "1"), ("CallSid", "CA1"), ("_", "3"), ("a", "2")]),
        ("CallSid=CA1&empty=&bare", &[("CallSid", "CA1"), ("bare", ""), ("empty", "")]),
        ("CallSid=CA1&&=nameless&", &[("", "nameless"), ("CallSid", "CA1")]),
        ("CallSid=CA1&City=Z%C3%BCrich+West", &[("CallSid", "CA1"), ("City", "Zürich West")]),
        ("CallSid=CA1&%F0%9F%93%9E=%E2%98%8E", &[("CallSid", "CA1"), ("\u{1F4DE}", "\u{260E}")]),
        ("CallSid=CA1&City=Zürich", &[("CallSid", "CA1"), ("City", "Zürich")]),
        ("CallSid=CA1&plus=1%2B1+2", &[("CallSid", "CA1"), ("plus", "1+1 2")]),
        ("%43allSid=CA1&a%3Db=c%26d", &[("CallSid", "CA1"), ("a=b", "c&d")]),
        ("CallSid=CA1&line=a%0D%0Ab", &[("CallSid", "CA1"), ("line", "a\r\nb")]),
        (&many, &many_pairs),
    ];
    let url = "https://gw.example.com/twilio/voice";
    for (body, pairs) in bodies {
        let mut status = async |pairs: &[(&str, &str)], body: &str| {
            let header = format!("X-Twilio-Signature: {}\r\n", signature(AUTH_TOKEN, url, pairs));
            upstream.ask(What::Post, "/twilio/voice", None, &header, body).await
        };
        assert_eq!(status(pairs, body).await, 200, "{body:.80}");
        // One pair more, one less, one changed: somebody else's request.
        for forged in [
            format!("{body}&x=1"),
            format!("{body}&CallSid=CA2"),
            body.replacen("CA1", "CA2", 1),
            body.replacen("CallSid=CA1", "callSid=CA1", 1).replacen("%43allSid", "%63allSid", 1),
            String::new(),
        ] {
            assert_eq!(status(pairs, &forged).await, 403, "{forged:.80}");
        }
        assert_eq!(status(&pairs[..pairs.len() - 1], body).await, 403, "{body:.80}");
    }
}
