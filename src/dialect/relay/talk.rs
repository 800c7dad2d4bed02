//! From the app to the call: talk cycles become turns.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::settings::{Settings, primary};
use crate::call::event::{AgentEvent, Clip, Delivery, Play, Say};
use crate::call::settings::Interruptible;
use crate::ids::TurnId;
use crate::wire::relay::{FromApp, LOOPS_MAX};

/// What the app has said so far.
pub(super) struct Talk {
    /// Turns that were numbered.
    turns: u32,
    /// The talk cycle that has not had its last token.
    cycle: Option<Cycle>,
    /// Recordings that are waited for or played.
    plays: BTreeSet<TurnId>,
    /// Language of speech, as the app named it last.
    speech: Option<String>,
    /// Language of the caller, as the app named it last.
    pub(super) hearing: Option<String>,
}

/// A talk cycle: the tokens up to the one that says it is the last.
struct Cycle {
    turn: TurnId,
    /// How it is spoken where a token does not say otherwise.
    base: Arc<Delivery>,
    /// The latest token had a language of its own.
    is_switched: bool,
    /// The caller, or a later cycle, cut it off. What comes of it until its last token is not spoken.
    is_cut: bool,
}

impl Talk {
    pub(super) fn new(settings: &Settings) -> Self {
        Talk {
            turns: 0,
            cycle: None,
            plays: BTreeSet::new(),
            speech: settings.speech_language.clone(),
            hearing: settings.hearing_language.clone(),
        }
    }

    /// What is said before the app has said anything.
    pub(super) fn greeting(&mut self, settings: &Settings) -> Option<Say> {
        if settings.greeting.is_empty() {
            return None;
        }
        Some(Say {
            turn: self.next_turn(),
            text: settings.greeting.clone(),
            last: true,
            flush: false,
            interruptible: Some(settings.greeting_interruptible),
            delivery: Some(settings.delivery(self.speech.as_deref())),
            preemptible: Some(false),
        })
    }

    /// What a message wants; `None` if it has the right shape and makes no sense.
    pub(super) fn take(&mut self, settings: &Settings, message: FromApp) -> Option<AgentEvent> {
        match message {
            FromApp::Text { token, last, lang, interruptible, preemptible } => {
                let last = last.unwrap_or(false);
                // A second terminator, or a model's empty first token, begins nothing.
                if token.is_empty() && self.cycle.is_none() {
                    return Some(AgentEvent::Ignored);
                }
                let say = self.say(settings, token, last, lang.as_deref());
                let preemptible = preemptible.or(say.preemptible);
                let interruptible = interruptible.map(|may| interruptible_by(settings, may));
                Some(AgentEvent::Say(Say { interruptible, preemptible, ..say }))
            }
            FromApp::Play { source, times, preemptible, interruptible } => {
                let times = match times {
                    None => 1,
                    Some(0) => LOOPS_MAX,
                    Some(times) => times.min(LOOPS_MAX),
                };
                let turn = is_web_url(&source).then(|| self.next_turn())?;
                self.plays.insert(turn);
                Some(AgentEvent::Play(Play {
                    turn,
                    clip: Clip::Recording(source),
                    times,
                    interruptible: interruptible.map(|may| interruptible_by(settings, may)),
                    preemptible: preemptible.unwrap_or(settings.preemptible),
                }))
            }
            FromApp::SendDigits { digits } => {
                let is_key = |c: char| c.is_ascii_digit() || matches!(c, 'w' | '#' | '*');
                let is_sound = !digits.is_empty() && digits.chars().all(is_key);
                // Whoever answers with keys is mostly a machine, and machines talk on while they listen.
                is_sound.then(|| {
                    AgentEvent::Play(Play {
                        turn: self.next_turn(),
                        clip: Clip::Tones(digits),
                        times: 1,
                        interruptible: Some(Interruptible::None),
                        preemptible: false,
                    })
                })
            }
            FromApp::Language { tts_language: None, transcription_language: None } => None,
            FromApp::Language { tts_language, transcription_language } => {
                let speech = tts_language.as_deref().and_then(primary);
                self.speech = tts_language.or(self.speech.take());
                self.hearing = transcription_language.clone().or(self.hearing.take());
                Some(AgentEvent::Language { speech, hearing: transcription_language })
            }
            FromApp::End { handoff_data } => Some(AgentEvent::End { handoff: handoff_data }),
        }
    }

    fn say(&mut self, settings: &Settings, text: String, last: bool, lang: Option<&str>) -> Say {
        let is_first = self.cycle.is_none();
        let (turn, base) = match &self.cycle {
            Some(cycle) => (cycle.turn, cycle.base.clone()),
            None => (self.next_turn(), settings.delivery(self.speech.as_deref())),
        };
        let was_switched = self.cycle.as_ref().is_some_and(|cycle| cycle.is_switched);
        let is_cut = self.cycle.as_ref().is_some_and(|cycle| cycle.is_cut);
        let delivery = match lang {
            Some(code) => Some(settings.delivery(Some(code))),
            // A language holds for its token alone.
            None => (is_first || was_switched).then(|| base.clone()),
        };
        self.cycle = (!last).then_some(Cycle { turn, base, is_switched: lang.is_some(), is_cut });
        let preemptible = is_first.then_some(settings.preemptible);
        Say { turn, text, last, flush: false, interruptible: None, delivery, preemptible }
    }

    /// Counts from 1. Turns that other hands open have numbers far above.
    fn next_turn(&mut self) -> TurnId {
        self.turns += 1;
        TurnId(self.turns)
    }

    /// Whether a turn's words are the app's, or its greeting's.
    pub(super) fn owns(&self, turn: TurnId) -> bool {
        turn.0 <= self.turns
    }

    /// Whether a turn plays a recording.
    pub(super) fn is_play(&self, turn: TurnId) -> bool {
        self.plays.contains(&turn)
    }

    /// A turn was cut off.
    pub(super) fn on_cut(&mut self, turn: TurnId) {
        self.plays.remove(&turn);
        if let Some(cycle) = self.cycle.as_mut().filter(|cycle| cycle.turn == turn) {
            cycle.is_cut = true;
        }
    }

    /// A turn was heard to its end. One that had not had its last token was left waiting for too long: what comes next is
    /// a new one.
    pub(super) fn on_over(&mut self, turn: TurnId) {
        self.plays.remove(&turn);
        self.cycle.take_if(|cycle| cycle.turn == turn);
    }

    /// The app was told something that it will answer: what it says next is that answer, and no rest of what was cut off.
    pub(super) fn on_input(&mut self) {
        self.cycle.take_if(|cycle| cycle.is_cut);
    }
}

/// What a message's flag means: `true` takes the noun's word, unless that is "nothing".
fn interruptible_by(settings: &Settings, may: bool) -> Interruptible {
    match (may, settings.interruptible) {
        (false, _) => Interruptible::None,
        (true, Interruptible::None) => Interruptible::Any,
        (true, noun @ (Interruptible::Any | Interruptible::Speech | Interruptible::Dtmf)) => noun,
    }
}

fn is_web_url(text: &str) -> bool {
    let after = |scheme: &str| text.get(..scheme.len()).filter(|head| head.eq_ignore_ascii_case(scheme)).map(str::len);
    let scheme = after("https://").or_else(|| after("http://"));
    scheme.is_some_and(|length| text.len() > length && !text.contains(|c: char| c.is_whitespace() || c.is_control()))
}
