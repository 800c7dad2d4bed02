//! The typed configuration of speech: who speaks, and a file for each vendor.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::keys::{Key, Kind, TEXT, joined, key};
use super::settings::SpeechEncoding;
use crate::call::settings::Voice;
use crate::dialect::speech::{Settings, providers};
use crate::secret::Secret;

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident $module:ident,)*) => {
        $(
            mod $module;
            pub use self::$module::$name;
        )*

        /// `[speech]`
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Speech {
            /// Who speaks, best first: what one cannot speak, the next one does. Never empty, nobody twice.
            pub chain: Vec<Provider>,
            /// Said by the local voice when nobody of the chain can speak; never empty.
            pub fallback_line: String,
            /// What follows the fallback line.
            pub on_failure: OnFailure,
            /// Lines that are spoken before they are needed, beside those that are known to be.
            #[serde(default)]
            pub phrases: Vec<String>,
            /// Room for them in MiB; 0: nothing is spoken before it is needed.
            pub phrase_cache_mib: u32,
            $($(#[$doc])* pub $module: $name,)*
        }

        /// Somebody who speaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Provider {
            /// The built-in voice.
            Local,
            $($(#[$doc])* $name,)*
        }

        impl Provider {
            /// The provider as it is written, which is also the name of its section.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Provider::Local => "local",
                    $(Provider::$name => stringify!($module),)*
                }
            }
        }

        impl Speech {
            /// The section of a provider; the built-in voice has none.
            pub fn section(&self, provider: Provider) -> Option<&dyn Section> {
                match provider {
                    Provider::Local => None,
                    $(Provider::$name => Some(&self.$module),)*
                }
            }
        }

        /// The sections of all vendors.
        pub(super) const SECTIONS: &[&str] = &[$(concat!("speech.", stringify!($module)),)*];

        const NAMES: &[&str] = &["local", $(stringify!($module),)*];

        /// The keys of all sections, in the order of the documentation.
        pub(super) const KEYS: &[Key] = &joined::<{ OWN.len() $(+ $module::KEYS.len())* }>(&[OWN, $($module::KEYS,)*]);
    };
}

providers!(sections);

const OWN: &[Key] = &[
    key(
        "speech.chain",
        Kind::Chain(NAMES),
        Some("[\"local\"]"),
        "who speaks, best first: what one cannot speak, the next one does; `local` can only be the last",
    ),
    key(
        "speech.fallback_line",
        TEXT,
        Some("I am sorry, I have trouble speaking right now. Please bear with me, or call again in a few minutes."),
        "said by the local voice when nobody of the chain can speak",
    ),
    key(
        "speech.on_failure",
        Kind::Choice(&["continue", "close"]),
        Some("continue"),
        "what follows the fallback line: stay on the call, or close the stream",
    ),
    key(
        "speech.phrases",
        Kind::Texts,
        None,
        "texts that your agent often says, at least a sentence each: spoken once when the server starts, and kept, as the \
         greeting and the other lines of this file are",
    ),
    key(
        "speech.phrase_cache_mib",
        Kind::Integer(0, 1_024),
        Some("16"),
        "room for what is spoken before it is needed, in MiB: a minute of a telephone's 16-bit speech takes 1; 0: nothing is",
    ),
];

/// What follows the fallback line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The call goes on; the next turn tries again.
    Continue,
    /// The stream is closed, so that the carrier goes on with its own instructions.
    Close,
}

/// The limits of an account, for all calls of this server together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Contexts (requests, where there are none) at once; `None`: unlimited.
    pub max_contexts: Option<u32>,
    /// Sockets at once; `None`: unlimited.
    pub max_sockets: Option<u32>,
    /// Sockets that are kept open for the next calls.
    pub warm: u32,
}

/// Age at which a warm socket is replaced where its vendor is not known to want otherwise: Cartesia documents that it closes
/// idle sockets after five minutes, and users report that at times it does so earlier.
const WARM_AGE: Duration = Duration::from_secs(200);

/// What the section of every vendor tells.
pub trait Section {
    /// The vendor's own domain: nothing is dialled there without a key.
    fn domain(&self) -> &'static str;
    /// The vendor's own environment variable for the key.
    fn key_variable(&self) -> &'static str;
    /// Endpoint.
    fn url(&self) -> &str;
    /// API key, for a header.
    fn api_key(&self) -> Option<&Secret>;
    /// PEM file of a certificate authority to trust in place of the public ones.
    fn ca_file(&self) -> Option<&Path>;
    /// Language code, where one is set.
    fn language(&self) -> Option<&str>;
    /// The account's limits.
    fn account(&self) -> Account;
    /// Age at which a warm socket is replaced: before the vendor closes it for being idle.
    fn warm_age(&self) -> Duration {
        WARM_AGE
    }
    /// What the core knows of the voice.
    fn voice(&self) -> Voice;
    /// What its language needs.
    fn settings(&self) -> Settings;
    /// What does not hold between keys of the section.
    fn problems(&self) -> Vec<SectionProblem> {
        Vec::new()
    }
}

/// Keys of one section that do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionProblem {
    /// The key's name in its section.
    pub key: &'static str,
    /// What is wrong with it: goes on behind the key.
    pub fault: String,
    /// What to do.
    pub fix: &'static str,
}

/// What is passed through to a telephone line has to have its rate.
fn passed_through(encoding: SpeechEncoding, rate: Option<u32>) -> Option<SectionProblem> {
    let rate = rate.filter(|rate| encoding == SpeechEncoding::PcmMulaw && *rate != 8_000)?;
    Some(SectionProblem {
        key: "sample_rate",
        fault: format!("is {rate}, but the encoding is \"pcm_mulaw\", which is passed through at 8000"),
        fix: "leave the rate out, write 8000, or choose \"pcm_s16le\"",
    })
}

/// The keys of an account's limits, the same in every section.
macro_rules! account_keys {
    ($section:literal) => {
        [
            key(
                concat!($section, ".max_contexts"),
                Kind::Integer(1, 100_000),
                None,
                "contexts that the account may have at once, for all calls of this server; further ones wait for their \
                 turn; absent: unlimited",
            ),
            key(
                concat!($section, ".max_sockets"),
                Kind::Integer(1, 100_000),
                None,
                "sockets that the account may have at once, for all calls of this server; absent: unlimited",
            ),
            key(
                concat!($section, ".warm"),
                Kind::Integer(0, 100),
                Some("0"),
                "sockets that are dialled ahead and kept open for the next calls",
            ),
        ]
    };
}
use account_keys;

#[cfg(test)]
mod tests;
