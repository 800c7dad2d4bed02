//! The sources of a configuration, each read and checked by itself.
//!
//! A layer holds only what is right, in the types that the keys want; all that is wrong becomes a [`Problem`], also
//! where a stronger source would have hidden it. The `config` crate then lays the layers over one another.

pub(super) mod files;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use config::{ConfigError, Source, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Blank, KEYS, Key, Kind};
use super::problem::{Fault, Problem};
use super::{read, tools};
use crate::secret::Secret;

/// In front of every variable of ours. One underscore would collide with the variables that container platforms make
/// up for a service of our name.
const PREFIX: &str = "TRUNKLINE__";

/// What one source says, as nested tables. `Debug` shows no values.
#[derive(Clone, Default)]
pub(super) struct Layer(HashMap<String, Value>);

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Layer").finish_non_exhaustive()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<HashMap<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// A layer and what was wrong with its source.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) layer: Layer,
    pub(super) problems: Vec<Problem>,
    /// What works but should be looked at.
    pub(super) warnings: Vec<Problem>,
    /// Tokens of an agent's tools by the tools' names, each with its source: tools are a list, which cannot be laid over
    /// another one entry by entry.
    pub(super) tool_tokens: BTreeMap<String, (String, Secret)>,
    /// Keys that were given, but wrongly: nobody is told in addition that they are missing.
    pub(super) faulty: BTreeSet<String>,
    /// The source could not be taken apart at all, so that nothing can be said about what it lacks.
    pub(super) unreadable: bool,
    /// Keys that this source has set, to tell when it does so twice.
    taken: BTreeSet<String>,
}

impl Reading {
    /// The defaults of the key table.
    pub(super) fn defaults() -> Self {
        let mut reading = Self::default();
        for key in KEYS {
            if let Some(text) = key.default {
                reading.take(key, "default", read::from_text(key.kind, text));
            }
        }
        reading
    }

    /// The text of a TOML file; `name` is what its problems are reported under.
    pub(super) fn file(name: &str, text: &str) -> Self {
        let mut reading = Self::default();
        let (table, mut errors) = DeTable::parse_recoverable(text);
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        reading.unreadable = !errors.is_empty();
        let broken: BTreeSet<usize> =
            errors.iter().map(|error| line_of(text, error.span().map_or(0, |s| s.start))).collect();
        for error in &errors {
            // Only place and message: the display form quotes the line, which may hold a secret.
            let line = line_of(text, error.span().map_or(0, |span| span.start));
            let fault = format!("is not TOML: {}", error.message().replace('\n', ", "));
            let fix = "correct the line; text, ids and secrets stand in quotes";
            reading.problems.push(Fault::new(fault, fix).at(format!("{name} line {line}"), "the text"));
        }
        // The parser goes on after a broken line, and so do we. Only a broken section head moves the keys below it to
        // where nobody wrote them.
        let is_head = |line: &usize| text.lines().nth(line - 1).is_some_and(|line| line.trim_start().starts_with('['));
        if !broken.iter().any(is_head) {
            Walk { name, text, broken: &broken, reading: &mut reading }.table("", table.get_ref());
        }
        reading
    }

    /// The variables that vendors' tools use, and the files that such a variable with `_FILE` behind it names. Weaker than our
    /// own names for the same keys.
    pub(super) fn aliases(variables: &[(OsString, OsString)]) -> Self {
        let mut reading = Self::default();
        for key in KEYS {
            let Some(alias) = key.alias else { continue };
            let given = variables.iter().filter(|(name, _)| name == alias);
            // Compose files and the like pass an unset variable on as an empty one.
            for (_, value) in given.filter(|(_, value)| !value.is_empty()) {
                let source = format!("environment variable {alias}");
                let read = value.to_str().ok_or_else(not_unicode).and_then(|text| read::from_text(key.kind, text));
                reading.take(key, &source, read);
            }
            if key.kind == Kind::Secret {
                let file = format!("{alias}_FILE");
                let given = variables.iter().filter(|(name, value)| name == file.as_str() && !value.is_empty());
                for (_, path) in given {
                    reading.take_file(key, "", &file, Path::new(path));
                }
            }
        }
        reading
    }

