//! Configuration: defaults, then a TOML file, then credentials, then the environment, then flags.
//!
//! One table, [`KEYS`], says what there is. Every source is checked against it by itself, so that all mistakes of all
//! sources are told at once; the `config` crate lays the sources over one another; [`Config`] is the typed result.

mod checks;
mod docs;
mod hearing;
mod keys;
mod layers;
mod limits;
mod llm;
mod otlp;
mod outbound;
mod problem;
mod read;
mod recording;
mod relay;
mod settings;
mod speech;
mod tls;
mod tools;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use config::{Config as Layers, Value, ValueKind};
use zeroize::Zeroize as _;

pub use crate::secret::Secret;
pub use docs::markdown;
pub use hearing::{
    CartesiaHearing, DeepgramHearing, FluxHearing, GradiumHearing, Hearing, HearingProvider, InkEndpoint, TurnEnd,
};
pub use keys::{Blank, Entries, KEYS, Key, Kind};
pub use limits::Limits;
pub use llm::{AgentTool, Llm};
pub use otlp::Otlp;
pub use outbound::Outbound;
pub use problem::{Problem, Problems};
pub use recording::Recording;
pub use relay::{Interruption, Relay, Sensitivity};
pub(crate) use settings::narrow;
pub use settings::{
    Agent, AgentKind, BargeIn, BargeInPolicy, Buffering, BusySignal, Call, Config, Log, LogFormat, LogLevel, Player,
    Playout, Script, Server, SpeechEncoding, Tape, TapeAudio, TapeText, Text, TextRule, Trust, Twilio,
};
pub use speech::*;
pub use tls::Tls;

use layers::{Layer, Reading};
use problem::Fault;

/// Everything that a configuration is made from. The environment is an argument, so that tests need not change that of
/// their process.
#[derive(Clone, Default)]
pub struct Input {
    /// Name and text of the TOML file.
    pub file: Option<(String, String)>,
    /// All environment variables; foreign ones are let be. Some name files, which [`load`] reads: `.._FILE` for secrets, and
    /// `CREDENTIALS_DIRECTORY`.
    pub environment: Vec<(OsString, OsString)>,
    /// Key paths and texts from flags, such as `("server.listen", "127.0.0.1:9000")`.
    pub overrides: Vec<(String, String)>,
    /// `--insecure`: nobody has to prove anything. A flag only, so that no file can switch trust off unseen.
    pub insecure: bool,
}

impl Input {
    /// The named file and the environment of this process.
    ///
    /// # Errors
    /// A [`Problem`] if the file cannot be read as text.
    pub fn from_process(file: Option<&Path>) -> Result<Self, Problem> {
        let read = |path: &Path| {
            let name = path.display().to_string();
            match fs::read_to_string(path) {
                Ok(text) => Ok((name, text)),
                Err(error) => {
                    Err(Fault::new(format!("the file cannot be read: {error}"), "check its name and rights")
                        .at(name, ""))
                }
            }
        };
        let file = file.map(read).transpose()?;
        Ok(Self { file, environment: std::env::vars_os().collect(), ..Self::default() })
    }

    /// Ends the input, and overwrites what it held of the file and the flags: there may be secrets in them.
    pub fn wipe(mut self) {
        if let Some((_, text)) = &mut self.file {
            text.zeroize();
        }
        for (_, text) in &mut self.overrides {
            text.zeroize();
        }
    }
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The typed result.
    pub config: Config,
    /// What works but should be looked at.
    pub warnings: Vec<Problem>,
    /// Every key that has a value, in the order of [`KEYS`].
    pub summary: Vec<Setting>,
}

/// One line of a summary; holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// Its value in short; `[redacted]` for a secret, a count for lists and tables.
    pub value: String,
    /// The source that won: `default`, `settings.toml line 3`...
    pub source: String,
}

