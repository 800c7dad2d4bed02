//! One context: text in, audio out at its pace, faults on the way. What it says is worded by its vendor.

mod sending;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::buffer::{self, TextBuffer};
use super::connection::{Outgoing, failed, outgoing};
use super::fault::FaultKind;
use super::journal::End;
use super::order::{Buffering, Input, Lifetime, Order, Part, Stop};
use super::playing::{Manner, Playing, span};
use super::speaker::{Speaker, Speech};
use super::wording::{Event, Failure, Wording};
use super::{Place, Shared, Voice};

/// Unspoken text that a context may hold, in characters.
const UNSPOKEN_CHARS_MAX: usize = 50_000;

/// What a context needs from its connection.
pub(super) struct Seat {
    /// Its number in the journal.
    pub(super) number: u32,
    pub(super) shared: Arc<Shared>,
    pub(super) outbox: mpsc::Sender<Vec<Outgoing>>,
    pub(super) place: Arc<Place>,
    /// Ends when the context before it is over, if it must wait for that.
    pub(super) before: Option<oneshot::Receiver<()>>,
    /// Dropped with the context, for the one behind it.
    pub(super) _after: oneshot::Sender<()>,
}

/// What is to be done, in order.
enum Work {
    Speak { text: String, submitted: Instant },
    Silence { ms: u32, submitted: Instant },
    Flush,
    Done,
}

/// What the generator is at.
enum Stage {
    Idle,
    Speaking {
        speech: Pin<Box<dyn Future<Output = Option<Speech>> + Send>>,
        submitted: Instant,
    },
    Playing(Playing),
    /// A fault: nothing more, ever.
    Stalled,
}

/// One context and everything it still has to say.
pub(super) struct Context<W> {
    seat: Seat,
    order: Order,
    wording: W,
    speaker: Speaker,
    buffer: TextBuffer,
    /// When the buffered text is spoken, complete or not.
    buffer_due: Option<Instant>,
    work: VecDeque<Work>,
    stage: Stage,
    /// The input has ended.
    finishing: bool,
    flush_id: u32,
    chunks: u32,
    /// Samples of the texts before the one in `stage`.
    samples_before: u64,
    /// When the generator has made what was given to it.
    free_at: Instant,
    begun: Instant,
    last_input: Instant,
    last_audio: Option<Instant>,
    /// The bytes of the last chunk, for the fault that repeats them.
    last_bytes: Vec<u8>,
    manner: Manner,
}

impl<W: Wording> Context<W> {
    /// Begins a context, with the faults that are decided at its start.
    pub(super) fn new(seat: Seat, order: Order, lifetime: Lifetime, wording: W) -> Self {
        let speaker = match seat.shared.settings.voice {
            Voice::Local => Speaker::Local(seat.shared.pool.clone()),
            Voice::Tone => Speaker::Tone(seat.number),
        };
        let manner = Manner::decide(&seat.shared, order.timestamps, lifetime);
        let now = Instant::now();
        Self {
            order,
            wording,
            speaker,
            buffer: TextBuffer::default(),
            buffer_due: None,
            work: VecDeque::new(),
            stage: Stage::Idle,
            finishing: false,
            flush_id: 1,
            chunks: 0,
            samples_before: 0,
            free_at: now,
            begun: now,
            last_input: now,
            last_audio: None,
            last_bytes: Vec::new(),
            manner,
            seat,
        }
    }

