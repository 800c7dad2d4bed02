//! Trunkline.

mod cli;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an emulated call to a media-stream URL and measure it
    Call(cli::call::CallArgs),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Command::Call(args) = Cli::parse().command;
    let Err(error) = Box::pin(cli::call::call(args)).await else { return ExitCode::SUCCESS };
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    // With nowhere left to write, the exit code has to do.
    let _ = writeln!(io::stderr(), "trunkline: {text}");
    ExitCode::FAILURE
}
