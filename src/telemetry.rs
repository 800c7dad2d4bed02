//! Logs: one subscriber, text or JSON, to standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Sends logs to standard error. A second call in one process changes nothing.
pub fn init(log: &Log) {
    // Our own lines at the wanted level; of libraries, only what goes wrong.
    let filter = EnvFilter::new(format!("warn,trunkline={}", log.level.as_str()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Somebody else's subscriber is as good.
    let _ = match log.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().finish().try_init(),
    };
}