    /// Speaks until the text ends, the client cancels, or the context expires.
    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>, mut stop: oneshot::Receiver<Stop>) -> End {
        let end = loop {
            let expires = self.expires_at();
            tokio::select! {
                biased;
                stopped = &mut stop => return self.stopped(stopped.ok()).await,
                input = inputs.recv(), if !self.finishing => match input {
                    Some(input) => if let Err(failure) = self.accept(input) {
                        self.seat.place.release();
                        self.say(Event::Failed(failure)).await;
                        break End::Failed;
                    },
                    None => break End::Lost,
                },
                () = until(self.buffer_due) => self.speak_buffer(),
                ended = self.step() => if let Some(end) = ended {
                    break end;
                },
                () = until(expires) => {
                    self.seat.place.release();
                    self.say(Event::Expired).await;
                    break End::Expired;
                }
            }
        };
        self.seat.place.release();
        self.journal_end(end);
        // Text that was under way when the context ended is answered like text that comes later.
        inputs.close();
        if inputs.try_recv().is_ok() && end == End::Expired {
            self.say(Event::TooLate).await;
        }
        end
    }

    fn journal_end(&self, end: End) {
        self.seat.shared.journal.ended(self.seat.number, end);
    }

    /// Takes one input; how much of the buffer it sets free depends on the buffering that was asked for.
    fn accept(&mut self, input: Input) -> Result<(), Failure> {
        let now = Instant::now();
        self.last_input = now;
        let shared = Arc::clone(&self.seat.shared);
        if let Some(transcript) = &input.shown {
            shared.journal.shown(self.seat.number, transcript);
        }
        let (mut flushed, mut texts) = (false, 0);
        for part in input.parts {
            match part {
                Part::Text(text) => {
                    shared.journal.text(self.seat.number, &text);
                    self.buffer.push(&text);
                    texts += 1;
                }
                Part::Flush => {
                    shared.journal.flushed(self.seat.number);
                    let ready = self.buffer.take_all();
                    self.queue(ready, now);
                    self.work.push_back(Work::Flush);
                    flushed = true;
                }
                Part::Break(ms) => {
                    let ready = self.buffer.take_all();
                    self.queue(ready, now);
                    self.work.push_back(Work::Silence { ms, submitted: now });
                }
                Part::Discard => self.buffer = TextBuffer::default(),
            }
        }
        let queued: usize = self.work.iter().map(Work::chars).sum();
        if self.buffer.chars() + queued > UNSPOKEN_CHARS_MAX {
            return Err(Failure::invalid("too much unspoken text"));
        }
        let ready = if input.more { self.released() } else { self.buffer.take_all() };
        let moved = flushed || ready.is_some();
        self.queue(ready, now);
        if self.manner.flush_each && texts > 0 && !flushed {
            self.work.push_back(Work::Flush);
        }
        if !input.more {
            shared.journal.input_ended(self.seat.number);
            self.work.push_back(Work::Done);
            self.finishing = true;
        }
        match self.order.buffering {
            Buffering::Sentences(Some(delay)) if self.buffer.is_waiting() && !self.finishing => {
                if moved || self.buffer_due.is_none() {
                    self.buffer_due = Some(now + delay);
                }
            }
            Buffering::AtOnce | Buffering::Sentences(_) | Buffering::Lagging | Buffering::Filled(_) => {
                self.buffer_due = None;
            }
        }
        Ok(())
    }

    /// What may be spoken of the buffered text, though nobody has asked for it.
    fn released(&mut self) -> Option<String> {
        match self.order.buffering {
            Buffering::AtOnce => self.buffer.take_all(),
            Buffering::Sentences(_) => self.buffer.take_sentences(),
            Buffering::Lagging => self.buffer.take_lagging(),
            Buffering::Filled(chars) if self.buffer.chars() >= chars => self.buffer.take_words(),
            Buffering::Filled(_) => None,
        }
    }

    /// The delay has passed: what is there is spoken, complete or not.
    fn speak_buffer(&mut self) {
        self.buffer_due = None;
        let ready = self.buffer.take_all();
        self.queue(ready, Instant::now());
    }

    fn queue(&mut self, text: Option<String>, submitted: Instant) {
        for piece in text.iter().flat_map(|text| buffer::pieces(text)) {
            self.work.push_back(Work::Speak { text: piece, submitted });
        }
    }

    /// When the context ends by itself.
    fn expires_at(&self) -> Option<Instant> {
        let idle = matches!(self.stage, Stage::Idle) && self.work.is_empty() && self.buffer_due.is_none();
        match self.manner.lifetime {
            Lifetime::AfterAudio(length) => self.last_audio.filter(|_| idle).map(|at| at + length),
            Lifetime::AfterInput(length) => idle.then_some(self.last_input + length),
            Lifetime::Whole(length) => Some(self.begun + length),
            Lifetime::Endless => None,
        }
    }

    /// The next thing in order. Nothing is lost if the future is dropped before it is ready.
    async fn step(&mut self) -> Option<End> {
        if let Some(before) = &mut self.seat.before {
            // Ends by being dropped.
            before.await.ok();
            self.seat.before = None;
            return None;
        }
        match &mut self.stage {
            Stage::Idle => match self.work.front() {
                None => std::future::pending().await,
                Some(Work::Speak { submitted, .. } | Work::Silence { submitted, .. }) => {
                    let submitted = *submitted;
                    self.begin_speech(submitted);
                    None
                }
                Some(Work::Flush) => {
                    let permit = self.seat.outbox.reserve().await.ok()?;
                    permit.send(outgoing(self.wording.say(Event::Flushed { flush_id: self.flush_id })));
                    self.flush_id += 1;
                    self.work.pop_front();
                    None
                }
                Some(Work::Done) => self.finish().await,
            },
            Stage::Speaking { speech, submitted } => {
                let spoken = speech.as_mut().await;
                let submitted = *submitted;
                match spoken {
                    Some(speech) => {
                        self.begin_playing(speech, submitted);
                        None
                    }
                    None => {
                        self.say(Event::Failed(Failure::internal("Synthesis failed", "try again"))).await;
                        Some(End::Failed)
                    }
                }
            }
            Stage::Playing(playing) => {
                let due = playing.due(&self.order, self.seat.shared.settings.speed_factor, self.manner.burst);
                sleep_until(due).await;
                self.play().await
            }
            Stage::Stalled => std::future::pending().await,
        }
    }

    /// Hands the first text in the queue to the voice.
    fn begin_speech(&mut self, submitted: Instant) {
        let (order, from) = (self.order, self.samples_before);
        match self.work.pop_front() {
            Some(Work::Speak { text, .. }) => {
                let speaker = self.speaker.clone();
                let speech = Box::pin(async move { speaker.speak(&text, from, &order).await });
                self.stage = Stage::Speaking { speech, submitted };
            }
            Some(Work::Silence { ms, .. }) => self.begin_playing(Speech::silence(ms, order.rate), submitted),
            Some(Work::Flush | Work::Done) | None => {}
        }
    }

    fn begin_playing(&mut self, mut speech: Speech, submitted: Instant) {
        let before_ms = u32::try_from(self.ms(self.samples_before)).unwrap_or(u32::MAX);
        for word in &mut speech.words {
            word.start_ms += before_ms;
            word.end_ms += before_ms;
        }
        let seat = &self.seat;
        seat.shared.journal.generated(seat.number, speech.samples, &speech.words);
        if speech.samples == 0 {
            self.stage = Stage::Idle;
            return;
        }
        let now = Instant::now();
        let base = now.max(submitted + seat.shared.settings.first_byte).max(self.free_at);
        self.free_at = base + self.playtime(speech.samples);
        self.stage = Stage::Playing(Playing { speech, base, started: now, samples_sent: 0, words_sent: 0 });
    }

    fn ms(&self, samples: u64) -> u64 {
        samples * 1_000 / u64::from(self.order.rate.max(1))
    }

    /// How long it takes to send `samples`.
    fn playtime(&self, samples: u64) -> Duration {
        if self.manner.burst {
            Duration::ZERO
        } else {
            span(samples, &self.order, self.seat.shared.settings.speed_factor)
        }
    }

    /// Tells the client; does not borrow the context, which cannot be shared between threads while it speaks.
    fn say(&mut self, event: Event<'_>) -> impl Future<Output = ()> + Send + use<W> {
        let frames = self.wording.say(event);
        let batch = if matches!(event, Event::Failed(_) | Event::TooLate) { failed(frames) } else { outgoing(frames) };
        let outbox = self.seat.outbox.clone();
        // If the connection is gone, nobody is left to be told.
        async move { drop(outbox.send(batch).await) }
    }

    /// Ended from outside. A real server is slow to obey, and that is a fault switch.
    async fn stopped(mut self, stop: Option<Stop>) -> End {
        let faults = &self.seat.shared.faults;
        let (late, done) = match stop {
            None => return End::Lost,
            Some(Stop::Fail) => {
                self.journal_end(End::Failed);
                return End::Failed;
            }
            Some(Stop::Cancel) => match faults.take(FaultKind::LateChunks) {
                Some(count) => (count, false),
                None => match faults.take(FaultKind::LateChunksDone) {
                    Some(count) => (count, true),
                    None => (0, faults.take(FaultKind::CancelDone).is_some()),
                },
            },
        };
        self.seat.shared.journal.cancelled(self.seat.number);
        self.journal_end(End::Cancelled);
        // Only the text being generated goes on; what has not begun is dropped.
        self.work.clear();
        let chunks_max = self.chunks.saturating_add(late);
        while self.chunks < chunks_max && matches!(self.stage, Stage::Speaking { .. } | Stage::Playing(_)) {
            if self.step().await.is_some() || self.seat.outbox.is_closed() {
                return End::Cancelled;
            }
        }
        if done {
            let samples = self.samples_before;
            self.say(Event::Done { samples }).await;
        }
        End::Cancelled
    }
}

impl Work {
    fn chars(&self) -> usize {
        match self {
            Work::Speak { text, .. } => text.chars().count(),
            Work::Silence { .. } | Work::Flush | Work::Done => 0,
        }
    }
}

/// Sleeps until `at`, for ever if there is no such moment.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
