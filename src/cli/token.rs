//! `trunkline token`: makes a token of the HTTP API.

use std::io::{self, Write};
use std::process::ExitCode;

use trunkline::secret::Secret;
use trunkline::server::tokens::{Grant, Scope, fresh};

use super::fail;

/// Longest name of a token, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Arguments of `trunkline token`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// What the token is called in the configuration: letters, digits, `_` and `-`.
    #[arg(long, value_name = "NAME", default_value = "token", value_parser = name)]
    name: String,
    /// What it is good for: read, speak, calls, metrics or admin. Can be given several times; without it, read.
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scope)]
    scopes: Vec<Scope>,
}

/// Makes one and prints it. It stands nowhere else: whoever loses it makes another.
pub(crate) fn run(args: &TokenArgs) -> ExitCode {
    match fresh() {
        // Whoever closed our output does not want to know.
        Ok(token) => show(&token, args, &mut io::stdout().lock()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(error) => fail(&error),
    }
}

fn show(token: &Secret, TokenArgs { name, scopes }: &TokenArgs, out: &mut dyn Write) -> io::Result<()> {
    let scopes = if scopes.is_empty() { &[Scope::Read] } else { scopes.as_slice() };
    writeln!(out, "{}\n", token.expose())?;
    writeln!(out, "# Above, once: the token, for Authorization: Bearer. Below: the settings of the gateway.")?;
    writeln!(out, "[server.tokens]\n{name} = \"{}\"", Grant::new(token, scopes))
}

fn name(text: &str) -> Result<String, String> {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if is_plain && (1..=NAME_CHARS_MAX).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(format!("write 1 to {NAME_CHARS_MAX} letters, digits, _ and -"))
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    let names = Scope::ALL.map(Scope::as_str).join(", ");
    text.parse().map_err(|_| format!("write one of {names}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use clap::Parser as _;
    use trunkline::config::{Input, load};

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: TokenArgs,
    }

    fn made(line: &[&str]) -> String {
        let line = Line::try_parse_from(std::iter::once("token").chain(line.iter().copied())).unwrap();
        let mut out = Vec::new();
        show(&fresh().unwrap(), &line.args, &mut out).unwrap();
        out.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_printed_is_a_token_and_a_configuration_that_lets_it_in() {
        let text = made(&["--name", "dash-board", "--scope", "metrics", "--scope", "read"]);
        let (token, toml) = text.split_once('\n').unwrap();
        let loaded = load(&Input { file: Some(("x.toml".to_owned(), toml.to_owned())), ..Input::default() }).unwrap();
        let expected = Grant::new(&Secret::new(token), &[Scope::Read, Scope::Metrics]);
        assert_eq!(loaded.config.server.tokens["dash-board"], expected);
        assert!(!toml.contains(token));
        let text = made(&[]);
        assert!(text.trim_end().ends_with(" read\""), "{text}");
        assert_ne!(text, made(&[]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [&["--scope", "write"], &["--name", ""], &["--name", "a b"], &["--name", "a.b"]] {
            assert!(Line::try_parse_from(std::iter::once("token").chain(line.iter().copied())).is_err(), "{line:?}");
        }
    }
}
