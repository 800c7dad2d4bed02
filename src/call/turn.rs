//! One turn: its state from the first token on, and what the caller heard of it. Its text that waits for a context is in
//! `waiting.rs`.

mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::action::{Flow, Heard, Made};
use super::answer::Answer;
use super::contexts::{Author, Context, State};
use super::event::{Delivery, Fault, VoiceIndex};
use super::settings::{Interruptible, Limits, Voice};
use super::text::{self, Piece, Scribe};
use crate::ids::{CallTime, ContextId, TurnId};
use waiting::Run;
pub(super) use waiting::Step;

/// A place in the account that a turn asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permit {
    /// For which of its contexts.
    pub(super) context: ContextId,
    /// Of which voice's account.
    pub(super) voice: VoiceIndex,
    /// It was asked for while another turn was heard.
    pub(super) ahead: bool,
    /// It is there.
    pub(super) granted: bool,
}

/// Closes above the high water of unheard speech and opens again below the low one.
#[derive(Debug, Default)]
pub(super) struct Gate {
    is_closed: bool,
}

impl Gate {
    /// Takes the length of unheard speech; whether the gate moved.
    pub(super) fn update(&mut self, unheard: Duration, limits: &Limits) -> bool {
        let limit = if self.is_closed { limits.unheard_low } else { limits.unheard_high };
        std::mem::replace(&mut self.is_closed, unheard > limit) != self.is_closed
    }

    /// Whether text may pass.
    pub(super) fn flow(&self) -> Flow {
        if self.is_closed { Flow::Held } else { Flow::Open }
    }
}

/// One turn, from its first token until it was heard or cut off.
#[derive(Debug)]
pub(super) struct Turn {
    /// Its name.
    pub(super) id: TurnId,
    /// Its place among all turns of the call.
    pub(super) rank: u64,
    /// What may cut it off.
    pub(super) interruptible: Interruptible,
    /// Whether a later turn takes its place.
    pub(super) preemptible: bool,
    /// How it is spoken unless its text says otherwise.
    pub(super) base: Arc<Delivery>,
    /// How long the caller has been waiting for it, if it answers something.
    pub(super) answer: Option<Answer>,
    /// The voice that speaks it.
    pub(super) voice: VoiceIndex,
    /// Since when it is that one.
    pub(super) voice_since: CallTime,
    /// Its contexts, in the order in which they are heard.
    pub(super) contexts: Vec<Context>,
    /// Tries at the same text that failed in a row.
    pub(super) tries: u32,
    /// What waits has been given to a voice before, and is not left to wait for more text again.
    pub(super) retrying: bool,
    /// How much of the text that waits was given before, from the front on.
    again_bytes: usize,
    /// No new try before this.
    pub(super) retry_at: Option<CallTime>,
    /// Why it could not be spoken; the fallback line takes its place.
    pub(super) failed: Option<Fault>,
    /// How much of it there was then.
    whole: Option<Made>,
    /// A frame of it has been sent.
    pub(super) begun: bool,
    /// A series of tries at its voice's link was begun for it.
    pub(super) dialled: bool,
    /// Holds its text back from its voice.
    pub(super) text_gate: Gate,
    /// Holds its agent back.
    pub(super) agent_gate: Gate,
    /// Whether it has asked for a place for its next context.
    pub(super) permit: Option<Permit>,
    /// Text of it waits for a place.
    pub(super) lacks_place: bool,
    /// The voice of which a phrase turned out to be missing: no other one is asked for.
    pub(super) unphrased: Option<VoiceIndex>,
    runs: VecDeque<Run>,
    /// Reads the agent's text. What it holds belongs behind the last run.
    scribe: Scribe,
    /// Text without a sound that came before the first context.
    passed: Piece,
    /// No more text will come.
    closed: bool,
    /// When text came last, or could come again.
    last_text: CallTime,
    serial: u32,
    heard_reported: usize,
}

