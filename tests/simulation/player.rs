//! A model of the player in this process: recordings that are as long as their names say.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use trunkline::audio::Encoding;
use trunkline::call::action::{Place, TtsCommand};
use trunkline::call::event::{Clip, TtsEvent};
use trunkline::ids::{CallTime, ContextId};

use crate::session::Body;
use crate::sound::{self, Coding, Sound};

/// From the request for a piece to its first audio, and between its chunks.
const FETCH: Duration = Duration::from_millis(100);
const CHUNK_MS: u32 = 200;
const BETWEEN: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) id: ContextId,
    pub(crate) number: u16,
    pub(crate) made_ms: u32,
    ended: bool,
}

/// The player.
#[derive(Debug)]
pub(crate) struct Player {
    sound: Sound,
    pub(crate) contexts: Vec<Context>,
    out: BTreeMap<(CallTime, u64), (ContextId, Body)>,
    count: u64,
}

impl Player {
    pub(crate) fn new(sound: Sound) -> Self {
        Player { sound, contexts: Vec::new(), out: BTreeMap::new(), count: 0 }
    }

    pub(crate) fn next_at(&self) -> Option<CallTime> {
        self.out.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn take(&mut self, now: CallTime) -> Option<Body> {
        self.next_at().filter(|at| *at <= now)?;
        self.out.pop_first().map(|(_, (_, body))| body)
    }

    pub(crate) fn drop_link(&mut self) {
        self.out.clear();
    }

    pub(crate) fn hear(&mut self, now: CallTime, command: &TtsCommand, numbers: &mut u16) {
        match command {
            TtsCommand::Play { on, clip: Clip::Recording(url), times, from, length } => {
                let whole = seconds_of(url) * 1_000 * times;
                let (from, length) = (from.as_millis() as u32, length.as_millis() as u32);
                let end = self.play(now, on, from.min(whole), (from + length).min(whole), numbers);
                if from + length >= whole {
                    self.find(on.context).ended = true;
                    self.later(end, on.context, TtsEvent::Done { context: on.context });
                }
            }
            TtsCommand::Cancel { context, .. } => {
                self.find(*context).ended = true;
                self.out.retain(|_, (whose, _)| whose != context);
            }
            other => panic!("not a thing to tell the player: {other:?}"),
        }
    }

    /// Makes a piece; when its last chunk has left.
    fn play(&mut self, now: CallTime, on: &Place, from: u32, to: u32, numbers: &mut u16) -> CallTime {
        assert_eq!(on.format.encoding, Encoding::PcmS16Le, "clips are decoded");
        if !self.contexts.iter().any(|context| context.id == on.context) {
            *numbers += 1;
            self.contexts.push(Context { id: on.context, number: *numbers, made_ms: 0, ended: false });
        }
        let (sound, coding) = (self.sound, Coding::Pcm { rate: on.format.rate });
        let context = self.find(on.context);
        assert!(!context.ended, "{} goes on after its end", on.context);
        assert_eq!(context.made_ms, from, "a piece of {} is missing, or asked for twice", on.context);
        context.made_ms = to;
        let number = context.number;
        let mut at = now + FETCH;
        for start in (from..to).step_by(CHUNK_MS as usize) {
            let audio = Bytes::from(sound::make(sound, coding, number, start, (start + CHUNK_MS).min(to)));
            self.later(at, on.context, TtsEvent::Audio { context: on.context, audio });
            at = at + BETWEEN;
        }
        at
    }

    fn later(&mut self, at: CallTime, context: ContextId, event: TtsEvent) {
        self.count += 1;
        self.out.insert((at, self.count), (context, Body::Voice(event)));
    }

    fn find(&mut self, id: ContextId) -> &mut Context {
        self.contexts.iter_mut().find(|context| context.id == id).expect("a clip that was played")
    }
}

/// `30` of `https://example.com/hold-30s.wav`.
fn seconds_of(url: &str) -> u32 {
    let name = url.rsplit_once('-').and_then(|(_, end)| end.split_once("s."));
    name.and_then(|(seconds, _)| seconds.parse().ok()).unwrap_or_else(|| panic!("{url} does not say how long it is"))
}
