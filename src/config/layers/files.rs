//! Secrets in files: those that a variable with `_FILE` behind its name points to, and the credentials of systemd.
//!
//! What is wrong with such a file is told by its name, never by what is in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use config::ValueKind;
use zeroize::Zeroizing;

use super::Reading;
use crate::config::keys::{self, Entries, KEYS, Key, Kind};
use crate::config::problem::Fault;
use crate::config::read;
use crate::secret::Secret;

/// Longest file of a secret, in bytes. Keys and tokens are below a hundred; whoever points at something else made a mistake.
const BYTES_MAX: usize = 16 * 1024;
/// Where systemd puts a unit's credentials: a directory with a file for each, named as the key is.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// What stands behind the name of a variable that names a file.
const SUFFIX: &str = "_FILE";
/// Where containers are given secrets. Such files are often readable by all, but only inside of one container.
const MOUNTS: [&str; 3] = ["/run/secrets/", "/var/run/secrets/", "/run/credentials/"];
/// The permission of others to read.
const OTHERS_READ: u32 = 0o004;

/// What was found in a file.
pub(in crate::config) struct Found {
    /// Its text without the line break at its end.
    pub(in crate::config) text: Zeroizing<String>,
    /// Whether everybody on this machine can read it.
    pub(in crate::config) is_open: bool,
}

/// Reads the file of a secret.
pub(in crate::config) fn read(path: &Path) -> Result<Found, Fault> {
    let unreadable = |error: std::io::Error| {
        Fault::new(format!("cannot be read: {error}"), "check its name, and that this user may read it")
    };
    let about = fs::metadata(path).map_err(unreadable)?;
    // A pipe or a device might have no end, or no beginning.
    if !about.is_file() {
        return Err(Fault::new("is not a file", "name a file that holds the secret and nothing else"));
    }
    // As much room as there can be bytes: a buffer that grows leaves its old bytes behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX + 1));
    let limit = u64::try_from(BYTES_MAX + 1).unwrap_or(u64::MAX);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() > BYTES_MAX {
        let fix = "name a file that holds the secret and nothing else";
        return Err(Fault::new(format!("is longer than {BYTES_MAX} bytes"), fix));
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Err(Fault::new("is not valid UTF-8", "write the secret as text"));
    };
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(Fault::new("is empty", "write the secret into it, or unset the variable"));
    }
    let is_mounted = MOUNTS.iter().any(|mount| path.starts_with(mount));
    let is_open = about.permissions().mode() & OTHERS_READ != 0 && !is_mounted;
    Ok(Found { text: Zeroizing::new(text.to_owned()), is_open })
}

/// What everybody can read is no secret.
pub(in crate::config) fn open_to_all() -> Fault {
    Fault::new("stands in a file that everybody on this machine can read", "take that right away: chmod o-r")
}

/// The secret that a variable of ours with `_FILE` behind its name is about: its key, and the name of its entry if it stands
/// in a table. `rest` is the variable's name without our prefix.
pub(super) fn secret_in_file(rest: &str) -> Option<(&'static Key, String)> {
    let (front, suffix) = rest.split_at_checked(rest.len().checked_sub(SUFFIX.len())?)?;
    let is_key = keys::find(&rest.replace("__", ".").to_ascii_lowercase()).is_some();
    if is_key || !suffix.eq_ignore_ascii_case(SUFFIX) {
        return None;
    }
    secret_at(&front.split("__").collect::<Vec<_>>(), "__")
}

/// The secret at a path: its key, and the name of its entry, with its letters, if it stands in a table.
fn secret_at(segments: &[&str], separator: &str) -> Option<(&'static Key, String)> {
    let path = segments.join(".").to_ascii_lowercase();
    let secret = |key: &&Key| key.kind == Kind::Secret && key.path == path;
    if let Some(key) = KEYS.iter().find(secret) {
        return Some((key, String::new()));
    }
    let above = |key: &&Key| {
        matches!(key.kind, Kind::Table(Entries::Secrets | Entries::Headers))
            && path.strip_prefix(key.path).is_some_and(|rest| rest.starts_with('.'))
    };
    let key = KEYS.iter().find(above)?;
    Some((key, segments.get(key.path.split('.').count()..)?.join(separator)))
}

