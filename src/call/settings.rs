//! What the core needs to know before a call begins.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::phrases::Phrase;
use crate::audio::{Encoding, vad};

/// Everything that shapes one call. Plain data: it goes whole into a tape's header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The voices, best first. Those of the chain speak; the last one of all says the fallback line when none of them can.
    pub voices: Vec<Voice>,
    /// How many of the voices, from the first on, are the chain, at least 1: what one of them cannot speak, the next does.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub chain: usize,
    /// What the caller hears when speech failed for good. Empty: nothing.
    pub fallback_line: String,
    /// What happens after the fallback line.
    pub on_failure: OnFailure,
    /// Pacing of outbound audio.
    pub playout: Playout,
    /// What may interrupt, unless the turn says otherwise.
    pub interruptible: Interruptible,
    /// How the caller's voice is detected.
    pub detector: vad::Settings,
    /// How long things may take.
    pub limits: Limits,
    /// How written text is turned into what is spoken.
    #[serde(default, skip_serializing_if = "Text::is_default")]
    pub text: Text,
    /// Start of the jitter of back-offs, so that a replay waits as the call did.
    pub seed: u64,
    /// How the call is a conversation, if it is one.
    #[serde(default, skip_serializing_if = "Conversation::is_default")]
    pub conversation: Conversation,
    /// What may have been spoken before it is needed: it is asked for before its voice is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phrases: Vec<Phrase>,
}

const fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_one(chain: &usize) -> bool {
    *chain == 1
}

/// How a call is a conversation: what is heard, what is told to the agent, what happens without either of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conversation {
    /// Who writes down what the caller says; `None`: nobody does.
    pub hearing: Option<Hearing>,
    /// Input of the caller that is reported although it may not interrupt what is heard just then.
    pub reported_during_speech: Interruptible,
    /// What happens when nobody speaks, and how long a call may last.
    pub lifetime: Lifetime,
    /// Said first, before anything of the agent's, and not interrupted by the caller; empty: nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub announcement: String,
    /// What happens when the agent is lost.
    pub on_agent_lost: OnAgentLost,
}

impl Conversation {
    /// Whether it is the default, which stands on no tape.
    pub fn is_default(&self) -> bool {
        *self == Conversation::default()
    }
}

/// How what the caller says is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hearing {
    /// Its name in reports and metrics.
    pub name: Cow<'static, str>,
    /// How texts that will not change are joined.
    pub joins: Joins,
    /// Who decides that the caller has finished.
    pub turn_end: TurnEnd,
    /// Tell the agent when the caller has probably finished, so that an answer can be prepared. Where our own silence
    /// decides, that is after the detector's pause.
    pub eager: bool,
    /// Report what is known of an utterance before it is over.
    pub partials: bool,
    /// The caller's language when a call begins; `None`: the vendor's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// A link is replaced before it is so old; `None`: never.
    pub session: Option<Duration>,
    /// Longest wait for the last words after the end of the caller's speech.
    pub last_words: Duration,
    /// Without audio for so long, a link is told that it is still wanted.
    pub keep_alive: Duration,
}

/// How one text follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Joins {
    /// As they stand: white space belongs to them.
    Verbatim,
    /// With one space between them.
    Space,
}

/// Who decides that the caller has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnEnd {
    /// We: when the detector has heard silence for long enough.
    Silence,
    /// The vendor; our silence decides where it stays silent itself for [`Hearing::last_words`] more.
    Vendor,
}

/// What happens when nobody speaks, and how long a call may last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifetime {
    /// Silence on both sides after which the caller is asked; `None`: never.
    pub idle: Option<Duration>,
    /// What the caller is asked, one line each time. After the last one, another such silence ends the call.
    pub idle_lines: Vec<String>,
    /// How long a call may last; `None`: for ever.
    pub longest: Option<Duration>,
    /// What is said when a call ends because of either; empty: nothing.
    pub goodbye: String,
    /// What is said when a call ends because its node cannot keep it; empty: nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub leaving: String,
}

/// What happens when the link to an agent outside this process is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAgentLost {
    /// The fallback line is said, then the stream is closed.
    #[default]
    Apologise,
    /// The stream is closed at once: something else goes on with the call.
    Close,
}

/// One way of making speech.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voice {
    /// Its name in reports and metrics.
    pub name: Cow<'static, str>,
    /// How it writes samples.
    pub encoding: Encoding,
    /// Samples a second; `None` takes the carrier's own rate.
    pub rate: Option<u32>,
    /// Who waits for a sentence to be whole.
    pub buffering: Buffering,
    /// A context that has been without a chunk for so long takes no new text, because its vendor may have dropped it.
    pub context_idle: Option<Duration>,
    /// A context that is so old takes no new text, because its vendor ends it at a certain age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_age: Option<Duration>,
    /// Contexts that one link carries at once, at least 1; `None`: any number. A cancelled one counts until its vendor says
    /// that nothing more comes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contexts: Option<u32>,
    /// How a context is ended early.
    #[serde(default, skip_serializing_if = "Cancel::is_default")]
    pub cancel: Cancel,
    /// Whether the account's contexts are shared out among the calls of the node, so that each has to be asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_out: bool,
}

