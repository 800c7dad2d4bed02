//! `trunkline serve`: the gateway itself.

use std::io::{self, Write as _};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trunkline::config::{Problems, load};
use trunkline::{gateway, server, telemetry};

use super::ConfigArgs;

/// Arguments of `trunkline serve`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Record every call in this directory (`tape.dir`).
    #[arg(long, value_name = "DIR")]
    record: Option<String>,
}

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The configuration has mistakes.
    #[error("the configuration has mistakes\n{0}")]
    Config(Problems),
    /// The configuration is good but cannot be put into effect.
    #[error("cannot start")]
    Gateway(#[from] gateway::GatewayError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    /// The listener failed.
    #[error("cannot go on listening")]
    Serve(#[source] io::Error),
}

/// Serves until `stop`, then drains.
pub(crate) async fn run(args: ServeArgs, stop: CancellationToken) -> Result<(), ServeError> {
    let mut input = args.config.input().map_err(|problem| ServeError::Config(Problems(vec![problem])))?;
    input.overrides.extend(args.record.map(|directory| ("tape.dir".to_owned(), directory)));
    let loaded = load(&input).map_err(ServeError::Config)?;
    telemetry::init(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
    let node = gateway::node(&loaded.config)?;
    let address = loaded.config.server.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    let bound = listener.local_addr().unwrap_or(address);
    tracing::info!(trust = ?loaded.config.trust, speech = ?loaded.config.speech.chain, "listening on {bound}");
    // For people and scripts that wait for it. Nobody may be reading.
    let _ = writeln!(io::stdout(), "http://{bound}");
    server::serve(listener, node, stop).await.map_err(ServeError::Serve)
}