impl Turn {
    /// A turn without text.
    pub(super) fn new(id: TurnId, rank: u64, interruptible: Interruptible, scribe: Scribe, now: CallTime) -> Self {
        Turn {
            id,
            rank,
            interruptible,
            preemptible: false,
            base: Arc::default(),
            answer: None,
            voice: 0,
            voice_since: now,
            contexts: Vec::new(),
            tries: 0,
            retrying: false,
            again_bytes: 0,
            retry_at: None,
            failed: None,
            whole: None,
            begun: false,
            dialled: false,
            text_gate: Gate::default(),
            agent_gate: Gate::default(),
            permit: None,
            lacks_place: false,
            unphrased: None,
            runs: VecDeque::new(),
            scribe,
            passed: Piece::default(),
            closed: false,
            last_text: now,
            serial: 0,
            heard_reported: 0,
        }
    }

    /// It cannot be spoken: replaces all that waits by our own line, spoken by `voice`. Whether that is news.
    pub(super) fn fail(&mut self, line: &str, voice: VoiceIndex, fault: Fault) -> bool {
        if self.failed.is_none() {
            self.whole = Some(self.made());
        }
        self.runs.clear();
        self.passed = Piece::default();
        if self.failed.is_none() && text::is_speakable(line) {
            self.runs.push_back(Run::new(Piece::plain(line), Arc::default()));
        }
        self.voice = voice;
        self.closed = true;
        self.retry_at = None;
        self.tries = 0;
        self.dialled = false;
        self.failed.replace(fault).is_none()
    }

    /// No more text will come.
    pub(super) fn close(&mut self) {
        self.settle();
        self.closed = true;
    }

    /// Whether it is played, not spoken.
    pub(super) fn is_clip(&self) -> bool {
        self.contexts.first().is_some_and(|context| context.recorded.is_some())
    }

    /// Whether more text may come.
    pub(super) fn is_open(&self) -> bool {
        !self.closed
    }

    /// When it ends for want of text. A turn that is told to wait is not short of any.
    pub(super) fn starves_at(&self, limits: &Limits) -> Option<CallTime> {
        (self.is_open() && self.agent_gate.flow() == Flow::Open).then(|| self.last_text + limits.open_turn)
    }

    /// Tells the agent to wait or to go on, if that is news. `queued` is the length of its audio that waits to be sent.
    pub(super) fn regulate(&mut self, now: CallTime, queued: Duration, limits: &Limits) -> Option<Flow> {
        let unheard = queued + self.unmade() + self.waiting();
        if !self.agent_gate.update(unheard, limits) {
            return None;
        }
        self.last_text = now;
        Some(self.agent_gate.flow())
    }

    /// How much speech the contexts still owe, roughly.
    pub(super) fn unmade(&self) -> Duration {
        Duration::from_micros(self.contexts.iter().map(Context::unmade_us).sum())
    }

    /// Whose words are being spoken now.
    pub(super) fn author(&self) -> Author {
        if self.failed.is_some() { Author::Gateway } else { Author::Agent }
    }

    /// Keeps text that is not worth a sound in its place, so that what was heard stays a prefix of what was written.
    pub(super) fn pass(&mut self, piece: &Piece) {
        match self.open_context() {
            Some(context) => context.pass_text(piece),
            None => self.passed.append(piece),
        }
    }

    /// Adds a context that was just opened.
    pub(super) fn add_context(&mut self, mut context: Context) {
        context.pass_text(&std::mem::take(&mut self.passed));
        self.contexts.push(context);
    }

    /// The next name for a context: the one that a place was asked for, if one was.
    pub(super) fn next_context(&mut self) -> ContextId {
        self.lacks_place = false;
        if let Some(permit) = self.permit.take() {
            return permit.context;
        }
        self.serial += 1;
        ContextId { turn: self.id, serial: self.serial }
    }

    /// Whether the open context can take the text that comes next.
    pub(super) fn fits(&self, now: CallTime, voice: &Voice) -> bool {
        let context = self.contexts.last().filter(|context| context.state == State::Open);
        context.zip(self.runs.front()).is_some_and(|(context, run)| {
            context.voice == self.voice
                && context.delivery == run.delivery
                && !context.is_idle(now, voice.context_idle)
                && !context.is_old(now, voice.context_age)
        })
    }

