//! A vendor behind a listening socket, with or without TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{Journal, ServerError, Settings, Shared, connection, tls};

/// Connections that are served at once, whatever the settings allow; one more is dropped.
const CONNECTIONS_MAX: usize = 2_000;

/// Sockets open at once if the settings say nothing; one more is refused with HTTP 429.
const SOCKETS_MAX: u32 = 1_000;

/// Longest time from TCP connect to the end of the TLS handshake.
const TLS_LIMIT: Duration = Duration::from_secs(10);

/// Wait after the system refused to accept a connection (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Longest wait for open connections when the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// A listening server. Nothing is accepted before [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    tls: Option<tls::Identity>,
    shared: Arc<Shared>,
}

impl Server {
    /// Binds `addr` (port 0 takes a free one) and, for TLS, makes the authority and writes its certificate.
    ///
    /// # Errors
    /// [`ServerError`] says what is wrong.
    pub async fn bind(addr: SocketAddr, mut settings: Settings) -> Result<Self, ServerError> {
        settings.sockets_max.get_or_insert(SOCKETS_MAX);
        let shared = Arc::new(Shared::new(settings)?);
        let mut identity = None;
        if let Some(tls) = &shared.settings.tls {
            let made = tls::identity(&tls.names)?;
            if let Some(path) = &tls.ca_out {
                let written = tokio::fs::write(path, &made.ca_pem).await;
                written.map_err(|source| ServerError::CaOut { path: path.clone(), source })?;
            }
            identity = Some(made);
        }
        let listener = TcpListener::bind(addr).await.map_err(|source| ServerError::Listen { addr, source })?;
        let local_addr = listener.local_addr().map_err(|source| ServerError::Listen { addr, source })?;
        Ok(Self { listener, local_addr, tls: identity, shared })
    }

    /// The address that is listened on, with the port that was taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where clients connect; with TLS by the first name of the certificate. Where a vendor has several paths, or one with
    /// the voice in it, this is their base, without a path.
    pub fn url(&self) -> String {
        let path = self.shared.settings.vendor.path().unwrap_or_default();
        match &self.shared.settings.tls {
            Some(tls) => {
                let name = tls.names.first().map_or("localhost", String::as_str);
                format!("wss://{name}:{}{path}", self.local_addr.port())
            }
            None => format!("ws://{}{path}", self.local_addr),
        }
    }

    /// The authority's certificate in PEM, if the server speaks TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(|identity| identity.ca_pem.as_str())
    }

    /// The record of what happens here; stays readable when the server is gone.
    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    /// Serves until `cancel`, then closes every socket with code 1001. Dropping the future drops all connections.
    pub async fn run(self, cancel: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let acceptor = self.tls.map(|identity| TlsAcceptor::from(identity.config));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Without it, small messages wait for acknowledgements; if it fails, so will the connection.
            stream.set_nodelay(true).ok();
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let (shared, acceptor, cancel) = (Arc::clone(&self.shared), acceptor.clone(), cancel.child_token());
            connections.spawn(async move {
                match acceptor {
                    None => connection::serve(stream, sever, shared, cancel).await,
                    Some(acceptor) => {
                        // A failed handshake is the client's business: it knows why it does not trust us.
                        if let Ok(Ok(stream)) = tokio::time::timeout(TLS_LIMIT, acceptor.accept(stream)).await {
                            connection::serve(stream, sever_tls, shared, cancel).await;
                        }
                    }
                }
                drop(place);
            });
        }
        drop(self.listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_LIMIT, drained).await.is_err() {
            tracing::warn!("connections did not close in time");
        }
    }
}

/// Makes the coming close a reset. If it fails the connection still ends without a close frame.
fn sever(stream: &mut TcpStream) {
    stream.set_zero_linger().ok();
}

fn sever_tls(stream: &mut TlsStream<TcpStream>) {
    sever(stream.get_mut().0);
}
