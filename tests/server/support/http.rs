//! A plain HTTP client: one request a connection, nothing hidden.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::soon;

/// A request to be sent.
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// The answer to it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Request { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", &body.to_string())
    }

    pub(crate) fn form(self, body: &str) -> Self {
        self.body("application/x-www-form-urlencoded", body)
    }

    pub(crate) fn body(mut self, content_type: &str, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self.header("Content-Type", content_type)
    }

    /// Everything in front of the body. `Host` is the address, unless a header says otherwise.
    fn head(&self, address: SocketAddr, framing: &str) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name == "Host") {
            head += &format!("Host: {address}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + framing + "\r\n"
    }

    pub(crate) async fn send(self, address: SocketAddr) -> Answer {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = format!("Content-Length: {}\r\nConnection: close\r\n", self.body.len());
        let mut bytes = self.head(address, &length).into_bytes();
        bytes.extend_from_slice(&self.body);
        // A server that has heard enough may answer and close before it has read all.
        let _ = stream.write_all(&bytes).await;
        Answer::read(stream).await
    }

    /// Sends the head alone; the body follows in chunks.
    pub(crate) async fn stream(self, address: SocketAddr) -> Streaming {
        self.stream_on(TcpStream::connect(address).await.unwrap(), address).await
    }

    pub(crate) async fn stream_on(self, mut stream: TcpStream, address: SocketAddr) -> Streaming {
        let head = self.head(address, "Transfer-Encoding: chunked\r\nConnection: close\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Streaming { stream }
    }
}

/// A request whose body is being sent.
pub(crate) struct Streaming {
    pub(crate) stream: TcpStream,
}

impl Streaming {
    pub(crate) async fn chunk(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.stream.write_all(chunk.as_bytes()).await.unwrap();
    }

    pub(crate) async fn finish(mut self) -> Answer {
        self.stream.write_all(b"0\r\n\r\n").await.unwrap();
        Answer::read(self.stream).await
    }

    /// The answer, whether or not the body has been sent.
    pub(crate) async fn answer(self) -> Answer {
        Answer::read(self.stream).await
    }
}

impl Answer {
    async fn read(stream: TcpStream) -> Answer {
        let mut stream = BufReader::new(stream);
        soon("the answer", async {
            let (status, headers) = head(&mut stream).await;
            let mut body = Vec::new();
            match headers.get("content-length") {
                Some(length) => {
                    body.resize(length.parse().unwrap(), 0);
                    stream.read_exact(&mut body).await.unwrap();
                }
                None => {
                    stream.read_to_end(&mut body).await.unwrap();
                }
            }
            Answer { status, headers, body: String::from_utf8(body).unwrap() }
        })
        .await
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Number of the turn in the answer to a `say`.
    pub(crate) fn turn(&self) -> u64 {
        assert_eq!(self.status, 202, "{self:?}");
        self.json()["turn"].as_u64().unwrap()
    }
}

async fn head(stream: &mut BufReader<TcpStream>) -> (u16, BTreeMap<String, String>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines.first().expect("a status line").split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    (status, headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect())
}

/// A stream of server-sent events.
pub(crate) struct Events {
    stream: BufReader<TcpStream>,
}

impl Events {
    pub(crate) async fn open(request: Request, address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.head(address, "").as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let (status, headers) = soon("the head of the events", head(&mut stream)).await;
        assert_eq!((status, headers["content-type"].as_str()), (200, "text/event-stream"));
        Events { stream }
    }

    /// The next event, name and data; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        let mut name = None;
        loop {
            let mut line = String::new();
            let read = soon("an event", self.stream.read_line(&mut line)).await.unwrap_or(0);
            // A connection that is cut off ends like one that is closed, or one whose last chunk has come.
            if read == 0 || line == "0\r\n" {
                return None;
            }
            // Between the lines stand the sizes of the transfer's chunks.
            if let Some(text) = line.strip_prefix("event: ") {
                name = Some(text.trim_end().to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name.unwrap(), serde_json::from_str(data).unwrap()));
            }
        }
    }

    /// Skips to the next event of a name.
    pub(crate) async fn skip_to(&mut self, name: &str) -> Value {
        while let Some((event, data)) = self.next().await {
            if event == name {
                return data;
            }
        }
        panic!("the events ended before {name}")
    }
}
