//! The same server behind real loopback sockets.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running server; stops when dropped.
struct Running {
    journal: Journal,
    url: String,
    cancel: CancellationToken,
    task: JoinSet<()>,
}

async fn start(settings: Settings) -> Running {
    let server = Server::bind(LOOPBACK, settings).await.unwrap();
    assert_eq!(server.url(), format!("ws://{}", server.local_addr()));
    assert_eq!(server.url_of(Dialect::Flux), format!("{}/v2/listen", server.url()));
    let (journal, url) = (server.journal(), server.url());
    let cancel = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(server.run(cancel.clone()));
    Running { journal, url, cancel, task }
}

/// Plays a clip to Flux and gives back the text of its first turn.
async fn first_turn(url: &str) -> Result<String, WsError> {
    let (query, headers) = credentials(Dialect::Flux);
    let mut request = format!("{url}/v2/listen?{query}").into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    for frame in [raw("thank-you.wav"), silence(1_500)].concat().chunks(160) {
        socket.send(Message::binary(frame.to_vec())).await?;
    }
    while let Some(message) = timeout(Duration::from_secs(20), socket.next()).await.expect("an answer in time") {
        let message: Value = serde_json::from_str(message?.to_text()?).unwrap_or_default();
        if message["event"] == "EndOfTurn" {
            socket.close(None).await?;
            return Ok(message["transcript"].as_str().unwrap().to_owned());
        }
    }
    Err(WsError::ConnectionClosed)
}

#[tokio::test]
async fn a_client_is_understood_over_tcp_and_the_server_stops_when_told() {
    let mut running = start(Settings::default()).await;
    assert_eq!(first_turn(&running.url).await.unwrap(), "Thank you.");
    assert_eq!((running.journal.recogniser(), running.journal.connections()[0].dialect), ("scripted", Dialect::Flux));
    running.cancel.cancel();
    timeout(Duration::from_secs(10), running.task.join_next()).await.expect("it stops").unwrap().unwrap();
    assert!(first_turn(&running.url).await.is_err());
}

#[tokio::test]
async fn a_drop_is_a_reset() {
    let running = start(with_faults(&["drop=500:1"])).await;
    let error = first_turn(&running.url).await.unwrap_err();
    assert!(matches!(error, WsError::Io(_) | WsError::Protocol(_)), "a polite end: {error:?}");
    assert_eq!(first_turn(&running.url).await.unwrap(), "Thank you.");
}

#[tokio::test]
async fn mistakes_in_the_settings_stop_the_start() {
    let bind = async |settings| Server::bind(LOOPBACK, settings).await.map(drop).unwrap_err().to_string();
    let certainty = Duration::from_millis(99);
    assert_eq!(bind(Settings { certainty, ..Settings::default() }).await, "certainty is out of range");
    let latency = Duration::from_secs(61);
    assert_eq!(bind(Settings { latency, ..Settings::default() }).await, "latency is out of range");
    assert_eq!(bind(with_faults(&["close=1005"])).await, "close is out of range");
}