impl Voice {
    /// A voice of which nothing special is known.
    pub fn plain(name: impl Into<Cow<'static, str>>, encoding: Encoding, rate: Option<u32>) -> Self {
        Voice {
            name: name.into(),
            encoding,
            rate,
            buffering: Buffering::Gateway,
            context_idle: None,
            context_age: None,
            contexts: None,
            cancel: Cancel::Message,
            shared_out: false,
        }
    }
}

/// How a context is ended early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancel {
    /// Its vendor is told, and nothing is waited for: what still comes bears the context's name and is dropped.
    #[default]
    Message,
    /// Its vendor is told and says when nothing more comes. Until then the context takes one of the link's places; if that
    /// word does not come, the link is made anew.
    Awaited,
    /// Its vendor knows no such message: the link is made anew.
    Reconnect,
}

impl Cancel {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_default(&self) -> bool {
        *self == Cancel::Message
    }
}

/// Who gathers tokens into something that can be spoken. Both at once would add their delays, so it cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Buffering {
    /// The vendor: tokens go out verbatim as they come, and it waits at most `max_delay` for more.
    Vendor {
        /// Longest wait of the vendor for more text.
        max_delay: Duration,
    },
    /// We: whole sentences go out, and the vendor speaks at once.
    Gateway,
}

/// What happens when a turn cannot be spoken, after the fallback line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The call goes on; the next turn tries again.
    Continue,
    /// The stream is closed, so that the carrier goes on with what follows it.
    Close,
}

/// How outbound audio is paced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Playout {
    /// Audio kept ahead at the carrier: it hides our jitter, and it is what `clear` has to flush.
    pub lead: Duration,
    /// Audio that must be there before an utterance starts.
    pub prebuffer: Duration,
    /// Frames that go to the carrier together, at least 1: with 2, each write carries two and every second one is early.
    /// That is cheaper, and the carrier holds up to a frame more, which `clear` has to flush.
    pub frames_per_write: u32,
}

/// Which input of the caller may cut an utterance off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interruptible {
    /// Speech and digits.
    #[default]
    Any,
    /// Speech alone.
    Speech,
    /// Digits alone.
    Dtmf,
    /// Nothing.
    None,
}

/// What becomes of an agent's text on its way to a voice. What is reported as heard is the agent's own text all the same.
/// Text that holds none of these things is spoken as it was written, to the byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Text {
    /// Marks of Markdown are left out, and so are blocks of code.
    pub markdown: bool,
    /// Emoji are left out.
    pub emoji: bool,
    /// Of an address of a page its host is said, and of a mailbox its name and its host.
    pub urls: bool,
    /// Telephone numbers and codes are said digit by digit.
    pub digits: bool,
    /// Signs that voices misread are said as words or as a pause.
    pub symbols: bool,
    /// A turn that ends without a mark is given one, where we and not the vendor collect sentences.
    pub closing: bool,
    /// Speech is English unless its delivery says otherwise. Rules that need words have English ones, and rest elsewhere.
    pub english: bool,
}

impl Text {
    /// Everything is spoken as it was written.
    pub const VERBATIM: Text = Text {
        markdown: false,
        emoji: false,
        urls: false,
        digits: false,
        symbols: false,
        closing: false,
        english: true,
    };

    /// Whether it is the default, which stands on no tape.
    pub fn is_default(&self) -> bool {
        *self == Text::default()
    }

    /// Whether no text is changed before it is cut into pieces.
    pub(super) fn keeps_all(self) -> bool {
        Text { closing: false, english: true, ..self } == Text::VERBATIM
    }
}

/// Whether an ISO code, with or without a region, is that of English.
pub fn is_english(language: &str) -> bool {
    language.split(['-', '_']).next().is_some_and(|code| code.eq_ignore_ascii_case("en"))
}

impl Default for Text {
    fn default() -> Self {
        Text { markdown: true, emoji: true, urls: true, digits: true, symbols: true, closing: true, english: true }
    }
}

/// How long things may take before the core acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// From text that must be spoken to its first audio.
    pub first_audio: Duration,
    /// Between two chunks of a context that still owes speech.
    pub between_chunks: Duration,
    /// From the last expected audio of a finished context to its end, when only the vendor's `done` is missing.
    pub done: Duration,
    /// Silence that the caller may hear while speech is owed, before the fallback line.
    pub silence: Duration,
    /// An open turn without new text for so long is finished.
    pub open_turn: Duration,
    /// Speech made but unheard above which the agent's text is held back.
    pub unheard_high: Duration,
    /// Speech made but unheard below which the agent's text flows again.
    pub unheard_low: Duration,
    /// A link that lived for so long was a good one: its loss starts a new series of tries.
    pub link_proved: Duration,
    /// From the request for a piece of a clip to its audio: it may have to be fetched first.
    pub clip: Duration,
    /// Tries at one thing before it counts as failed.
    pub tries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            first_audio: Duration::from_millis(2_000),
            between_chunks: Duration::from_millis(2_000),
            done: Duration::from_millis(1_000),
            silence: Duration::from_millis(4_000),
            open_turn: Duration::from_secs(30),
            unheard_high: Duration::from_secs(20),
            unheard_low: Duration::from_secs(10),
            link_proved: Duration::from_secs(10),
            clip: Duration::from_secs(10),
            tries: 4,
        }
    }
}

impl Default for Playout {
    fn default() -> Self {
        Playout { lead: Duration::from_millis(120), prebuffer: Duration::from_millis(60), frames_per_write: 1 }
    }
}
