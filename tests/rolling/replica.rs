//! One process of the gateway, from its start to its exit code.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::{AUTH_TOKEN, PATIENCE, PUBLIC_URL};

const API_TOKEN: &str = "an-api-token-that-is-secret";

/// A replica. Dropping it kills it.
pub(crate) struct Replica {
    pub(crate) public: SocketAddr,
    control: SocketAddr,
    child: Child,
}

/// What it said of itself in the end.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) code: Option<i32>,
    pub(crate) live_at_stop: u64,
    pub(crate) calls_ended: u64,
    pub(crate) panics: u64,
}

/// A port that is free now. Somebody may take it before we do, which the start of the process then tells.
async fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

impl Replica {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start(folder: &Path, n: usize) -> Replica {
        std::fs::create_dir_all(folder).unwrap();
        let (public, control) = (free().await, free().await);
        let settings = folder.join(format!("settings-{n}.toml"));
        let tapes = folder.join("tapes");
        std::fs::create_dir_all(&tapes).unwrap();
        let toml = format!(
            "[server]\nlisten = \"{public}\"\ncontrol_listen = \"{control}\"\npublic_url = \"{PUBLIC_URL}\"\n\
             api_token = \"{API_TOKEN}\"\ntoken_key = \"a-token-key-that-all-replicas-share\"\ndrain_s = 60\n\
             [twilio]\nauth_token = \"{AUTH_TOKEN}\"\n[limits]\nlate_ms = 0\n[tape]\ndir = {tapes:?}\n"
        );
        std::fs::write(&settings, toml).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_trunkline"))
            .args(["serve", "--config"])
            .arg(&settings)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let replica = Replica { public, control, child };
        let ready = async {
            while !replica.get("/readyz").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("a replica becomes ready");
        replica
    }

    /// The stop signal, as an orchestrator sends it. Somebody has read the numbers before, as Prometheus does all the time, and so
    /// the last of them are waited for.
    pub(crate) async fn terminate(&self) {
        self.get("/metrics").await.expect("numbers before it drains");
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    }

    /// Watches the numbers until they cannot be fetched any more, then waits for the end.
    pub(crate) async fn leave(mut self) -> Left {
        let mut last = self.get("/metrics").await.expect("numbers while it drains");
        let live_at_stop = value(&last, "trunkline_calls");
        while let Some(text) = self.get("/metrics").await {
            last = text;
            sleep(Duration::from_millis(100)).await;
        }
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap();
        Left {
            code: status.code(),
            live_at_stop,
            calls_ended: value(&last, "trunkline_calls_ended_total{kind=\"carrier_stopped\"}"),
            panics: value(&last, "trunkline_task_panics_total"),
        }
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.control).await.ok()?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {API_TOKEN}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.ok()?.ok()?;
        (!answer.is_empty()).then_some(answer)
    }
}

fn value(text: &str, series: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is missing")).trim().parse().unwrap()
}

/// How many tapes there are, once each of them has been replayed to the byte.
pub(crate) async fn whole_tapes(folder: &Path) -> usize {
    let tapes = folder.join("tapes");
    let check = Command::new(env!("CARGO_BIN_EXE_trunkline")).args(["replay", "--check"]).arg(&tapes).output();
    let check = timeout(PATIENCE, check).await.expect("the tapes are replayed").unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    std::fs::read_dir(tapes).unwrap().count()
}
