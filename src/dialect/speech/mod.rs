//! The languages of vendors that speak: one file each, and one line each in `providers!`.

/// Every vendor that speaks, once: its name as a type and as a module, which is also its name in the configuration, on tapes
/// and in metrics. What has a part for each of them is made from this list: `$with!` is called with all of it.
macro_rules! providers {
    ($with:ident) => {
        $with! {
            /// Cartesia, or any server of its protocol.
            Cartesia cartesia,
            /// Gradium, or any server of its protocol.
            Gradium gradium,
            /// ElevenLabs, or any server of its protocol for many contexts.
            Elevenlabs elevenlabs,
            /// Rime, or any server of its protocol.
            Rime rime,
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
use crate::call::event::{Fault, FaultKind, TimedWord, TtsEvent, VoiceIndex};
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

/// What is known of a link as a whole, for vendors that tell of its end before they close it: the close frame says less.
#[derive(Debug, Default)]
struct Link {
    /// Whose it is; known from the first text on.
    voice: Option<VoiceIndex>,
    has_spoken: bool,
}

impl Link {
    /// Takes note of what a message meant.
    fn note(&mut self, event: &TtsEvent) {
        self.has_spoken |= matches!(event, TtsEvent::Audio { .. } | TtsEvent::TimedAudio { .. });
    }

    /// The vendor ends it. What has spoken has a good key and a good voice, so that another link may do.
    fn lost(&self, fault: Fault) -> TtsEvent {
        let kind = if self.has_spoken && fault.kind == FaultKind::Fatal { FaultKind::Retryable } else { fault.kind };
        let fault = Fault { kind, ..fault };
        match self.voice {
            Some(voice) => TtsEvent::Down { voice, fault },
            None => TtsEvent::Failed { context: None, fault },
        }
    }
}

/// Seconds as a vendor tells them, in microseconds.
fn micros(seconds: f64) -> u64 {
    millis(seconds * 1e3)
}

/// Milliseconds as a vendor tells them, in microseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a day first; NaN becomes 0")]
fn millis(millis: f64) -> u64 {
    (millis.clamp(0.0, 86_400_000.0) * 1e3) as u64
}

/// Words and their times in seconds, if there is one of each for every word.
fn timed_words(words: Vec<String>, start: &[f64], end: &[f64]) -> Option<Vec<TimedWord>> {
    if words.len() != start.len() || words.len() != end.len() {
        return None;
    }
    let spans = start.iter().zip(end);
    let words = words.into_iter().zip(spans).map(|(text, (start, end))| TimedWord {
        text,
        start_us: micros(*start),
        end_us: micros(*end),
    });
    Some(words.collect())
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
