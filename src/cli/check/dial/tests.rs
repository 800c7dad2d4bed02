//! Dialling over loopback: the right authority, the wrong one, none, and names that lead nowhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline::config::{Input, load};
use trunkline::emulate::cartesia::{Server, Settings, TlsSettings};

use super::*;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An emulated voice on a runtime of its own, as `dial` brings one too.
struct Vendor {
    runtime: Runtime,
    cancel: CancellationToken,
    tasks: TaskTracker,
    url: String,
    authority: PathBuf,
}

impl Vendor {
    fn named(name: &str, file: &str) -> Self {
        let authority = std::env::temp_dir().join(format!("trunkline-dial-{}-{file}.pem", process::id()));
        let tls = TlsSettings { names: vec![name.to_owned()], ca_out: Some(authority.clone()) };
        let runtime = Runtime::new().unwrap();
        let settings = Settings { tls: Some(tls), ..Settings::default() };
        let server = runtime.block_on(Server::bind(ANY, settings)).unwrap();
        let url = format!("wss://localhost:{}/tts/websocket?tenant=hunter2", server.local_addr().port());
        let (cancel, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn_on(server.run(cancel.clone()), runtime.handle());
        Vendor { runtime, cancel, tasks, url, authority }
    }

    fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.runtime.block_on(self.tasks.wait());
        std::fs::remove_file(self.authority).unwrap();
    }
}

/// What dialling says of a configuration, and whether all is well.
fn dialled(toml: &str) -> (bool, String) {
    let file = Some(("settings.toml".to_owned(), toml.to_owned()));
    let config = load(&Input { file, ..Input::default() }).unwrap_or_else(|problems| panic!("{problems}")).config;
    let mut out = Vec::new();
    let code = dial(&config, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(!out.contains("hunter2"), "{out}");
    (format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS), out)
}

fn voice(url: &str, ca_file: Option<&Path>) -> String {
    let ca_file = ca_file.map(|file| format!("speech.cartesia.ca_file = '{}'\n", file.display())).unwrap_or_default();
    format!(
        "speech.chain = [\"cartesia\"]\nspeech.cartesia.api_key = \"hunter2\"\nspeech.cartesia.url = \"{url}\"\n{ca_file}"
    )
}

#[test]
fn only_the_right_authority_is_believed() {
    let (vendor, other) = (Vendor::named("localhost", "right"), Vendor::named("localhost", "other"));
    let (good, out) = dialled(&voice(&vendor.url, Some(&vendor.authority)));
    assert!(good, "{out}");
    assert!(out.starts_with("dialling 1 server: "), "{out}");
    let line = out.lines().nth(1).unwrap();
    assert!(line.starts_with("ok    speech.cartesia.url  localhost:"), "{line}");
    for step in ["name in ", "TCP in ", "TLS in "] {
        assert!(line.contains(step), "{line}");
    }
    for wrong in [None, Some(other.authority.as_path())] {
        let (good, out) = dialled(&voice(&vendor.url, wrong));
        assert!(!good, "{out}");
        let line = out.lines().nth(1).unwrap();
        assert!(line.starts_with("FAIL  speech.cartesia.url  localhost:"), "{line}");
        assert!(line.contains("TLS failed after ") && line.contains("unknown authority"), "{line}");
        assert!(line.ends_with("the key is speech.cartesia.ca_file"), "{line}");
        assert!(out.ends_with("1 of 1 cannot be reached\n"), "{out}");
    }
    vendor.stop();
    other.stop();
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let vendor = Vendor::named("elsewhere.test", "name");
    let (good, out) = dialled(&voice(&vendor.url, Some(&vendor.authority)));
    assert!(!good && out.contains("for another host name than the URL's"), "{out}");
    vendor.stop();
}

#[test]
fn what_leads_nowhere_says_why() {
    // RFC 6761: no name under `invalid` exists. Port 1 of loopback: nobody listens there.
    let (good, out) = dialled(
        "agent.kind = \"relay\"\nagent.relay.url = \"wss://app.invalid/relay?token=hunter2\"\n\
         agent.relay.action_url = \"http://127.0.0.1:1/hunter2\"\nspeech.chain = [\"local\"]\n",
    );
    assert!(!good, "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(lines[1].starts_with("FAIL  agent.relay.url  app.invalid:443: name failed after "), "{out}");
    assert!(lines[1].contains("resolv.conf"), "{out}");
    assert!(lines[2].starts_with("FAIL  agent.relay.action_url  127.0.0.1:1: TCP failed after "), "{out}");
    assert_eq!(lines[3], "2 of 2 cannot be reached");
}

#[test]
fn an_authority_that_cannot_be_read_is_named() {
    let (good, out) = dialled(&voice("wss://localhost:1/tts", Some(Path::new("no-such-file.pem"))));
    assert!(
        !good && out.contains("FAIL  speech.cartesia.url  localhost:1: ") && out.contains("no-such-file.pem"),
        "{out}"
    );
}

#[test]
fn with_nobody_outside_there_is_nothing_to_dial() {
    let (good, out) = dialled("");
    assert!(good && out.starts_with("nothing to dial"), "{out}");
}
