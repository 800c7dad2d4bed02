//! What shapes one session of a ConversationRelay app.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::event::Delivery;
use crate::call::settings::Interruptible;
use crate::secret::Secret;
use crate::wire::relay::Setup;

/// The language where nobody says another; Twilio's default.
pub const LANGUAGE: &str = "en-US";
/// The code of a language that is to be found out.
const MULTI: &str = "multi";

/// What shapes one session. It goes onto tapes; the signature of the handshake is left out there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `ws` or `wss` URL of the app.
    pub url: String,
    /// Value of `X-Twilio-Signature`, if there is a token to sign with. Never written anywhere.
    #[serde(skip)]
    pub signature: Option<Secret>,
    /// Who calls whom.
    pub setup: Setup,
    /// When the call began, in milliseconds of Unix time.
    pub started_ms: u64,
    /// Said when the app is there; empty for nothing.
    pub greeting: String,
    /// What may cut the greeting off.
    pub greeting_interruptible: Interruptible,
    /// What may cut anything else off, unless a message says otherwise.
    pub interruptible: Interruptible,
    /// Whether later speech cuts off earlier one, unless a message says otherwise.
    pub preemptible: bool,
    /// Tell of keys.
    pub dtmf: bool,
    /// Tell what is known of an utterance before it is over.
    pub partials: bool,
    /// Tell who is speaking.
    pub speaker_events: bool,
    /// Tell what was heard of the app's text, as it is heard.
    pub tokens_played: bool,
    /// The vendor's id of the voice, unless the language has its own.
    pub voice: Option<String>,
    /// Language of speech; `None`: the voice's own.
    pub speech_language: Option<String>,
    /// Language of the caller; `None`: whatever the vendor is set to, told to the app as [`LANGUAGE`].
    pub hearing_language: Option<String>,
    /// Languages with a voice of their own: code to the vendor's id.
    pub languages: BTreeMap<String, String>,
}

impl Settings {
    /// The same without the query of the URL, in which keys may stand: what may be written down.
    #[must_use]
    pub fn without_query(&self) -> Self {
        Settings { url: self.address().to_owned(), signature: None, ..self.clone() }
    }

    /// The same with everything that is private put through `cover`: words, numbers, names.
    #[must_use]
    pub fn covered(&self, cover: impl Fn(&str) -> String) -> Self {
        let setup = &self.setup;
        let parameters = setup.custom_parameters.iter().map(|(name, value)| (cover(name), cover(value)));
        let setup = Setup {
            session_id: cover(&setup.session_id),
            account_sid: cover(&setup.account_sid),
            parent_call_sid: cover(&setup.parent_call_sid),
            call_sid: cover(&setup.call_sid),
            from: cover(&setup.from),
            to: cover(&setup.to),
            forwarded_from: cover(&setup.forwarded_from),
            caller_name: cover(&setup.caller_name),
            custom_parameters: parameters.collect(),
            // Words of the protocol.
            call_type: setup.call_type.clone(),
            direction: setup.direction.clone(),
            call_status: setup.call_status.clone(),
        };
        Settings { setup, greeting: cover(&self.greeting), ..self.without_query() }
    }

    /// How something in `language` is spoken. Voices take the language alone, not its country.
    pub(super) fn delivery(&self, language: Option<&str>) -> Arc<Delivery> {
        let own = language.and_then(|code| self.languages.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)));
        let voice = own.map(|(_, voice)| voice).or(self.voice.as_ref());
        Arc::new(Delivery { voice: voice.cloned(), language: language.and_then(primary), ..Delivery::default() })
    }

    fn address(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }
}

/// The language of a code, without country and the like; `None` if it is to be found out.
pub(super) fn primary(code: &str) -> Option<String> {
    let language = code.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    (!language.is_empty() && language != MULTI).then_some(language)
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("url", &self.address()).finish_non_exhaustive()
    }
}
