//! TLS of the port: the certificate, who may connect, and how both change while the server runs.
//!
//! Files are looked at every few seconds and when somebody asks for it. A new pair that cannot be used is told of and the old
//! one stays; a good one is for the connections that come from then on, and those that there are go on as they began.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use super::node::{lock, unix_time};
use crate::driver::Meter;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Certificate and key are seldom written in one moment: they are taken when they have been the same for so long.
const SETTLE: Duration = Duration::from_millis(200);
/// Waits for that at one time.
const SETTLE_TRIES: usize = 10;
/// Longest file, in bytes: a chain of certificates is some ten thousand.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

type Digest32 = [u8; 32];

/// Where the certificate is, and who may connect. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server's certificate, and behind it those of the authorities between it and one that clients know.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Authorities: a client needs a certificate of one of them. `None`: anybody may connect.
    pub client_ca_file: Option<PathBuf>,
}

/// What is wrong with one of the files. Holds nothing of what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// Which file it is.
    pub part: Part,
    /// What is wrong with it, without a subject.
    pub fault: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.part.key(), self.fault)
    }
}

impl std::error::Error for TlsError {}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate.
    Certificate,
    /// Its key.
    Key,
    /// The authorities of clients.
    ClientAuthorities,
}

impl Part {
    /// Its key in the configuration.
    pub const fn key(self) -> &'static str {
        match self {
            Part::Certificate => "tls.cert_file",
            Part::Key => "tls.key_file",
            Part::ClientAuthorities => "tls.client_ca_file",
        }
    }

    fn wrong(self, fault: impl fmt::Display) -> TlsError {
        TlsError { part: self, fault: fault.to_string() }
    }
}

/// When a certificate is good, in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub not_before: i64,
    /// Until then.
    pub not_after: i64,
}

impl Validity {
    /// What is wrong with it now, if anything is.
    pub fn fault(self) -> Option<&'static str> {
        let now = i64::try_from(unix_time().as_secs()).unwrap_or(i64::MAX);
        match (now < self.not_before, now > self.not_after) {
            (true, _) => Some("is not valid yet"),
            (_, true) => Some("has expired"),
            (false, false) => None,
        }
    }
}

/// The bytes of all files, as they were at one moment.
struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_authorities: Option<Vec<u8>>,
}

impl Files {
    fn read(settings: &Settings) -> Result<Self, TlsError> {
        let client = settings.client_ca_file.as_deref();
        Ok(Files {
            certificate: read(&settings.cert_file, Part::Certificate)?,
            key: Zeroizing::new(read(&settings.key_file, Part::Key)?),
            client_authorities: client.map(|file| read(file, Part::ClientAuthorities)).transpose()?,
        })
    }

    /// By which a change is known, without keeping the key.
    fn digest(&self) -> Digest32 {
        let parts = [&self.certificate[..], &self.key, self.client_authorities.as_deref().unwrap_or_default()];
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(Sha256::digest(part));
        }
        digest.finalize().into()
    }

    fn config(&self) -> Result<(ServerConfig, Validity), TlsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| Part::Certificate.wrong(format_args!("is not PEM: {error}")))?;
        let first = chain.first().ok_or_else(|| Part::Certificate.wrong("holds no certificate"))?;
        let (_, parsed) = parse_x509_certificate(first)
            .map_err(|_| Part::Certificate.wrong("holds something that is no certificate"))?;
        let validity = parsed.validity();
        let validity =
            Validity { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() };
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| Part::Key.wrong("holds no private key in PEM"))?;
        // Named, because rustls panics where two providers are compiled in and none was chosen.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Part::Certificate.wrong(format_args!("cannot be used: {error}")))?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = Arc::new(authorities(pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| Part::ClientAuthorities.wrong(error))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                Part::Key.wrong("holds another key than that of tls.cert_file")
            } else {
                Part::Key.wrong(format_args!("cannot be used: {error}"))
            }
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((config, validity))
    }
}