    /// The variables `TRUNKLINE__SECTION__KEY`, in any order and letter case, and the files that `TRUNKLINE__SECTION__KEY_FILE`
    /// names for a secret.
    pub(super) fn environment(variables: &[(OsString, OsString)]) -> Self {
        let mut reading = Self::default();
        let mut ours: Vec<_> = variables
            .iter()
            .filter_map(|(name, value)| name.to_str().map(|name| (name, value)))
            .filter_map(|(name, value)| name.strip_prefix(PREFIX).map(|rest| (name, rest, value)))
            .collect();
        ours.sort_unstable();
        for (name, rest, value) in ours {
            let source = format!("environment variable {name}");
            let segments: Vec<&str> = rest.split("__").collect();
            if let Some((key, entry)) = files::secret_in_file(rest) {
                if !value.is_empty() {
                    reading.take_file(key, &entry, name, Path::new(value));
                }
                continue;
            }
            match value.to_str() {
                Some(text) => reading.assign(&source, &segments, "__", text),
                None => reading.problems.push(not_unicode().at(source, "")),
            }
        }
        reading
    }

    /// Key paths and texts from the command line.
    pub(super) fn flags(overrides: &[(String, String)]) -> Self {
        let mut reading = Self::default();
        for (path, text) in overrides {
            let segments: Vec<&str> = path.split('.').collect();
            reading.assign("command line", &segments, ".", text);
        }
        reading
    }

    /// Sets the key at `segments` from text, or the entry of a table below it.
    fn assign(&mut self, source: &str, segments: &[&str], separator: &str, text: &str) {
        let path = segments.join(".").to_ascii_lowercase();
        if let Some(key) = keys::find(&path) {
            // An empty variable is an unset one, except where an empty text means something.
            if !text.is_empty() || key.kind == Kind::Text(Blank::Allowed) {
                self.take(key, source, read::from_text(key.kind, text));
            }
            return;
        }
        let above = KEYS.iter().find(|key| path.strip_prefix(key.path).is_some_and(|rest| rest.starts_with('.')));
        let rest = above.and_then(|key| segments.get(key.path.split('.').count()..)).unwrap_or_default();
        match above {
            Some(key @ Key { kind: Kind::Table(entries), .. }) => {
                // The name of an entry keeps its letters: ids are not ours to change.
                let name = rest.join(separator);
                self.take_entry(key, &name, source, read::entry(*entries, &name, text));
            }
            Some(key @ Key { kind: Kind::Buffering, .. }) if path.ends_with(".buffering.managed_ms") => {
                if !text.is_empty() {
                    self.take(key, source, read::from_text(read::MANAGED, text).map(read::managed));
                }
            }
            _ => self.problems.push(unknown(&path).at(source, path)),
        }
    }

    fn take(&mut self, key: &Key, source: &str, read: Result<ValueKind, Fault>) {
        let read = read.and_then(|kind| self.claim(key.path).map(|()| kind));
        match read {
            Ok(kind) => self.layer.insert(&key.path.split('.').collect::<Vec<_>>(), source, kind),
            Err(fault) => self.reject(key, key.path.to_owned(), source, fault),
        }
    }

    fn take_entry(&mut self, key: &Key, name: &str, source: &str, read: Result<ValueKind, Fault>) {
        let path = format!("{}.{name}", key.path);
        let read = if name.is_empty() { Err(Fault::new("has no name", "name the entry")) } else { read };
        match read.and_then(|kind| self.claim(&path).map(|()| kind)) {
            Ok(kind) => {
                let mut segments: Vec<&str> = key.path.split('.').collect();
                segments.push(name);
                self.layer.insert(&segments, source, kind);
            }
            Err(fault) => self.reject(key, path, source, fault),
        }
    }

    fn claim(&mut self, path: &str) -> Result<(), Fault> {
        if self.taken.insert(path.to_owned()) {
            return Ok(());
        }
        Err(Fault::new("is set a second time by the same source", "keep one of the two"))
    }

    fn reject(&mut self, key: &Key, path: String, source: &str, fault: Fault) {
        self.faulty.insert(key.path.to_owned());
        self.problems.push(fault.at(source, path));
    }
}

