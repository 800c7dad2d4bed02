//! The command line.

mod check;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use trunkline::config::{Input, Problem};

/// Wrong usage or a configuration with mistakes.
pub(crate) const USAGE: u8 = 2;

/// A self-hosted telephony media-stream gateway for voice agents.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells every mistake of the configuration at once.
    Check(ConfigArgs),
}

/// Where the configuration comes from, for every command that reads it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigArgs {
    /// TOML file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Believe everybody: no signatures, no tokens.
    #[arg(long)]
    pub(crate) insecure: bool,
}

impl ConfigArgs {
    /// File, environment and flags, ready for `config::load`.
    pub(crate) fn input(&self) -> Result<Input, Problem> {
        let listen = self.listen.iter().map(|address| ("server.listen".to_owned(), address.clone()));
        let overrides = listen.collect();
        Ok(Input { overrides, insecure: self.insecure, ..Input::from_process(self.config.as_deref())? })
    }
}

/// Runs what the arguments of this process ask for.
pub(crate) fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Check(args) => check::run(&args),
    }
}