    /// The context that takes text.
    pub(super) fn open_context(&mut self) -> Option<&mut Context> {
        self.contexts.last_mut().filter(|context| context.state == State::Open)
    }

    /// A context by name.
    pub(super) fn context_mut(&mut self, id: ContextId) -> Option<&mut Context> {
        self.contexts.iter_mut().find(|context| context.id == id)
    }

    /// Whether its voice is waiting for more text before it speaks what it has.
    pub(super) fn is_held_by_voice(&self, now: CallTime) -> bool {
        let context = self.contexts.last().filter(|context| context.state == State::Open);
        context.and_then(Context::owed_since).is_some_and(|since| since > now)
    }

    /// Whether all its audio is there.
    pub(super) fn is_made(&self) -> bool {
        self.is_said() && self.contexts.iter().all(|context| context.state == State::Done)
    }

    /// Ledger position at which its audio ends so far.
    pub(super) fn end(&self) -> Option<u64> {
        self.contexts.iter().filter_map(Context::end).max()
    }

    /// What the caller heard of the agent's own text, when everything before the ledger's `position` was heard.
    pub(super) fn heard(&self, position: u64, is_estimate: bool) -> Heard {
        let mut heard = Heard { text: String::with_capacity(self.heard_len(position)), ..Heard::default() };
        for context in self.heard_contexts(position) {
            let part = context.heard(position);
            heard.text.push_str(part.text);
            heard.played += part.played;
            heard.estimated |= part.estimated || (is_estimate && context.was_sent());
        }
        heard
    }

    /// How much of it there is, our own words in its place left out.
    pub(super) fn made(&self) -> Made {
        let own = self.contexts.iter().filter(|context| context.author == Author::Agent);
        let given: usize = own.clone().map(|context| context.transcript().text().written().chars().count()).sum();
        let waiting: usize = self.runs.iter().map(|run| run.text.written().chars().count()).sum();
        let has_voice = !self.contexts.is_empty() && !self.is_clip();
        let now = Made {
            chars: given + waiting + self.passed.written().chars().count(),
            audio: own.map(Context::made).sum(),
            voice: has_voice.then_some(self.voice),
        };
        // What was there when it failed: since then, our own line stands in the place of what could not be said.
        let whole = self.whole.unwrap_or(now);
        Made { chars: whole.chars, voice: whole.voice.or(now.voice), ..now }
    }

    /// Whether anything of it was heard when everything before the ledger's `position` was.
    pub(super) fn is_heard_of(&self, position: u64) -> bool {
        self.contexts.iter().any(|context| !context.heard(position).played.is_zero())
    }

    /// What was heard, if it is more than was last reported.
    pub(super) fn heard_more(&mut self, position: u64, is_estimate: bool) -> Option<Heard> {
        // Most marks bring no new word: then nothing is put together.
        let length = self.heard_len(position);
        if length <= self.heard_reported {
            return None;
        }
        self.heard_reported = length;
        Some(self.heard(position, is_estimate))
    }

    /// Length of the text that was heard, in bytes.
    fn heard_len(&self, position: u64) -> usize {
        self.heard_contexts(position).map(|context| context.heard(position).text.len()).sum()
    }

    /// The agent's contexts up to the first that was not heard to its end.
    fn heard_contexts(&self, position: u64) -> impl Iterator<Item = &Context> {
        let mut goes_on = true;
        let own = self.contexts.iter().filter(|context| context.author == Author::Agent);
        own.take_while(move |context| std::mem::replace(&mut goes_on, context.is_heard(position)))
    }

    /// How the newest text is spoken.
    fn delivery(&self) -> Arc<Delivery> {
        let newest = self.runs.back().map(|run| &run.delivery);
        newest.or_else(|| self.contexts.last().map(|context| &context.delivery)).unwrap_or(&self.base).clone()
    }
}
