//! `trunkline top`: the calls of a running gateway, live.

mod look;
mod plain;
mod scrape;
mod screen;
mod view;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use trunkline::config::Secret;

use super::signal;
use look::{Gateway, Look, LookError};
use screen::{Screen, Wish};

/// How often the gateway is asked.
const EVERY: Duration = Duration::from_secs(1);
/// Where the token is looked for without `--token-file`: where `trunkline serve` has it.
const TOKEN_VARIABLE: &str = "TRUNKLINE__SERVER__API_TOKEN";

/// Arguments of `trunkline top`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// The gateway, with the path of its public URL if it has one.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// File with the API token; without it the variable `TRUNKLINE__SERVER__API_TOKEN`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of a certificate authority to trust in place of the public ones.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// What the calls are sorted by; the key `s` goes through them.
    #[arg(long, value_enum, default_value_t)]
    sort: screen::Sort,
    /// Print one table and end, as is done where there is no terminal.
    #[arg(long)]
    once: bool,
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopError {
    /// The file with the token cannot be read.
    #[error("cannot read {}", .0.display())]
    Token(PathBuf, #[source] io::Error),
    /// The gateway cannot be asked, or did not answer.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The terminal failed.
    #[error("the terminal")]
    Terminal(#[source] io::Error),
}

/// Shows the calls until `q` is pressed, or once.
pub(crate) async fn run(args: TopArgs) -> Result<(), TopError> {
    let token = match &args.token_file {
        Some(file) => {
            let text = fs::read_to_string(file).map_err(|error| TopError::Token(file.clone(), error))?;
            Some(Secret::new(text.trim()))
        }
        None => std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()).map(Secret::new),
    };
    let gateway = Gateway::new(&args.url, token.as_ref(), args.ca_file.as_deref())?;
    if args.once || !io::stdout().is_terminal() {
        let look = gateway.look().await?;
        // Whoever reads may have heard enough.
        let _ = io::stdout().write_all(plain::table(&look, args.sort).as_bytes());
        return Ok(());
    }
    let shown = match ratatui::try_init() {
        // Whoever ends us finds the terminal as it was.
        Ok(mut terminal) => tokio::select! {
            shown = show(&mut terminal, gateway, args.sort) => shown,
            () = signal::stopped() => Ok(()),
        },
        Err(error) => Err(error),
    };
    ratatui::restore();
    shown.map_err(TopError::Terminal)
}

/// What the gateway said last, or why it said nothing.
type Latest = Option<Result<Look, String>>;

async fn show(terminal: &mut ratatui::DefaultTerminal, gateway: Gateway, sort: screen::Sort) -> io::Result<()> {
    let mut screen = Screen::new(sort);
    let (told, mut latest) = watch::channel::<Latest>(None);
    // A gateway that does not answer keeps no key from being obeyed.
    let mut asking = JoinSet::new();
    asking.spawn(ask(gateway, told));
    let mut keys = EventStream::new();
    loop {
        terminal.draw(|frame| view::draw(&screen, frame))?;
        tokio::select! {
            changed = latest.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                match latest.borrow_and_update().clone() {
                    Some(Ok(look)) => screen.take(look),
                    Some(Err(reason)) => screen.fail(reason),
                    None => {}
                }
            }
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => {
                    if screen.press(key) == Wish::Quit {
                        return Ok(());
                    }
                }
                // The next round draws in the new size.
                Some(Ok(Event::Resize(..) | Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_))) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}

async fn ask(gateway: Gateway, told: watch::Sender<Latest>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !told.is_closed() {
        ticks.tick().await;
        let look = gateway.look().await.map_err(|error| error.to_string());
        told.send_replace(Some(look));
    }
}

#[cfg(test)]
mod tests;