fn read(file: &Path, part: Part) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error: std::io::Error| part.wrong(format_args!("cannot be read: {error}"));
    let about = std::fs::metadata(file).map_err(unreadable)?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(part.wrong(format_args!("is no file, or one of more than {FILE_BYTES_MAX} bytes")));
    }
    // All the room at once: a buffer that grows leaves its old bytes behind.
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or_default().saturating_add(1));
    File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)).map_err(unreadable)?;
    Ok(bytes)
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let part = Part::ClientAuthorities;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| part.wrong(format_args!("is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| part.wrong(format_args!("cannot be used: {error}")))?;
    }
    if roots.is_empty() { Err(part.wrong("holds no certificate")) } else { Ok(roots) }
}

/// Reads the files as a server would, without being one.
///
/// # Errors
/// [`TlsError`] for the first file that is wrong.
pub fn check(settings: &Settings) -> Result<Validity, TlsError> {
    Files::read(settings)?.config().map(|(_, validity)| validity)
}

/// TLS of one server. Clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    settings: Settings,
    config: Mutex<Arc<ServerConfig>>,
    /// Of the files that were tried last, good or not.
    tried: Mutex<Digest32>,
    asked: Notify,
    meter: Arc<Meter>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Tls {
    /// With what the files hold now.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(settings: Settings, meter: Arc<Meter>) -> Result<Self, TlsError> {
        let files = Files::read(&settings)?;
        let (config, validity) = files.config()?;
        meter.certificate_until(validity.not_after);
        Ok(Tls(Arc::new(Shared {
            settings,
            config: Mutex::new(Arc::new(config)),
            tried: Mutex::new(files.digest()),
            asked: Notify::new(),
            meter,
        })))
    }

    /// For one more connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(lock(&self.0.config).clone())
    }

    /// Has the files looked at without waiting for the next time.
    pub(super) fn look(&self) {
        self.0.asked.notify_one();
    }

    /// Looks at the files until `stop`. Cancel-safe.
    pub(super) async fn watch(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.asked.notified() => tracing::info!("the files of tls are looked at, as was asked"),
                () = sleep(LOOK_EVERY) => {}
            }
            match self.change().await {
                None => {}
                Some(Ok(validity)) => match validity.fault() {
                    None => tracing::info!(not_after = validity.not_after, "new connections get the new certificate"),
                    Some(fault) => tracing::warn!(fault, "new connections get a certificate that clients refuse"),
                },
                Some(Err(error)) => tracing::error!(%error, "the certificate stays as it was"),
            }
        }
    }

    /// Takes what the files hold, if they have changed, as soon as nobody writes them any more.
    async fn change(&self) -> Option<Result<Validity, TlsError>> {
        let mut seen = self.0.read().await?.0;
        if seen == *lock(&self.0.tried) {
            return None;
        }
        for _ in 0..SETTLE_TRIES {
            sleep(SETTLE).await;
            let (digest, files) = self.0.read().await?;
            if digest == seen {
                return Some(self.0.take(digest, files));
            }
            seen = digest;
        }
        // Next time, then.
        None
    }
}

impl Shared {
    /// What the files hold now, and by what that is known. `None`: no thread is left to read them.
    async fn read(&self) -> Option<(Digest32, Result<Files, TlsError>)> {
        let settings = self.settings.clone();
        let read = move || match Files::read(&settings) {
            Ok(files) => (files.digest(), Ok(files)),
            Err(error) => (Sha256::digest(error.to_string()).into(), Err(error)),
        };
        // Files may be on a network, and a thread of the runtime must not wait for one.
        tokio::task::spawn_blocking(read).await.ok()
    }

    /// Puts what the files hold into effect, or remembers that it was no good.
    fn take(&self, digest: Digest32, files: Result<Files, TlsError>) -> Result<Validity, TlsError> {
        *lock(&self.tried) = digest;
        let read = files.and_then(|files| files.config());
        self.meter.tls_reloaded(if read.is_ok() { "done" } else { "failed" });
        let (config, validity) = read?;
        *lock(&self.config) = Arc::new(config);
        self.meter.certificate_until(validity.not_after);
        Ok(validity)
    }
}
