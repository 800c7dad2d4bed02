//! The same server behind real loopback sockets, with and without TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::Connector;

use super::*;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running server; stops when dropped.
struct Running {
    journal: Journal,
    addr: SocketAddr,
    url: String,
    cancel: CancellationToken,
    task: JoinSet<()>,
}

async fn start(settings: Settings) -> (Running, Option<String>) {
    let server = Server::bind(LOOPBACK, settings).await.unwrap();
    let ca = server.ca_pem().map(str::to_owned);
    let (journal, addr, url) = (server.journal(), server.local_addr(), server.url());
    let cancel = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(server.run(cancel.clone()));
    (Running { journal, addr, url, cancel, task }, ca)
}

async fn dial(url: &str, ca: Option<&str>) -> Result<(), WsError> {
    let mut request = format!("{url}?api_key=k&cartesia_version=2026-08-14").into_client_request()?;
    request.headers_mut().insert("user-agent", "test".parse().unwrap());
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = Some(Connector::Rustls(Arc::new(config)));
    let (mut socket, _) = tokio_tungstenite::connect_async_tls_with_config(request, None, true, connector).await?;
    socket.send(Message::text(last("c", "Hello over a real socket.").to_string())).await?;
    let limit = Duration::from_secs(20);
    while let Some(message) = timeout(limit, socket.next()).await.expect("an answer in time") {
        if message?.to_text()?.contains("\"type\":\"done\"") {
            return socket.close(None).await;
        }
    }
    Err(WsError::ConnectionClosed)
}

fn fast() -> Settings {
    Settings { speed_factor: 100.0, ..tone() }
}

#[tokio::test]
async fn a_client_speaks_over_tcp_and_the_server_stops_when_told() {
    let (mut running, _) = start(fast()).await;
    assert_eq!(running.url, format!("ws://{}{PATH}", running.addr));
    dial(&running.url, None).await.unwrap();
    let record = running.journal.context("c").unwrap();
    assert_eq!(record.samples_sent, 25 * 480);
    running.cancel.cancel();
    timeout(Duration::from_secs(10), running.task.join_next()).await.expect("it stops").unwrap().unwrap();
    assert!(dial(&running.url, None).await.is_err());
}

#[tokio::test]
async fn an_abort_is_a_reset() {
    let (running, _) = start(Settings { faults: vec!["abort=3".parse().unwrap()], ..fast() }).await;
    let error = dial(&running.url, None).await.unwrap_err();
    assert!(matches!(error, WsError::Io(_) | WsError::Protocol(_)), "a polite end: {error:?}");
    assert!(running.journal.context("c").unwrap().samples_sent > 0);
}

#[tokio::test]
async fn tls_is_trusted_by_its_authority_and_its_name_only() {
    let file = std::env::temp_dir().join(format!("trunkline-ca-{}.pem", std::process::id()));
    let tls = TlsSettings { ca_out: Some(file.clone()), ..TlsSettings::default() };
    let (running, ca) = start(Settings { tls: Some(tls), ..fast() }).await;
    let ca = ca.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), ca);
    std::fs::remove_file(&file).unwrap();
    assert!(running.url.starts_with("wss://localhost:"));
    dial(&running.url, Some(&ca)).await.unwrap();

    let by_address = running.url.replace("localhost", "127.0.0.1");
    let error = dial(&by_address, Some(&ca)).await.unwrap_err().to_string();
    assert!(error.contains("certificate not valid for name"), "{error}");
    let (_other, stranger) = start(Settings { tls: Some(TlsSettings::default()), ..fast() }).await;
    let error = dial(&running.url, stranger.as_deref()).await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    assert_eq!(running.journal.counts().handshakes, 1);
}

#[tokio::test]
async fn mistakes_in_the_settings_stop_the_start() {
    let bind = async |settings| Server::bind(LOOPBACK, settings).await.map(drop).unwrap_err().to_string();
    assert_eq!(bind(Settings { speed_factor: 0.0, ..tone() }).await, "speed_factor is out of range");
    assert_eq!(bind(Settings { chunk: Duration::ZERO, ..tone() }).await, "chunk is out of range");
    let nowhere = TlsSettings { ca_out: Some("/nonexistent/ca.pem".into()), ..TlsSettings::default() };
    assert!(bind(Settings { tls: Some(nowhere), ..tone() }).await.starts_with("cannot write the certificate"));
    let (running, _) = start(tone()).await;
    let taken = Server::bind(running.addr, tone()).await.map(drop).unwrap_err();
    assert!(matches!(taken, ServerError::Listen { addr, .. } if addr == running.addr));
}
