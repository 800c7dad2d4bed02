//! The processes of one row, each on a core of its own. They end with the value that holds them, and with the bench.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

/// Core of the server, and of the generator.
const SERVER_CORE: &str = "0";
const GENERATOR_CORE: &str = "1";

/// Names another program than the one that was built with this bench.
const OTHER_PROGRAM: &str = "TRUNKLINE_BIN";

/// Longest wait for a server that starts.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Longest wait for the answer to a request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// The program: the one that was built with this bench, or the one that the environment names.
fn program() -> PathBuf {
    std::env::var_os(OTHER_PROGRAM).map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_trunkline")), PathBuf::from)
}

/// Whether the environment names another program, whose figures are not this tree's.
pub(crate) fn is_other_program() -> bool {
    std::env::var_os(OTHER_PROGRAM).is_some()
}

/// Whether this system can give each of the two processes a core of its own.
pub(crate) fn can_pin() -> bool {
    [SERVER_CORE, GENERATOR_CORE].iter().all(|core| runs("taskset", &["-c", core, "true"]))
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// `trunkline` on `core`, if this system can pin a process to one; killed with the bench, if it can do that. The helpers
/// replace themselves by what they start, so that the process is the program's.
fn pinned(core: &str) -> Command {
    /// The kernel sends it when the thread that started the process ends: start processes from the main one.
    const DIE_TOO: [&str; 2] = ["--pdeathsig", "KILL"];
    let mut words: Vec<&str> = Vec::new();
    if runs("setpriv", &[DIE_TOO.as_slice(), &["true"]].concat()) {
        words.extend(["setpriv"].iter().chain(&DIE_TOO));
    }
    if can_pin() {
        words.extend(["taskset", "-c", core]);
    }
    let mut words = words.into_iter();
    let Some(first) = words.next() else { return Command::new(program()) };
    let mut command = Command::new(first);
    command.args(words).arg(program());
    command
}

/// A process that ends with this value.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `read` makes of a process's output, within `limit`.
fn output<T: Send + 'static>(
    child: &mut Owned,
    limit: Duration,
    read: impl FnOnce(ChildStdout) -> std::io::Result<T> + Send + 'static,
) -> T {
    let stdout = child.0.stdout.take().expect("it has a standard output");
    let (sender, result) = sync_channel(1);
    // It ends with the process's output, which the process's end ends.
    thread::spawn(move || sender.send(read(stdout)));
    result.recv_timeout(limit).expect("the process says something in time").expect("its output can be read")
}

/// A server and where it listens.
pub(crate) struct Server {
    child: Owned,
    /// What it printed.
    pub(crate) url: String,
}

impl Server {
    /// Starts `trunkline` with `arguments` and waits for the URL that it prints.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = pinned(SERVER_CORE);
        // What a server can do is measured beyond the point where it would take no more calls.
        command.env("TRUNKLINE__LIMITS__LATE_MS", "0");
        let mut child = Owned(command.args(arguments).stdout(Stdio::piped()).spawn().expect("the server starts"));
        let url = output(&mut child, START_LIMIT, |stdout| {
            let mut url = String::new();
            BufReader::new(stdout).read_line(&mut url).map(|_| url)
        });
        assert!(!url.trim().is_empty(), "the server ended at once");
        Server { child, url: url.trim().to_owned() }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> String {
        self.child.0.id().to_string()
    }

    /// A counter of its metrics.
    pub(crate) fn counter(&self, name: &str) -> Option<f64> {
        let address = self.url.strip_prefix("http://").expect("a server has an address");
        let mut socket = TcpStream::connect(address).expect("the server is there");
        socket.set_read_timeout(Some(REQUEST_LIMIT)).expect("a socket takes a limit");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("the server takes a request");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("the server answers");
        answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// Runs the generator, for `limit` at most, and gives back what it printed.
pub(crate) fn generate(arguments: &[String], limit: Duration) -> serde_json::Value {
    let mut command = pinned(GENERATOR_CORE);
    let mut child = Owned(command.args(arguments).stdout(Stdio::piped()).spawn().expect("the generator starts"));
    let printed = output(&mut child, limit, |mut stdout| {
        let mut printed = Vec::new();
        stdout.read_to_end(&mut printed).map(|_| printed)
    });
    // Its output has ended, and so has it.
    assert!(child.0.wait().expect("the generator ends").success(), "the generator failed");
    serde_json::from_slice(&printed).expect("the generator prints one JSON object")
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