/// Reads, lays over one another and checks all sources.
///
/// # Errors
/// [`Problems`] with every mistake of every source, each with its fix.
pub fn load(input: &Input) -> Result<Loaded, Problems> {
    let mut readings = vec![Reading::defaults()];
    if let Some((name, text)) = &input.file {
        readings.push(Reading::file(name, text));
    }
    readings.push(Reading::credentials(&input.environment));
    readings.push(Reading::aliases(&input.environment));
    readings.push(Reading::environment(&input.environment));
    readings.push(Reading::flags(&input.overrides));

    let unreadable = readings.iter().any(|reading| reading.unreadable);
    let faulty: BTreeSet<String> = readings.iter().flat_map(|reading| reading.faulty.iter().cloned()).collect();
    let mut problems: Vec<Problem> = readings.iter().flat_map(|reading| reading.problems.iter().cloned()).collect();
    let mut warnings: Vec<Problem> = readings.iter().flat_map(|reading| reading.warnings.iter().cloned()).collect();
    let tool_tokens: Vec<_> =
        readings.iter_mut().flat_map(|reading| std::mem::take(&mut reading.tool_tokens)).collect();
    let merged = match merge(readings.into_iter().map(|reading| reading.layer)) {
        Ok(merged) => merged,
        Err(problem) => {
            problems.push(problem);
            return Err(Problems(problems));
        }
    };
    let (mut config, values) = merged;
    for (name, (source, token)) in tool_tokens {
        match config.agent.llm.tools.iter_mut().find(|tool| tool.name == name) {
            Some(tool) => tool.token = Some(token),
            None => warnings.push(layers::no_such_tool().at(source, format!("agent.llm.tools.{name}.token"))),
        }
    }
    let given = checks::Given { values: &values, faulty: &faulty };
    config.trust = checks::trust(&config, &given, input.insecure);
    // What a file that cannot be read may have held is unknown: nothing is missing yet.
    if !unreadable {
        problems.extend(checks::problems(&config, &given));
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    warnings.extend(checks::warnings(&config, &given));
    Ok(Loaded { warnings, summary: summary(&values), config })
}

fn merge(layers: impl Iterator<Item = Layer>) -> Result<(Config, Value), Problem> {
    let builder = layers.fold(Layers::builder(), |builder, layer| builder.add_source(layer));
    let merged = builder.build().and_then(|merged| {
        let values = merged.cache.clone();
        merged.try_deserialize::<Config>().map(|config| (config, values))
    });
    // Every layer holds checked values only. The error is not shown, because it may quote one of them.
    merged.map_err(|_| {
        Fault::new("cannot be put together", "report this as a fault of the program").at("configuration", "")
    })
}

/// The merged value at a key path.
fn value_at<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(root, |value, name| table_of(value)?.get(name))
}

fn table_of(value: &Value) -> Option<&HashMap<String, Value>> {
    if let ValueKind::Table(table) = &value.kind { Some(table) } else { None }
}

fn summary(values: &Value) -> Vec<Setting> {
    let line = |key: &'static Key| {
        let value = value_at(values, key.path)?;
        // A table is merged from many sources; one of its entries stands for all.
        let entry =
            table_of(value).and_then(|table| table.iter().min_by_key(|(name, _)| *name)).map(|(_, value)| value);
        let source = entry.unwrap_or(value).origin().unwrap_or_default().to_owned();
        Some(Setting { key: key.path, value: in_short(key.kind, &value.kind), source })
    };
    KEYS.iter().filter_map(line).collect()
}

fn in_short(kind: Kind, value: &ValueKind) -> String {
    const CHARS_MAX: usize = 60;
    match (kind, value) {
        (Kind::Secret, _) => "[redacted]".to_owned(),
        (Kind::Tools, ValueKind::Array(tools)) => {
            let names = tools.iter().filter_map(|tool| table_of(tool)?.get("name"));
            format!("tools {}", names.map(|name| name.kind.to_string()).collect::<Vec<_>>().join(", "))
        }
        // Its values are for somebody else, and may be secrets.
        (Kind::Object, _) => "an object".to_owned(),
        (Kind::Caller, _) => "given".to_owned(),
        (Kind::Buffering, ValueKind::Table(table)) => {
            table.iter().map(|(name, value)| format!("{{ {name} = {} }}", value.kind)).collect()
        }
        (_, ValueKind::Table(table)) => {
            let names: BTreeSet<&str> = table.keys().map(String::as_str).collect();
            format!("entries {}", names.into_iter().collect::<Vec<_>>().join(", "))
        }
        (_, ValueKind::Array(array)) => format!("{} texts", array.len()),
        (Kind::HttpUrl | Kind::WebSocketUrl, ValueKind::String(url)) => match url.split_once('?') {
            // A query is where people put keys.
            Some((front, _)) => format!("{front}?.."),
            None => url.clone(),
        },
        (_, ValueKind::String(text)) if text.chars().count() > CHARS_MAX => {
            format!("{}..", text.chars().take(CHARS_MAX).collect::<String>())
        }
        (_, value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
