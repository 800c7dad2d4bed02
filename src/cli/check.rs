//! `trunkline check`: reads the configuration as `serve` would, and says what is wrong with it. With `--dial` it goes to every
//! server that the configuration names.

mod dial;

use std::io::{self, Write};
use std::process::ExitCode;

use trunkline::config::{Config, Input, Problem, Problems, Trust, load};

use super::{ConfigArgs, USAGE};

/// Arguments of `trunkline check`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Go to every server that the configuration names: name, TCP and TLS, with the trust of `serve`. Nothing is asked of them
    /// and no key is sent: the WebSocket upgrade is not tried. Exit code 1 if one cannot be reached.
    #[arg(long)]
    dial: bool,
}

/// Checks what `args` and the environment make up.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let dial = args.dial.then_some(dial::dial as Dial);
    let outcome = report(args.config.input(), dial, &mut io::stdout().lock(), &mut io::stderr().lock());
    // Whoever closed our output does not want to know.
    outcome.unwrap_or(ExitCode::SUCCESS)
}

/// Goes to the servers of a configuration and writes down what came of it.
type Dial = fn(&Config, &mut dyn Write) -> io::Result<ExitCode>;

fn report(
    input: Result<Input, Problem>,
    dial: Option<Dial>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    let loaded = match input.map_err(|problem| Problems(vec![problem])).and_then(|input| load(&input)) {
        Ok(loaded) => loaded,
        Err(problems) => {
            writeln!(err, "{problems}")?;
            return Ok(ExitCode::from(USAGE));
        }
    };
    for warning in &loaded.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    writeln!(out, "configuration is good")?;
    let trust = match loaded.config.trust {
        Trust::Open => "open: loopback only, nobody has to prove anything",
        Trust::Signed => "signed: signatures, stream tokens and tokens of the API are required",
        Trust::Insecure => "insecure: nobody has to prove anything, on any address",
    };
    writeln!(out, "trust is {trust}")?;
    for setting in &loaded.summary {
        writeln!(out, "{} = {}  ({})", setting.key, setting.value, setting.source)?;
    }
    dial.map_or(Ok(ExitCode::SUCCESS), |dial| dial(&loaded.config, out))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    /// Exit code as text, standard output, standard error.
    fn checked(file: &str) -> (String, String, String) {
        let environment = vec![(OsString::from("CARTESIA_API_KEY"), OsString::from("hunter2"))];
        let file = Some(("settings.toml".to_owned(), file.to_owned()));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = report(Ok(Input { file, environment, ..Input::default() }), None, &mut out, &mut err).unwrap();
        (format!("{code:?}"), String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_good_configuration_is_summed_up_without_secrets() {
        let (code, out, err) = checked("[playout]\nlead_ms = 80\n");
        assert_eq!((code, err.as_str()), (format!("{:?}", ExitCode::SUCCESS), ""));
        assert!(out.starts_with("configuration is good\ntrust is open"), "{out}");
        assert!(out.contains("playout.lead_ms = 80  (settings.toml line 2)\n"), "{out}");
        assert!(
            out.contains("speech.cartesia.api_key = [redacted]  (environment variable CARTESIA_API_KEY)\n"),
            "{out}"
        );
        assert!(!out.contains("hunter2"), "{out}");
    }

    #[test]
    fn hearing_is_shown_like_speech() {
        let (_, out, err) =
            checked("[hearing]\nprovider = \"cartesia\"\n[hearing.cartesia]\nkeyterms = [\"a\", \"b\"]\n");
        assert_eq!(err, "");
        assert!(out.contains("hearing.provider = cartesia  (settings.toml line 2)\n"), "{out}");
        assert!(out.contains("hearing.cartesia.keyterms = 2 texts  (settings.toml line 4)\n"), "{out}");
        let key = "hearing.cartesia.api_key = [redacted]  (environment variable CARTESIA_API_KEY)\n";
        assert!(out.contains(key) && !out.contains("hunter2"), "{out}");
    }

    #[test]
    fn every_mistake_is_one_line_and_the_exit_code_says_so() {
        let (code, out, err) = checked("[playout]\nlead_ms = 1\nlaed_ms = 2\n");
        assert_eq!((code, out.as_str()), (format!("{:?}", ExitCode::from(USAGE)), ""));
        assert_eq!(err.lines().count(), 2, "{err}");
    }

    #[test]
    fn a_file_that_is_not_there_is_a_mistake_too() {
        let missing = Input::from_process(Some(std::path::Path::new("no/such/settings.toml")));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = report(missing, None, &mut out, &mut err).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(USAGE)));
        assert!(String::from_utf8(err).unwrap().starts_with("no/such/settings.toml: the file cannot be read"));
    }
}
