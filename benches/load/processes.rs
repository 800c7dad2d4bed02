//! The processes of one row, each on a core of its own. They end with the value that holds them.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Core of the server, and of the generator.
const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";

/// The program: the one that was built with this bench, or the one that `TRUNKLINE_BIN` names.
fn program() -> PathBuf {
    std::env::var_os("TRUNKLINE_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_trunkline")), PathBuf::from)
}

/// `trunkline` on `core`, if this system can pin a process to one.
fn pinned(core: &str) -> Command {
    let can_pin = Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !can_pin {
        return Command::new(program());
    }
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program());
    command
}

/// A server and where it listens.
pub(crate) struct Server {
    child: Child,
    /// What it printed.
    pub(crate) url: String,
}

impl Server {
    /// Starts `trunkline` with `arguments` and waits for the URL that it prints.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = pinned(SERVER_CORE).args(arguments).stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut url = String::new();
        let stdout = child.stdout.take().expect("it has a standard output");
        BufReader::new(stdout).read_line(&mut url).expect("the server prints its URL");
        Server { child, url: url.trim().to_owned() }
    }

    /// Its process: `taskset` replaces itself by the program.
    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the generator and gives back what it printed.
pub(crate) fn generate(arguments: &[String]) -> serde_json::Value {
    let output = pinned(GENERATOR_CORE).args(arguments).stderr(Stdio::inherit()).output().expect("the generator runs");
    assert!(output.status.success(), "the generator failed");
    serde_json::from_slice(&output.stdout).expect("the generator prints one JSON object")
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").to_string()
}

/// A folder for configuration and tapes, gone with the value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("trunkline-load-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a scratch folder can be made");
        Scratch(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
