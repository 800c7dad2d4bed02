//! Logs: one subscriber, text or JSON, to standard error, whose level can be changed while it runs.

use std::io::IsTerminal as _;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat, LogLevel};
use crate::server::LogSwitch;

/// Sends logs to standard error; the result changes their level. A second call in one process changes nothing, and has
/// nothing to change: `None`.
pub fn init(log: &Log) -> Option<LogSwitch> {
    let usual = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(usual))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let (begun, switch) = match log.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.finish().try_init(), switch(usual, handle))
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.finish().try_init(), switch(usual, handle))
        }
    };
    // Somebody else's subscriber is as good.
    begun.ok().map(|()| switch)
}

/// Our own lines at the wanted level; of libraries, only what goes wrong.
fn filter(level: Level) -> EnvFilter {
    EnvFilter::new(format!("warn,trunkline={}", level.as_str().to_ascii_lowercase()))
}

fn switch<S: 'static>(usual: Level, handle: reload::Handle<EnvFilter, S>) -> LogSwitch {
    // It fails only when the subscriber is gone, and then nobody reads.
    LogSwitch::new(usual, move |level| drop(handle.reload(filter(level))))
}
