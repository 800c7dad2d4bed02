//! The languages of vendors that write down what the caller says: one file each.
//!
//! All of them take the telephone's own format, mu-law at 8 kHz, so nothing is converted on the way.

pub mod deepgram;
mod feed;
pub mod flux;
pub mod gradium;
pub mod ink;

use serde::{Deserialize, Serialize};

use super::SttDialect;
use crate::audio::{Encoding, MediaFormat};
use crate::call::event::{Fault, FaultKind, TurnSign, Words};
use crate::secret::Secret;

/// A vendor, and what is the same in every call. Without the key it goes onto tapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settings {
    /// Cartesia's Ink.
    Cartesia(Box<ink::Settings>),
    /// Deepgram's models of the first interface.
    Deepgram(Box<deepgram::Settings>),
    /// Deepgram's Flux.
    DeepgramFlux(Box<flux::Settings>),
    /// Gradium.
    Gradium(Box<gradium::Settings>),
}

/// The caller's audio is not written in a way that hearing takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller's audio is {encoding:?} at {rate} Hz, but hearing takes mu-law at 8000 Hz")]
pub struct FormatError {
    /// How a sample is written.
    pub encoding: Encoding,
    /// Samples a second.
    pub rate: u32,
}

impl Settings {
    /// The language of a call whose caller's audio is written in `inbound`.
    ///
    /// # Errors
    /// [`FormatError`] unless it is mu-law at 8 kHz: anything else would be heard as noise.
    pub fn dialect(&self, inbound: MediaFormat) -> Result<Box<dyn SttDialect>, FormatError> {
        let MediaFormat { encoding, rate, .. } = inbound;
        if (encoding, rate) != (Encoding::Mulaw, MediaFormat::TELEPHONE.rate) {
            return Err(FormatError { encoding, rate });
        }
        Ok(match self {
            Settings::Cartesia(settings) => Box::new(ink::Ink::new(settings.as_ref().clone())),
            Settings::Deepgram(settings) => Box::new(deepgram::Deepgram::new(settings.as_ref().clone())),
            Settings::DeepgramFlux(settings) => Box::new(flux::Flux::new(settings.as_ref().clone())),
            Settings::Gradium(settings) => Box::new(gradium::Gradium::new(settings.as_ref().clone())),
        })
    }

    /// The vendor, as the configuration names it.
    pub const fn name(&self) -> &'static str {
        match self {
            Settings::Cartesia(_) => "cartesia",
            Settings::Deepgram(_) => "deepgram",
            Settings::DeepgramFlux(_) => "deepgram_flux",
            Settings::Gradium(_) => "gradium",
        }
    }

    /// The same without the query of the URL, in which proxies have their keys: what may be written down.
    #[must_use]
    pub fn without_query(mut self) -> Self {
        let access = match &mut self {
            Settings::Cartesia(settings) => &mut settings.access,
            Settings::Deepgram(settings) => &mut settings.access,
            Settings::DeepgramFlux(settings) => &mut settings.access,
            Settings::Gradium(settings) => &mut settings.access,
        };
        access.url = access.address().to_owned();
        self
    }

    /// The words that the vendor is told to listen for: the operator's, and perhaps names of people.
    pub fn keyterms_mut(&mut self) -> &mut [String] {
        match self {
            Settings::Cartesia(settings) => &mut settings.keyterms,
            Settings::Deepgram(settings) => &mut settings.keyterms,
            Settings::DeepgramFlux(settings) => &mut settings.keyterms,
            Settings::Gradium(_) => &mut [],
        }
    }
}

/// Where a vendor is found, and what opens its door.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// `ws` or `wss` URL. A query in it is kept, and ours comes after it.
    pub url: String,
    /// API key. Never written anywhere.
    #[serde(skip)]
    pub api_key: Secret,
}

impl Access {
    fn address(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// The URL with `query` behind it, encoded as HTML forms are.
    fn url_with(&self, query: &[(&str, String)]) -> String {
        super::url_with(&self.url, query)
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("url", &self.address()).finish_non_exhaustive()
    }
}

/// The language without its region: `en` of `en-GB`.
fn primary(language: &str) -> &str {
    language.split(['-', '_']).next().unwrap_or(language)
}

/// Words that may still change.
fn so_far(text: &str, turn: Option<TurnSign>) -> Words {
    Words { text: text.to_owned(), turn, ..Words::default() }
}

/// A fault with a vendor's word for it. A word of several words may quote what was said.
fn fault(kind: FaultKind, code: Option<&str>) -> Fault {
    let is_word = |code: &&str| code.len() <= 64 && !code.contains(char::is_whitespace);
    Fault { kind, reason: code.filter(is_word).unwrap_or("error without a code").to_owned() }
}

#[cfg(test)]
mod tests;
