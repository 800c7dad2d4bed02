//! The languages of vendors that speak: one file each, and one line each in [`providers`].

/// Every vendor that speaks, once: its name as a type and as a module, which is also its name in the configuration, on tapes
/// and in metrics. What has a part for each of them is made from this list: `$with!` is called with all of it.
macro_rules! providers {
    ($with:ident) => {
        $with! {
            /// Cartesia, or any server of its protocol.
            Cartesia cartesia,
            /// Deepgram's Aura.
            Deepgram deepgram,
            /// Deepgram's Flux for speech.
            DeepgramFlux deepgram_flux,
            /// OpenAI's speech over HTTP, or any engine that serves the same.
            Openai openai,
        }
    };
}
pub(crate) use providers;

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident $module:ident,)*) => {
        $(pub mod $module;)*

        /// A vendor, and what is the same in every call. Without the key it goes onto tapes.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Settings {
            $($(#[$doc])* $name(Box<$module::Settings>),)*
        }

        impl Settings {
            /// What is spoken with the vendor in the call whose stream is `stream`.
            pub fn language(&self, stream: &StreamSid) -> Language {
                match self {
                    $(Settings::$name(settings) => settings.language(stream),)*
                }
            }

            /// The same without the query of the URL, in which proxies have their keys: what may be written down.
            #[must_use]
            pub fn without_query(&self) -> Self {
                match self {
                    $(Settings::$name(settings) => Settings::$name(Box::new(settings.without_query())),)*
                }
            }
        }
    };
}

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{TtsDialect, TtsRequests};
use crate::ids::{ContextId, StreamSid, TurnId};

providers!(settings);

/// What is spoken with a vendor in one call.
pub enum Language {
    /// Messages over one socket.
    Socket(Box<dyn TtsDialect>),
    /// A request for each text, over HTTP.
    Requests(Arc<dyn TtsRequests>),
}

/// A URL without its query.
fn address(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Names a call's contexts as no other call does: `{stream}-{turn}.{serial}`.
#[derive(Clone, Debug)]
struct Names {
    prefix: String,
}

impl Names {
    fn new(stream: &StreamSid) -> Self {
        Names { prefix: format!("{stream}-") }
    }

    fn name_of(&self, context: ContextId) -> String {
        format!("{}{context}", self.prefix)
    }

    /// The context of a name; `None` if the name was not made here.
    fn context_of(&self, name: &str) -> Option<ContextId> {
        let (turn, serial) = name.strip_prefix(&self.prefix)?.split_once('.')?;
        Some(ContextId { turn: TurnId(turn.parse().ok()?), serial: serial.parse().ok()? })
    }
}

#[cfg(test)]
mod support;