impl Reading {
    /// The credentials that systemd hands to a unit: a file for each secret, named as its key.
    pub(in crate::config) fn credentials(variables: &[(OsString, OsString)]) -> Self {
        let mut reading = Self::default();
        let directory = variables.iter().find(|(name, value)| name == CREDENTIALS && !value.is_empty());
        let Some((_, directory)) = directory else { return reading };
        let directory = Path::new(directory);
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                let fault = format!("names a directory that cannot be read: {error}");
                let fault = Fault::new(fault, "check its name and rights, or unset the variable");
                reading.problems.push(fault.at(format!("environment variable {CREDENTIALS}"), ""));
                return reading;
            }
        };
        // By name, so that problems are told in the same order each time. Hidden names are how Kubernetes swaps directories.
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let files: BTreeMap<String, _> = names
            .filter(|name| !name.starts_with('.'))
            .map(|name| (name.clone(), directory.join(name)))
            .filter(|(_, path)| path.is_file())
            .collect();
        for (name, path) in files {
            reading.credential(&name, &path);
        }
        reading
    }

    fn credential(&mut self, name: &str, path: &Path) {
        let source = format!("credential {}", path.display());
        let segments: Vec<&str> = name.split('.').collect();
        if let Some((key, entry)) = secret_at(&segments, ".") {
            let text = read(path).and_then(|found| value(key, &entry, &found));
            return if entry.is_empty() {
                self.take(key, &source, text);
            } else {
                self.take_entry(key, &entry, &source, text);
            };
        }
        if let Some(tool) = name.strip_prefix("agent.llm.tools.").and_then(|rest| rest.strip_suffix(".token")) {
            let text = read(path)
                .and_then(|found| read::from_text(Kind::Secret, &found.text).map(|_| Secret::new(found.text.as_str())));
            match text {
                Ok(token) => drop(self.tool_tokens.insert(tool.to_owned(), (source, token))),
                Err(fault) => self.problems.push(fault.at(source, name)),
            }
            return;
        }
        // A unit may have credentials of another kind, such as the key of its certificate: those are let be.
        let near = keys::suggest(name).filter(|near| keys::find(near).is_some_and(|key| key.kind == Kind::Secret));
        let fault = match (keys::find(name), near) {
            (Some(_), _) => Fault::new("is no secret, and not read from credentials", "set it in the TOML file"),
            (None, Some(near)) => {
                Fault::new("is not a key, so that the file is not read", format!("did you mean {near}?"))
            }
            (None, None) => return,
        };
        self.warnings.push(fault.at(source, name));
    }

    /// Takes a secret, or the entry of that name of a table of secrets, from the file that a variable names.
    pub(super) fn take_file(&mut self, key: &Key, entry: &str, variable: &str, path: &Path) {
        let source = format!("file {} of environment variable {variable}", path.display());
        let path_of_key = if entry.is_empty() { key.path.to_owned() } else { format!("{}.{entry}", key.path) };
        if self.taken.contains(&path_of_key) {
            let bare = variable.get(..variable.len().saturating_sub(SUFFIX.len())).unwrap_or_default();
            let fault = Fault::new(format!("is set by {bare} already"), format!("keep one of {bare} and {variable}"));
            return self.reject(key, path_of_key, &source, fault);
        }
        let found = read(path);
        if found.as_ref().is_ok_and(|found| found.is_open) {
            self.warnings.push(open_to_all().at(source.clone(), path_of_key));
        }
        let value = found.and_then(|found| value(key, entry, &found));
        if entry.is_empty() {
            self.take(key, &source, value);
        } else {
            self.take_entry(key, entry, &source, value);
        }
    }
}

fn value(key: &Key, entry: &str, found: &Found) -> Result<ValueKind, Fault> {
    if let Kind::Table(entries) = key.kind {
        read::entry(entries, entry, &found.text)
    } else {
        read::from_text(key.kind, &found.text)
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
