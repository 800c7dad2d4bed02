//! The port speaks TLS: a call, who may connect, new certificates, and those who come to no handshake.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::logs::Logs;
use crate::support::phone::Phone;
use crate::support::{soon, until};

/// A throw-away authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    fn pair(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    fn server(&self) -> Pair {
        self.pair(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self) -> Pair {
        self.pair(&["proxy.example"], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Somebody who trusts this authority alone, with a certificate or without one.
    fn connector(&self, client: Option<&Pair>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// The files of a server.
struct Files(PathBuf);

impl Files {
    fn new(pair: &Pair) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("trunkline-tls-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let files = Files(std::env::temp_dir().join(name));
        fs::create_dir(&files.0).unwrap();
        files.put(pair);
        files
    }

    fn put(&self, pair: &Pair) {
        fs::write(self.0.join("cert.pem"), &pair.certificate).unwrap();
        fs::write(self.0.join("key.pem"), &pair.key).unwrap();
    }

    fn toml(&self) -> String {
        let path = |name: &str| self.0.join(name).display().to_string();
        format!("[tls]\ncert_file = '{}'\nkey_file = '{}'\n", path("cert.pem"), path("key.pem"))
    }

    fn toml_with_clients(&self, authority: &Authority) -> String {
        let file = self.0.join("clients.pem");
        fs::write(&file, &authority.pem).unwrap();
        format!("{}client_ca_file = '{}'\n", self.toml(), file.display())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn connect(gateway: &Gateway, connector: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(gateway.address).await?;
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Asks for a path on a connection of its own; the whole answer, or nothing if there is none.
async fn get(gateway: &Gateway, connector: &TlsConnector, path: &str) -> Option<String> {
    let mut stream = connect(gateway, connector).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // Who is refused learns of it at the first read: in TLS 1.3 the client has its handshake before the server has.
    soon("the answer", stream.read_to_end(&mut answer)).await.ok()?;
    Some(String::from_utf8(answer).unwrap()).filter(|answer| !answer.is_empty())
}

fn is_alive(answer: Option<&String>) -> bool {
    answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive\n"))
}

/// A value of the metrics, without asking for it over the port.
fn metric(gateway: &Gateway, series: &str) -> f64 {
    let text = gateway.node.meter().render();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).expect("the series");
    line.parse().unwrap()
}

const HANDSHAKES: &str = "trunkline_refused_total{kind=\"handshake\"}";

#[tokio::test]
async fn a_call_goes_over_wss_and_outlives_its_certificate() {
    let (authority, next) = (Authority::new(), Authority::new());
    let files = Files::new(&authority.server());
    let gateway = Gateway::open(&files.toml()).await;
    let before = authority.connector(None);
    assert!(is_alive(get(&gateway, &before, "/healthz").await.as_ref()));
    assert!(metric(&gateway, "trunkline_tls_certificate_not_after_seconds") > 1e9);
    // Whoever asks over TLS is sent to where TLS is spoken.
    let answer = get(&gateway, &before, "/twilio/voice?CallSid=CA1").await.unwrap();
    assert!(answer.contains("\"wss://localhost/twilio/media\"") && !answer.contains("http://"), "{answer}");

    let stream = connect(&gateway, &before).await.unwrap();
    let mut phone = Box::pin(Phone::dial_over(stream, "wss://localhost/twilio/media", &[])).await.unwrap();
    phone.start("CA1", &[]);
    let body = json!({ "text": "Hello over an encrypted line." }).to_string();
    let say = async |connector: &TlsConnector| {
        let mut stream = connect(&gateway, connector).await.unwrap();
        let head = format!(
            "POST /v1/calls/CA1/say HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
        answer.starts_with("HTTP/1.1 202").then_some(())
    };
    until("the call", async || say(&before).await).await;
    let heard = phone.sees("speech", |seen| seen.frames > 20).await.frames;

    // Nobody says that the files have changed: the server finds out by itself.
    files.put(&next.server());
    let after = next.connector(None);
    until("the new certificate", async || is_alive(get(&gateway, &after, "/healthz").await.as_ref()).then_some(()))
        .await;
    assert!(connect(&gateway, &before).await.is_err(), "the old certificate is still given to new connections");
    assert!((metric(&gateway, "trunkline_tls_reloads_total{kind=\"done\"}") - 1.0).abs() < 0.5);
    say(&after).await.unwrap();
    phone.sees("speech on the old connection", |seen| seen.frames > heard + 20).await;
    phone.stop();
    phone.end().await;
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_leaves_the_old_one_in_place() {
    let logs = Logs::take();
    let authority = Authority::new();
    let (good, other) = (authority.server(), authority.server());
    let files = Files::new(&good);
    let gateway = Gateway::open(&files.toml()).await;
    let connector = authority.connector(None);
    let failed = || metric(&gateway, "trunkline_tls_reloads_total{kind=\"failed\"}");
    let mixed = Pair { certificate: other.certificate.clone(), key: good.key.clone() };
    let garbage = Pair { certificate: "no certificate".to_owned(), key: good.key.clone() };
    for (count, pair) in (1_u8..).zip([mixed, garbage]) {
        files.put(&pair);
        until("the refusal", async || {
            gateway.node.look_at_certificates();
            (failed() > f64::from(count) - 0.5).then_some(())
        })
        .await;
        assert!(is_alive(get(&gateway, &connector, "/healthz").await.as_ref()));
    }
    fs::remove_file(files.0.join("key.pem")).unwrap();
    until("the refusal", async || {
        gateway.node.look_at_certificates();
        (failed() > 2.5).then_some(())
    })
    .await;
    assert!(is_alive(get(&gateway, &connector, "/healthz").await.as_ref()));
    until("the last line", async || logs.text().contains("tls.key_file cannot be read").then_some(())).await;
    // As often as it is looked at, the same fault is told once.
    logs.line("tls.key_file holds another key than that of tls.cert_file");
    logs.line("tls.cert_file holds no certificate");
    logs.line("tls.key_file cannot be read");
    // And what is put right is used.
    files.put(&other);
    until("the new certificate", async || {
        gateway.node.look_at_certificates();
        (metric(&gateway, "trunkline_tls_reloads_total{kind=\"done\"}") > 0.5).then_some(())
    })
    .await;
    assert!(is_alive(get(&gateway, &connector, "/healthz").await.as_ref()));
    logs.holds_none_of(&[&good.key, "PRIVATE KEY"]);
}

#[tokio::test]
async fn only_clients_of_the_authority_get_in_where_one_is_asked_for() {
    let (authority, clients, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::new(&authority.server());
    let gateway = Gateway::open(&files.toml_with_clients(&clients)).await;
    let own = clients.client();
    assert!(is_alive(get(&gateway, &authority.connector(Some(&own)), "/healthz").await.as_ref()));
    let before = metric(&gateway, HANDSHAKES);
    let as_server = clients.server();
    let refused = [None, Some(stranger.client()), Some(authority.client()), Some(as_server)];
    for pair in &refused {
        let answer = get(&gateway, &authority.connector(pair.as_ref()), "/healthz").await;
        assert_eq!(answer, None);
    }
    until("the count", async || (metric(&gateway, HANDSHAKES) - before > refused.len() as f64 - 0.5).then_some(()))
        .await;
}

#[tokio::test]
async fn whoever_comes_to_no_handshake_is_cut_off_and_counted() {
    let logs = Logs::take();
    let authority = Authority::new();
    let files = Files::new(&authority.server());
    let gateway = Gateway::open(&files.toml()).await;
    // One who says nothing, one who stops in the middle of a word, one who never reads.
    let mut slow = Vec::new();
    for begin in [&b""[..], &[22, 3, 1], &[22, 3, 1, 0x40, 0, 1]] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(begin).await.unwrap();
        slow.push(stream);
    }
    // They hold nobody up.
    assert!(is_alive(get(&gateway, &authority.connector(None), "/healthz").await.as_ref()));
    let mut rest = Vec::new();
    for stream in &mut slow {
        let _ = soon("the end of a slow connection", stream.read_to_end(&mut rest)).await;
    }
    until("the count", async || (metric(&gateway, HANDSHAKES) > 2.5).then_some(())).await;
    assert!(logs.text().contains("a limit is met limit=\"handshake\""), "{}", logs.text());
    assert!(metric(&gateway, "trunkline_limits_total{kind=\"handshake\"}") > 2.5);
}

#[tokio::test]
async fn plain_http_is_told_that_the_port_speaks_tls() {
    let authority = Authority::new();
    let files = Files::new(&authority.server());
    let gateway = Gateway::open(&files.toml()).await;
    for path in ["/healthz", "/twilio/media", "/v1/calls"] {
        let answer = Request::new("GET", path).send(gateway.address).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, "this port speaks TLS: use https and wss.\n"));
    }
    // A probe that says nothing and leaves is nobody's fault.
    drop(TcpStream::connect(gateway.address).await.unwrap());
    assert!(is_alive(get(&gateway, &authority.connector(None), "/healthz").await.as_ref()));
    assert!((metric(&gateway, HANDSHAKES) - 3.0).abs() < 0.5);
    // TLS that is broken off is no reason to stop listening.
    let mut noise = TcpStream::connect(gateway.address).await.unwrap();
    noise.write_all(&[22; 2_000]).await.unwrap();
    let mut rest = Vec::new();
    let _ = soon("the end of noise", noise.read_to_end(&mut rest)).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(is_alive(get(&gateway, &authority.connector(None), "/healthz").await.as_ref()));
}

#[tokio::test]
async fn a_hangup_has_the_files_looked_at_and_ends_nothing() {
    let (authority, next) = (Authority::new(), Authority::new());
    let files = Files::new(&authority.server());
    let settings = files.0.join("settings.toml");
    fs::write(&settings, files.toml()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_trunkline"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&settings)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = soon("the address", out.next_line()).await.unwrap().unwrap();
    let address: SocketAddr = line.strip_prefix("https://").unwrap().parse().unwrap();
    files.put(&next.server());
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().await.unwrap().success());
    for words in ["as was asked", "new connections get the new certificate"] {
        while !soon(words, log.next_line()).await.unwrap().expect("the log goes on").contains(words) {}
    }
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    assert!(soon("the handshake", next.connector(None).connect(name, stream)).await.is_ok());
    assert!(child.try_wait().unwrap().is_none());
}
