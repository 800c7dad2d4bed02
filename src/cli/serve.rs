//! `trunkline serve`: the gateway itself.

use std::io::{self, Write as _};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trunkline::config::{Problems, load};
use trunkline::{gateway, server, telemetry};

use super::{ConfigArgs, signal};

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
    let loaded = load(&input);
    input.wipe();
    let loaded = loaded.map_err(ServeError::Config)?;
    let log = telemetry::init(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
    let node = server::Node::new(server::Settings { log, ..gateway::settings(&loaded.config)? });
    let address = loaded.config.server.listen;
    let bind =
        async |address| TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source });
    let public = bind(address).await?;
    let bound = public.local_addr().unwrap_or(address);
    let control = match loaded.config.server.control_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    tracing::info!(trust = ?loaded.config.trust, speech = ?loaded.config.speech.chain, "listening on {bound}");
    let hangups = signal::at_hangup(|| node.look_at_certificates());
    // For people and scripts that wait for it. Nobody may be reading.
    let scheme = if loaded.config.tls.settings().is_some() { "https" } else { "http" };
    let _ = writeln!(io::stdout(), "{scheme}://{bound}");
    if let Some(bound) = control.as_ref().and_then(|control| control.local_addr().ok()) {
        tracing::info!("the API, metrics and health are on {bound}");
    }
    let served = server::serve(server::Listeners { public, control }, node.clone(), stop);
    tokio::select! {
        served = served => served.map_err(ServeError::Serve),
        never = hangups => match never {},
    }
}
