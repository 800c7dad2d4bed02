//! Where phrases are spoken before they are needed: one at a time, over a link as any call has one, and no faster than the
//! voice likes.

use std::collections::VecDeque;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Key, Part, Phrases, Speech};
use crate::audio::SourceFormat;
use crate::call::action::{Place, TtsCommand};
use crate::call::event::{Event, Fault, FaultKind, TtsEvent, VoiceIndex};
use crate::call::phrases::Phrase;
use crate::dialect::twilio::Twilio;
use crate::dialect::{Input, Peers, Port};
use crate::driver::clock::Clock;
use crate::driver::tts::{Links, VoiceLink};
use crate::ids::{ContextId, TurnId};

/// Wait after a first failure; each further one is twice as long, with jitter, up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_secs(1);
/// A voice that comes back is noticed so late at the most.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a voice may be silent while it owes something. Nobody is listening, so that it may take its time.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a phrase waits for a place in the account: calls go first.
const PLACE_MAX: Duration = Duration::from_secs(60);
/// Longest speech of a phrase: three times what the longest text takes.
const SPEECH_MAX: Duration = Duration::from_secs(200);
/// A word may end so long after the last sample.
const WORD_SLACK_US: u64 = 100_000;
/// Messages of a voice that may wait here.
const INPUTS_MAX: usize = 64;
/// How long the goodbye to a voice may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Speaks what is wanted of `phrases` until `stop`, and waits for more. `links` gives the links of a call to its voices,
/// anew for each time that one of them is dialled; `seed` is the start of the jitter between tries.
///
/// Dropping the future ends its link without a close frame.
pub async fn fill(
    phrases: Phrases,
    seed: u64,
    mut links: impl FnMut() -> Vec<VoiceLink> + Send,
    stop: CancellationToken,
) {
    let (mut waits, mut turns) = (waits(seed), 0);
    while let Some(key) = stop.run_until_cancelled(phrases.next_wanted()).await {
        let Some(voice) = phrases.voice_of(key) else { return };
        let Some(link) = links().into_iter().nth(voice) else { return };
        let mut studio = Studio::open(link, turns);
        let spoken = stop.run_until_cancelled(Box::pin(studio.speak_all(&phrases, voice))).await;
        turns = studio.turns;
        studio.close(&phrases).await;
        match spoken {
            None => return,
            Some(Ok(())) => waits = self::waits(seed),
            Some(Err(fault)) => {
                tracing::info!(voice, reason = fault.reason, kind = ?fault.kind, "phrases wait for their voice");
                let wait = waits.next().unwrap_or(WAIT_MAX);
                if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                    return;
                }
            }
        }
    }
}

fn waits(seed: u64) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(WAIT_MIN)
        .with_max_delay(WAIT_MAX)
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(seed)
        .build()
}

impl Phrases {
    fn voice_of(&self, (number, _): Key) -> Option<VoiceIndex> {
        self.0.phrases.get(number).map(|phrase| phrase.voice)
    }
}

/// Why a phrase was not spoken.
enum Refusal {
    /// Its voice will not have it.
    Text,
    /// For now.
    Voice(Fault),
}

/// One link to one voice, and no call.
struct Studio {
    links: Links,
    peers: Peers,
    inbox: mpsc::Receiver<Input>,
    /// Answers that came at once.
    own: VecDeque<Input>,
    tasks: JoinSet<()>,
    clock: Clock,
    /// Each phrase is a turn of its own. No number is used twice, since a context's name never is.
    turns: u32,
}

impl Studio {
    fn open(link: VoiceLink, turns: u32) -> Self {
        let (to, inbox) = mpsc::channel(INPUTS_MAX);
        let (links, dialects) = Links::to_voices(vec![link], 1, to);
        // No carrier is there; what stands in its place is never asked.
        let peers = Peers::new(Box::<Twilio>::default(), dialects);
        let (own, tasks, clock) = (VecDeque::new(), JoinSet::new(), Clock::start());
        Studio { links, peers, inbox, own, tasks, clock, turns }
    }

