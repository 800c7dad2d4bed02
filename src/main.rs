//! Trunkline.

mod cli;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a stand-in for a vendor.
    Emulate(cli::emulate::EmulateArgs),
}

#[tokio::main]
async fn main() -> Result<(), cli::emulate::EmulateError> {
    let Command::Emulate(args) = Arguments::parse().command;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let interrupted = async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = cli::emulate::run(args, shutdown) => ended,
        () = interrupted => Ok(()),
    }
}