impl Layer {
    fn insert(&mut self, segments: &[&str], source: &str, kind: ValueKind) {
        let Some((last, sections)) = segments.split_last() else { return };
        let origin = source.to_owned();
        let mut table = &mut self.0;
        for section in sections {
            let value = table
                .entry((*section).to_owned())
                .or_insert_with(|| Value::new(Some(&origin), ValueKind::Table(HashMap::new())));
            // Sections come from the key table and never hold a plain value.
            let ValueKind::Table(inner) = &mut value.kind else { return };
            table = inner;
        }
        table.insert((*last).to_owned(), Value::new(Some(&origin), kind));
    }
}

/// Goes through the tables of a TOML file.
struct Walk<'a> {
    name: &'a str,
    text: &'a str,
    /// Lines that have been reported already.
    broken: &'a BTreeSet<usize>,
    reading: &'a mut Reading,
}

impl Walk<'_> {
    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        // The parser's own order is by name; people read problems from the top of the file.
        let mut rows: Vec<_> = table.iter().collect();
        rows.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in rows {
            let line = line_of(self.text, name.span().start);
            if self.broken.contains(&line) {
                continue;
            }
            let source = format!("{} line {line}", self.name);
            let path = if path.is_empty() { name.get_ref().to_string() } else { format!("{path}.{}", name.get_ref()) };
            match keys::find(&path) {
                Some(key) => self.value(key, &source, value),
                None if keys::is_section(&path) => match value.get_ref().as_table() {
                    Some(inner) => self.table(&path, inner),
                    None => {
                        let fix = format!("write [{path}] on a line of its own, and its keys below");
                        self.reading.problems.push(Fault::new("is a section, not a key", fix).at(source, path));
                    }
                },
                None => self.reading.problems.push(unknown(&path).at(source, path)),
            }
        }
    }

    fn value(&mut self, key: &Key, source: &str, value: &Spanned<DeValue<'_>>) {
        match (key.kind, value.get_ref()) {
            (Kind::Table(entries), DeValue::Table(table)) => {
                for (name, value) in table {
                    let source = format!("{} line {}", self.name, line_of(self.text, name.span().start));
                    let text = value.get_ref().as_str().ok_or_else(|| Fault::new("is not text", "write it in quotes"));
                    let read = text.and_then(|text| read::entry(entries, name.get_ref(), text));
                    self.reading.take_entry(key, name.get_ref(), &source, read);
                }
            }
            (Kind::Buffering, DeValue::Table(table)) => {
                let delay = table.get("managed_ms").filter(|_| table.len() == 1).map(|delay| delay.get_ref());
                let read = match delay {
                    Some(delay) => read::from_toml(read::MANAGED, delay).map(read::managed),
                    None => {
                        Err(Fault::new("is a table with other keys than managed_ms", "write { managed_ms = 3000 }"))
                    }
                };
                self.reading.take(key, source, read);
            }
            (Kind::Tools, DeValue::Array(array)) => {
                let mut tools = tools::Reader::default();
                for tool in array {
                    let line = line_of(self.text, tool.span().start);
                    for (name, fault) in tools.take(tool.get_ref()) {
                        let path = format!("{}{name}", key.path);
                        self.reading.reject(key, path, &format!("{} line {line}", self.name), fault);
                    }
                    for (name, fault) in tools.warnings() {
                        let source = format!("{} line {line}", self.name);
                        self.reading.warnings.push(fault.at(source, format!("{}{name}", key.path)));
                    }
                }
                self.reading.take(key, source, Ok(tools.into_value()));
            }
            (kind, value) => self.reading.take(key, source, read::from_toml(kind, value)),
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

fn unknown(path: &str) -> Fault {
    let fix = match keys::suggest(path) {
        Some(near) => format!("did you mean {near}?"),
        None => "remove it, or see the table of keys in the documentation".to_owned(),
    };
    Fault::new("is not a key", fix)
}

/// A credential for a tool that there is not.
pub(super) fn no_such_tool() -> Fault {
    Fault::new("is the token of a tool that is not configured", "name the file after a tool, or remove it")
}

fn not_unicode() -> Fault {
    Fault::new("is not valid UTF-8", "write it as UTF-8 text")
}
