//! `trunkline health`: asks a running gateway whether it is alive, so that an image needs no other program for that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use trunkline::http::{TrustError, trust};

/// A gateway that takes longer is not healthy.
const LIMIT: Duration = Duration::from_secs(2);

/// Arguments of `trunkline health`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HealthArgs {
    /// What to ask: `/healthz` while the process answers, `/readyz` while new calls are welcome.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/healthz")]
    url: String,
    /// PEM file of the authority to trust for an https URL, in place of the public ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Name that the certificate has to be good for, where the URL names this machine by another one.
    #[arg(long, value_name = "HOST")]
    name: Option<String>,
}

/// Why a gateway does not count as healthy. Each of them ends the program with exit code 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    /// It is not a URL that can be asked.
    #[error("--url must be an http or https URL with a host")]
    Url,
    /// The name is none that a certificate could be good for.
    #[error("--name must be a host name")]
    Name,
    /// The authority cannot be used.
    #[error("--ca")]
    Trust(#[from] TrustError),
    /// It does not prove to be who it should be, or wants a certificate of us.
    #[error("no TLS connection")]
    Tls(#[source] std::io::Error),
    /// Nobody listens there.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// What answered does not speak HTTP.
    #[error("no answer")]
    Http(#[from] hyper::Error),
    /// It answered that it is not.
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    /// It did not answer in time.
    #[error("no answer within {} seconds", LIMIT.as_secs())]
    Slow,
}

/// Asks once; succeeds if the answer does.
pub(crate) async fn run(args: HealthArgs) -> Result<(), HealthError> {
    match timeout(LIMIT, ask(&args)).await.map_err(|_| HealthError::Slow)?? {
        status if status.is_success() => Ok(()),
        status => Err(HealthError::Status(status)),
    }
}

async fn ask(args: &HealthArgs) -> Result<StatusCode, HealthError> {
    let url: Uri = args.url.parse().map_err(|_| HealthError::Url)?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err(HealthError::Url);
    };
    // An IPv6 address stands in brackets in a URL and without them everywhere else.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(HealthError::Connect)?;
    if scheme == "http" {
        return exchange(stream, &url, authority).await;
    }
    let name = args.name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|_| HealthError::Name)?;
    let tls = TlsConnector::from(Arc::new(trust(args.ca.as_deref())?));
    let stream = tls.connect(name, stream).await.map_err(HealthError::Tls)?;
    exchange(stream, &url, authority).await
}

async fn exchange<S>(stream: S, url: &Uri, authority: &Authority) -> Result<StatusCode, HealthError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(HOST, authority.as_str()).body(Empty::<Bytes>::new());
    let request = request.map_err(|_| HealthError::Url)?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The driver moves bytes while the request is answered, and ends with this set.
    let mut drivers = JoinSet::new();
    drivers.spawn(driver);
    Ok(sender.send_request(request).await?.status())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn args(url: String) -> HealthArgs {
        HealthArgs { url, ca: None, name: None }
    }

    /// Asks a server that answers with `answer` and then goes away; what came of it, and the request's first line.
    async fn asked(answer: &'static str) -> (Result<(), HealthError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1_024];
            let count = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..count]).lines().next().unwrap().to_owned()
        });
        let outcome = run(args(url)).await;
        (outcome, server.join_next().await.unwrap().unwrap())
    }

    #[tokio::test]
    async fn an_answer_decides() {
        let (outcome, request) = asked("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n").await;
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(request, "GET /readyz HTTP/1.1");
        let (outcome, _) = asked("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        assert!(matches!(outcome, Err(HealthError::Status(StatusCode::SERVICE_UNAVAILABLE))), "{outcome:?}");
        let (outcome, _) = asked("220 mail.example.com\r\n").await;
        assert!(matches!(outcome, Err(HealthError::Http(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn nobody_there_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        drop(listener);
        assert!(matches!(run(args(url)).await, Err(HealthError::Connect(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_waited_for_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        assert!(matches!(run(args(url)).await, Err(HealthError::Slow)));
    }

    #[tokio::test]
    async fn only_urls_of_http_are_asked() {
        for url in ["", "/healthz", "127.0.0.1:8080/healthz", "ftp://127.0.0.1/healthz"] {
            let outcome = run(args(url.to_owned())).await;
            assert!(matches!(outcome, Err(HealthError::Url)), "{url}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_gateway_that_speaks_tls_is_asked_by_its_name() {
        let pair = rcgen::generate_simple_self_signed(["gw.example.com".to_owned()]).unwrap();
        let file = std::env::temp_dir().join(format!("trunkline-health-{}.pem", std::process::id()));
        std::fs::write(&file, pair.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()).into();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/healthz", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0; 1_024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        });
        let ask = async |ca: Option<&PathBuf>, name: Option<&str>| {
            run(HealthArgs { url: url.clone(), ca: ca.cloned(), name: name.map(str::to_owned) }).await
        };
        let outcome = ask(Some(&file), Some("gw.example.com")).await;
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(matches!(ask(Some(&file), None).await, Err(HealthError::Tls(_))));
        assert!(matches!(ask(None, Some("gw.example.com")).await, Err(HealthError::Tls(_))));
        assert!(matches!(ask(Some(&file), Some("not a name")).await, Err(HealthError::Name)));
        let _ = std::fs::remove_file(&file);
        assert!(matches!(ask(Some(&file), None).await, Err(HealthError::Trust(_))));
    }
}
