//! A model of what a voice has spoken before: it answers a text that is whole, with all of its speech or with nothing.

use std::collections::BTreeMap;

use trunkline::call::action::TtsCommand;
use trunkline::call::event::{Fault, FaultKind, TtsEvent};
use trunkline::ids::{CallTime, ContextId};

use crate::local::Local;
use crate::session::Body;
use crate::sound::Sound;

/// What one voice has spoken before.
#[derive(Debug)]
pub(crate) struct Phrases {
    /// Speaks what is known.
    pub(crate) voice: Local,
    known: Vec<String>,
    texts: BTreeMap<ContextId, String>,
    refusals: BTreeMap<(CallTime, ContextId), Body>,
}

impl Phrases {
    pub(crate) fn new(sound: Sound, known: Vec<String>) -> Self {
        Phrases { voice: Local::new(sound), known, texts: BTreeMap::new(), refusals: BTreeMap::new() }
    }

    pub(crate) fn next_at(&self) -> Option<CallTime> {
        let refusal = self.refusals.first_key_value().map(|((at, _), _)| *at);
        self.voice.next_at().into_iter().chain(refusal).min()
    }

    pub(crate) fn take(&mut self, now: CallTime) -> Option<Body> {
        match self.refusals.first_entry() {
            Some(entry) if entry.key().0 <= now => Some(entry.remove()),
            _ => self.voice.take(now),
        }
    }

    pub(crate) fn drop_link(&mut self) {
        self.refusals.clear();
        self.voice.drop_link();
    }

    pub(crate) fn hear(&mut self, now: CallTime, command: &TtsCommand, numbers: &mut u16) {
        match command {
            TtsCommand::Speak { on, text } => self.texts.entry(on.context).or_default().push_str(text),
            TtsCommand::Finish { on } => {
                let text = self.texts.remove(&on.context).expect("text before its end");
                if self.known.iter().any(|known| known == text.trim()) {
                    self.voice.hear(now, &TtsCommand::Speak { on: on.clone(), text }, numbers);
                    self.voice.hear(now, command, numbers);
                } else {
                    let fault = Fault { kind: FaultKind::Retryable, reason: "not spoken before".to_owned() };
                    let answer = TtsEvent::Failed { context: Some(on.context), fault };
                    self.refusals.insert((now, on.context), Body::Voice(answer));
                }
            }
            TtsCommand::Cancel { context, .. } => {
                self.texts.remove(context);
                self.refusals.retain(|(_, whose), _| whose != context);
                if self.voice.contexts.iter().any(|spoken| spoken.id == *context) {
                    self.voice.hear(now, command, numbers);
                }
            }
            other => panic!("not a thing to tell what was spoken before: {other:?}"),
        }
    }
}
