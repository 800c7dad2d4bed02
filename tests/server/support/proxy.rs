//! A reverse proxy on loopback, as it stands in front of a gateway: rewrites the path, names another `Host`, adds its own
//! headers, and passes everything after the head through, upgrades included.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What becomes of the public URL's path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path {
    /// It is passed on.
    Kept,
    /// This prefix is taken away.
    Stripped(&'static str),
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// In front of `upstream`; every request goes there with what a stranger could have written into it.
    pub(crate) async fn start(upstream: SocketAddr, path: Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                relays.spawn(relay(client, upstream, path));
            }
        });
        Proxy { address, _serving: serving }
    }
}

async fn relay(client: TcpStream, upstream: SocketAddr, path: Path) {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while client.read_line(&mut head).await.is_ok_and(|read| read > 2) {}
    let mut server = TcpStream::connect(upstream).await.unwrap();
    server.write_all(rewritten(&head, path).as_bytes()).await.unwrap();
    // Either side may break off; the other sees the end.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

fn rewritten(head: &str, path: Path) -> String {
    let mut lines = head.lines();
    let request = lines.next().unwrap();
    let request = match path {
        Path::Kept => request.to_owned(),
        Path::Stripped(prefix) => request.replacen(&format!(" {prefix}/"), " /", 1),
    };
    let others = lines.filter(|line| !line.is_empty() && !line.to_ascii_lowercase().starts_with("host:"));
    let mut head = format!("{request}\r\nHost: internal.example.net:9999\r\n");
    for line in others {
        head += &format!("{line}\r\n");
    }
    head + "X-Forwarded-Host: evil.example.com\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 81\r\n\
        X-Forwarded-Prefix: /evil\r\nX-Original-URL: /evil\r\nForwarded: host=evil.example.com;proto=http\r\n\r\n"
}
