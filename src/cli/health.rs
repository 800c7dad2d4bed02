//! `trunkline health`: asks a running gateway whether it is alive, so that an image needs no other program for that.

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A gateway that takes longer is not healthy.
const LIMIT: Duration = Duration::from_secs(2);

/// Arguments of `trunkline health`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HealthArgs {
    /// What to ask: `/healthz` while the process answers, `/readyz` while new calls are welcome.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/healthz")]
    url: String,
}

/// Why a gateway does not count as healthy. Each of them ends the program with exit code 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    /// It is not a URL that can be asked.
    #[error("--url must be an http URL with a host")]
    Url,
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
    match timeout(LIMIT, ask(&args.url)).await.map_err(|_| HealthError::Slow)?? {
        status if status.is_success() => Ok(()),
        status => Err(HealthError::Status(status)),
    }
}

async fn ask(url: &str) -> Result<StatusCode, HealthError> {
    let url: Uri = url.parse().map_err(|_| HealthError::Url)?;
    let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else { return Err(HealthError::Url) };
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(HOST, authority.as_str()).body(Empty::<Bytes>::new());
    let request = request.map_err(|_| HealthError::Url)?;
    // An IPv6 address stands in brackets in a URL and without them everywhere else.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.map_err(HealthError::Connect)?;
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
        let outcome = run(HealthArgs { url }).await;
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
        assert!(matches!(run(HealthArgs { url }).await, Err(HealthError::Connect(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_waited_for_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        assert!(matches!(run(HealthArgs { url }).await, Err(HealthError::Slow)));
    }

    #[tokio::test]
    async fn only_http_urls_are_asked() {
        for url in ["", "/healthz", "127.0.0.1:8080/healthz", "https://127.0.0.1/healthz"] {
            let outcome = run(HealthArgs { url: url.to_owned() }).await;
            assert!(matches!(outcome, Err(HealthError::Url)), "{url}: {outcome:?}");
        }
    }
}