    /// Speaks what is wanted of a voice, until what is wanted next is of another one, or nothing.
    async fn speak_all(&mut self, phrases: &Phrases, voice: VoiceIndex) -> Result<(), Fault> {
        self.dial().await?;
        while let Some(key) = phrases.first_wanted().filter(|key| phrases.voice_of(*key) == Some(voice)) {
            let (Some(phrase), Some(own)) = (phrases.0.phrases.get(key.0), phrases.0.voices.get(voice)) else { break };
            let place = self.place(phrase, SourceFormat { encoding: own.encoding, rate: key.1 });
            let context = place.context;
            if own.shared_out
                && let Err(fault) = self.reserve(context).await
            {
                self.tell(TtsCommand::Cancel { voice: 0, context });
                return Err(fault);
            }
            match self.speak(phrase, place).await {
                Ok(speech) => phrases.keep(key, speech),
                Err(Refusal::Text) => phrases.give_up(key),
                Err(Refusal::Voice(fault)) => {
                    self.tell(TtsCommand::Cancel { voice: 0, context });
                    phrases.put_off(key);
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    async fn dial(&mut self) -> Result<(), Fault> {
        self.tell(TtsCommand::Dial { voice: 0 });
        self.until(SILENCE_MAX, |event| matches!(event, TtsEvent::Up { .. })).await
    }

    fn place(&mut self, phrase: &Phrase, format: SourceFormat) -> Place {
        self.turns += 1;
        let context = ContextId { turn: TurnId(self.turns), serial: 1 };
        Place { voice: 0, context, format, delivery: phrase.delivery.clone().into() }
    }

    /// Asks for one of the account's contexts, behind every call that needs one.
    async fn reserve(&mut self, context: ContextId) -> Result<(), Fault> {
        self.tell(TtsCommand::Reserve { voice: 0, context, within: PLACE_MAX, ahead: true });
        self.until(PLACE_MAX, |event| matches!(event, TtsEvent::Granted { context: of } if *of == context)).await
    }

    /// Waits for an answer, in which the voice is never silent for longer than `silence_max`.
    async fn until(&mut self, silence_max: Duration, is_it: impl Fn(&TtsEvent) -> bool) -> Result<(), Fault> {
        loop {
            match self.next(silence_max).await? {
                event if is_it(&event) => return Ok(()),
                TtsEvent::Down { fault, .. } | TtsEvent::Failed { fault, .. } => return Err(fault),
                TtsEvent::Up { .. }
                | TtsEvent::Audio { .. }
                | TtsEvent::Words { .. }
                | TtsEvent::TimedAudio { .. }
                | TtsEvent::Spoken { .. }
                | TtsEvent::Granted { .. }
                | TtsEvent::Done { .. }
                | TtsEvent::Ignored
                | TtsEvent::Garbage => {}
            }
        }
    }

    /// Has a phrase spoken, and collects all that is said of it.
    async fn speak(&mut self, phrase: &Phrase, on: Place) -> Result<Speech, Refusal> {
        for sentence in phrase.sentences() {
            self.tell(TtsCommand::Speak { on: on.clone(), text: sentence.to_owned() });
        }
        self.tell(TtsCommand::Finish { on: on.clone() });
        let mut take = Take::new(on.format);
        loop {
            match self.next(SILENCE_MAX).await.map_err(Refusal::Voice)? {
                TtsEvent::Audio { context, audio } if context == on.context => take.hear(&audio)?,
                TtsEvent::Words { context, words } if context == on.context => take.parts.push(Part::Words(words)),
                TtsEvent::TimedAudio { context, audio, words } if context == on.context => {
                    take.parts.push(Part::Words(words));
                    take.hear(&audio)?;
                }
                TtsEvent::Spoken { context, texts } if context == on.context => take.parts.push(Part::Spoken(texts)),
                TtsEvent::Done { context } if context == on.context => return take.finish(),
                TtsEvent::Failed { context, fault } if context.is_none_or(|context| context == on.context) => {
                    let is_refused = context.is_some() && fault.kind == FaultKind::Fatal && take.parts.is_empty();
                    return Err(if is_refused { Refusal::Text } else { Refusal::Voice(fault) });
                }
                TtsEvent::Down { fault, .. } => return Err(Refusal::Voice(fault)),
                // Of a context before, or of no consequence.
                TtsEvent::Up { .. }
                | TtsEvent::Audio { .. }
                | TtsEvent::Words { .. }
                | TtsEvent::TimedAudio { .. }
                | TtsEvent::Spoken { .. }
                | TtsEvent::Granted { .. }
                | TtsEvent::Done { .. }
                | TtsEvent::Failed { .. }
                | TtsEvent::Ignored
                | TtsEvent::Garbage => {}
            }
        }
    }

    fn tell(&mut self, command: TtsCommand) {
        let now = self.clock.now();
        self.own.extend(self.links.tell(now, command, &mut self.peers, &mut self.tasks));
    }

    /// What the voice says next. Silence for so long is a fault.
    async fn next(&mut self, silence_max: Duration) -> Result<TtsEvent, Fault> {
        let silent = || Fault { kind: FaultKind::Retryable, reason: "the voice fell silent".to_owned() };
        loop {
            let input = match self.own.pop_front() {
                Some(input) => input,
                None => timeout(silence_max, self.inbox.recv()).await.ok().flatten().ok_or_else(silent)?,
            };
            let is_live = matches!(input.port, Port::Voice { voice, link } if self.links.is_live(voice, link));
            if let Some(Event::Tts(event)) = is_live.then(|| self.peers.decode(&input)) {
                self.links.note(0, &event);
                return Ok(event);
            }
        }
    }

    /// Says goodbye. When this returns, every task of the link has ended.
    async fn close(self, phrases: &Phrases) {
        let Studio { links, inbox, mut tasks, .. } = self;
        drop((links, inbox));
        let goodbyes = async {
            while let Some(ended) = tasks.join_next().await {
                if ended.is_err_and(|error| error.is_panic()) {
                    phrases.0.meter.panicked();
                }
            }
        };
        let _ = timeout(CLOSE_LIMIT, goodbyes).await;
        tasks.shutdown().await;
    }
}

/// What has come of a phrase.
struct Take {
    parts: Vec<Part>,
    format: SourceFormat,
    bytes: u64,
}

impl Take {
    fn new(format: SourceFormat) -> Self {
        Take { parts: Vec::new(), format, bytes: 0 }
    }

    fn hear(&mut self, audio: &[u8]) -> Result<(), Refusal> {
        self.bytes += audio.len() as u64;
        if Duration::from_micros(self.format.micros_of(self.bytes)) > SPEECH_MAX {
            return Err(Refusal::Text);
        }
        // It may be a small part of a large message.
        self.parts.push(Part::Audio(Bytes::copy_from_slice(audio)));
        Ok(())
    }

    /// All of it, if that is what it can be: a call would take less for a voice that broke off.
    fn finish(self) -> Result<Speech, Refusal> {
        let words = self.parts.iter().filter_map(|part| match part {
            Part::Words(words) => words.last(),
            Part::Audio(_) | Part::Spoken(_) => None,
        });
        let told_us = words.map(|word| word.end_us).max().unwrap_or(0);
        if self.bytes == 0 || told_us > self.format.micros_of(self.bytes) + WORD_SLACK_US {
            let reason = "the voice ended a context too early".to_owned();
            return Err(Refusal::Voice(Fault { kind: FaultKind::Retryable, reason }));
        }
        Ok(self.parts.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::timeout;

    use super::*;
    use crate::audio::Encoding;
    use crate::call::event::{Delivery, TimedWord};
    use crate::call::settings::Voice;
    use crate::voice::{self, Pool};

    const FORMAT: SourceFormat = SourceFormat { encoding: Encoding::Mulaw, rate: 8_000 };
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_take_that_ends_before_its_words_is_none() {
        let word = |end_us| Part::Words(vec![TimedWord { text: "Hi".to_owned(), start_us: 0, end_us }]);
        let mut take = Take::new(FORMAT);
        assert!(Take::new(FORMAT).finish().is_err());
        take.parts.push(word(200_000));
        assert!(take.hear(&[0; 800]).is_ok());
        assert_eq!(take.finish().ok().map(|parts| parts.len()), Some(2));
        let mut take = Take::new(FORMAT);
        take.parts.push(word(201_000));
        assert!(take.hear(&[0; 800]).is_ok());
        assert!(take.finish().is_err());
        let mut take = Take::new(FORMAT);
        assert!(matches!(take.hear(&[0; 1_600_001]), Err(Refusal::Text)));
    }

    #[tokio::test]
    async fn phrases_of_the_local_voice_are_made_in_order_and_nothing_is_left_running() {
        let phrase = |text: &str| Phrase { voice: 1, text: text.to_owned(), delivery: Delivery::default() };
        let local = Voice::plain("local", Encoding::PcmS16Le, Some(voice::RATE));
        let voices = vec![Voice::plain("other", Encoding::Mulaw, None), local];
        let store = Phrases::new(vec![phrase("Hello. How are you?"), phrase("Bye.")], voices, 1 << 20, Arc::default());
        let pool = Pool::new(voice::Settings::default());
        let (stop, filled) = (CancellationToken::new(), store.clone());
        let links = move || vec![VoiceLink::Local(pool.clone()), VoiceLink::Local(pool.clone())];
        let mut tasks = JoinSet::new();
        tasks.spawn(fill(filled, 1, links, stop.clone()));
        let made = async {
            while store.first_wanted().is_some() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, made).await.unwrap();
        let speech = store.state().kept.get(&(0, voice::RATE)).cloned().unwrap();
        let words: Vec<&str> = speech
            .iter()
            .filter_map(|part| if let Part::Words(words) = part { Some(words) } else { None })
            .flat_map(|words| words.iter().map(|word| word.text.as_str()))
            .collect();
        assert_eq!(words.len(), 4, "{words:?}");
        assert!(speech.iter().any(|part| matches!(part, Part::Audio(audio) if audio.len() > 100)));
        assert_eq!(store.state().kept.len(), 2);
        stop.cancel();
        timeout(PATIENCE, tasks.join_next()).await.unwrap().unwrap().unwrap();
    }
}
