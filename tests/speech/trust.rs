//! `wss` by host name: an authority of one's own is trusted, everything else is refused in clear words.

use std::path::PathBuf;

use trunkline::emulate::cartesia::{Server, Settings, TlsSettings};

use crate::bench::{ANY, Bench, vendor};
use crate::scenarios::{run_all, scenario};

const TEXT: &str = "Nobody else can hear this.";

/// A vendor with a certificate for `name`, and the file with its authority.
async fn secure(name: &str, file: &str) -> (Server, PathBuf) {
    let path = std::env::temp_dir().join(format!("trunkline-speech-{}-{file}.pem", std::process::id()));
    let tls = TlsSettings { names: vec![name.to_owned()], ca_out: Some(path.clone()) };
    let server = Server::bind(ANY, Settings { tls: Some(tls), ..vendor(&[]) }).await.unwrap();
    (server, path)
}

fn ca_file(path: &std::path::Path) -> String {
    format!("speech.cartesia.ca_file = '{}'", path.display())
}

#[test]
fn only_the_right_server_is_spoken_to() {
    run_all(vec![
        scenario("the right one", || async {
            let (server, authority) = secure("localhost", "right").await;
            let url = server.url();
            assert!(url.starts_with("wss://localhost:"), "{url}");
            let bench = Bench::with_vendor_at(server, &url, &ca_file(&authority)).await;
            std::fs::remove_file(authority).unwrap();
            let call = bench.call(|_| {}).await;
            let spoken = call.speak(TEXT).await;
            let outcome = call.hang_up().await;
            spoken.check_spoken(&outcome, TEXT);
            bench.finish().await;
        }),
        scenario("another name", || async {
            let (server, authority) = secure("elsewhere.test", "name").await;
            let url = format!("wss://localhost:{}/tts/websocket", server.local_addr().port());
            refused(server, &url, &ca_file(&authority), "for another host name than the URL's").await;
        }),
        scenario("nobody's authority", || async {
            let (server, _) = secure("localhost", "nobody").await;
            let url = server.url();
            refused(server, &url, "", "unknown authority; name its certificate in ca_file").await;
        }),
        scenario("another authority", || async {
            let (server, _) = secure("localhost", "one").await;
            let (_, other) = secure("localhost", "other").await;
            let url = server.url();
            refused(server, &url, &ca_file(&other), "unknown authority").await;
        }),
        scenario("TLS to a server without", || async {
            let server = Server::bind(ANY, vendor(&[])).await.unwrap();
            let url = server.url().replace("ws://", "wss://");
            refused(server, &url, "", "").await;
        }),
    ]);
}

/// The caller hears the fallback line, and the operator why.
async fn refused(server: Server, url: &str, toml: &str, reason: &str) {
    let bench = Bench::with_vendor_at(server, url, toml).await;
    let call = bench.call(|_| {}).await;
    let spoken = call.speak(TEXT).await;
    let failed = call.events.of("speech_failed");
    let outcome = call.hang_up().await;
    spoken.check_fallback(&outcome);
    assert!(failed[0]["reason"].as_str().unwrap().contains(reason), "{failed:?}");
    assert_eq!(bench.journal.counts().handshakes, 0);
    bench.finish().await;
}
