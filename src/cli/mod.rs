//! The command line.

mod call;
mod call_load;
mod check;
mod demo;
mod emulate;
mod health;
mod replay;
mod serve;
mod signal;
mod token;
mod top;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Builder;
use trunkline::config::{Input, Problem};

/// Wrong usage or a configuration with mistakes.
pub(crate) const USAGE: u8 = 2;
/// How long a process that is done waits for what it began on other threads.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// A self-hosted telephony media-stream gateway for voice agents.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Performs a call on this machine, with no phone, no account and no network.
    Demo(demo::DemoArgs),
    /// Answers calls.
    Serve(serve::ServeArgs),
    /// Tells every mistake of the configuration at once.
    Check(check::CheckArgs),
    /// Makes a token of the HTTP API, and the line for the configuration that lets it in.
    Token(token::TokenArgs),
    /// Asks a running gateway whether it is alive; exit code 0 if so, 1 if not.
    Health(health::HealthArgs),
    /// Shows the calls of a running gateway, live.
    Top(top::TopArgs),
    /// Makes an emulated call to a media-stream URL and measures it, or many at once.
    Call(Box<call::CallArgs>),
    /// Performs recorded calls again, in no time.
    Replay(replay::ReplayArgs),
    /// Runs a server that stands in for a vendor.
    Emulate(emulate::EmulateArgs),
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
        Command::Demo(args) => drive(demo::run(args)),
        Command::Serve(args) => drive(signal::until_stopped(|stop| serve::run(args, stop))),
        Command::Check(args) => check::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Health(args) => drive(health::run(args)),
        Command::Top(args) => drive(top::run(args)),
        // One thread: a load shares its machine with what it measures, and has a core at most.
        Command::Call(args) if args.is_load() => drive_on(Builder::new_current_thread(), call_load::load(*args)),
        Command::Call(args) => drive(call::call(*args)),
        Command::Replay(args) => drive(replay::run(args)),
        Command::Emulate(args) => drive(signal::until_stopped(|stop| emulate::run(args, stop))),
    }
}

/// Runs one command to its end on a runtime of its own, and tells why it failed.
fn drive<E: Error>(command: impl Future<Output = Result<(), E>>) -> ExitCode {
    drive_on(Builder::new_multi_thread(), command)
}

fn drive_on<E: Error>(mut runtime: Builder, command: impl Future<Output = Result<(), E>>) -> ExitCode {
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let done = runtime.block_on(command);
    // A file of a network that hangs, or a name that is being looked up, does not keep the process.
    runtime.shutdown_timeout(LEAVE_LIMIT);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Tells an error and all that caused it.
fn fail(error: &dyn Error) -> ExitCode {
    let mut text = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push(error.to_string());
        cause = error.source();
    }
    // With nowhere left to write, the exit code has to do.
    let _ = writeln!(io::stderr(), "trunkline: {}", text.join(": "));
    ExitCode::FAILURE
}
