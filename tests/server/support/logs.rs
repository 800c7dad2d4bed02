//! What the gateway writes to its log.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The log of everything that runs on this test's thread.
pub(crate) struct Logs {
    written: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Logs {
    /// Takes the log at its most talkative.
    pub(crate) fn take() -> Self {
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let sink = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("debug,trunkline=trace"))
            .with_writer(move || Sink(sink.clone()))
            .with_ansi(false)
            .finish();
        Logs { written, _guard: subscriber.set_default() }
    }

    /// Takes the log as objects, as operators have it: our own lines from `info` on.
    pub(crate) fn take_json() -> Self {
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let sink = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("warn,trunkline=info"))
            .with_writer(move || Sink(sink.clone()))
            .with_target(false)
            .json()
            .finish();
        Logs { written, _guard: subscriber.set_default() }
    }

    /// Every object whose field `event` is `name`.
    pub(crate) fn objects(&self, name: &str) -> Vec<Value> {
        let lines = self.text();
        let objects = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        objects.filter(|object| object["fields"]["event"] == name).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }

    /// The only line with `words` in it.
    pub(crate) fn line(&self, words: &str) -> String {
        let text = self.text();
        let found: Vec<&str> = text.lines().filter(|line| line.contains(words)).collect();
        assert_eq!(found.len(), 1, "{words:?} in\n{text}");
        found[0].to_owned()
    }

    /// No line may hold any of these.
    pub(crate) fn holds_none_of(&self, secrets: &[&str]) {
        let text = self.text();
        for secret in secrets {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret:?} is in the log: {line:?}");
        }
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
