//! One context: text in, audio out at its pace, faults on the way.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::buffer::{self, TextBuffer};
use super::connection::Outgoing;
use super::fault::FaultKind;
use super::journal::End;
use super::playing::{Manner, Playing, Timing, span};
use super::request::{Input, Refusal, Template};
use super::speaker::{self, Speaker, Speech};
use super::{Shared, reply};

/// Unspoken text that a context may hold, in characters.
const UNSPOKEN_CHARS_MAX: usize = 50_000;

/// Most messages that one chunk of audio brings with it: word times, two parts, three kinds of noise, word times.
const MESSAGES_PER_STEP: usize = 8;

/// Why a context is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The client cancelled it.
    Cancel,
    /// The client broke a rule; the error event is already on its way.
    Fail,
}

/// What a context needs from its connection.
pub(super) struct Seat {
    pub(super) id: Arc<str>,
    pub(super) connection: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) outbox: mpsc::Sender<Outgoing>,
}

/// What is to be done, in order.
enum Work {
    Speak { text: String, submitted: Instant },
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
pub(super) struct Context {
    seat: Seat,
    template: Template,
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
    last_audio: Option<Instant>,
    manner: Manner,
}

impl Drop for Context {
    fn drop(&mut self) {
        self.seat.shared.contexts_active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Context {
    /// Begins a context: takes its number, and the faults that are decided at its start.
    pub(super) fn new(seat: Seat, template: Template) -> Self {
        let shared = Arc::clone(&seat.shared);
        shared.contexts_active.fetch_add(1, Ordering::Relaxed);
        let number = shared.contexts_begun.fetch_add(1, Ordering::Relaxed);
        let speaker = match shared.settings.voice {
            super::Voice::Local => Speaker::Local(shared.pool.clone()),
            super::Voice::Tone => Speaker::Tone(number),
        };
        shared.journal.begin(&seat.id, seat.connection, speaker.tone(), template.rate);
        let manner = Manner::decide(&shared, template.timestamps);
        Self {
            template,
            speaker,
            buffer: TextBuffer::default(),
            buffer_due: None,
            work: VecDeque::new(),
            stage: Stage::Idle,
            finishing: false,
            flush_id: 1,
            chunks: 0,
            samples_before: 0,
            free_at: Instant::now(),
            last_audio: None,
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
                    Some(input) => if let Err(refusal) = self.accept(&input) {
                        self.refuse(refusal).await;
                        break End::Failed;
                    },
                    None => break End::Lost,
                },
                () = until(self.buffer_due) => self.speak_buffer(),
                ended = self.step() => if let Some(end) = ended {
                    break end;
                },
                () = until(expires) => break End::Expired,
            }
        };
        self.journal_end(end);
        // Text that was under way when the context ended is answered like text that comes later.
        inputs.close();
        if inputs.try_recv().is_ok() && end == End::Expired {
            self.refuse(Refusal::invalid(Some(&self.seat.id), "the context has expired")).await;
        }
        end
    }

    fn journal_end(&self, end: End) {
        self.seat.shared.journal.ended(self.seat.connection, &self.seat.id, end);
    }

    /// Takes one input; how much of the buffer it sets free depends on the buffering that was asked for.
    fn accept(&mut self, input: &Input) -> Result<(), Refusal> {
        let now = Instant::now();
        self.seat.shared.journal.input(self.seat.connection, &self.seat.id, input);
        self.buffer.push(&input.transcript);
        let queued: usize = self.work.iter().map(Work::chars).sum();
        if self.buffer.chars() + queued > UNSPOKEN_CHARS_MAX {
            return Err(Refusal::invalid(Some(&self.seat.id), "too much unspoken text"));
        }
        let everything = !input.more || input.flush || self.template.delay_ms == 0;
        let ready = if everything { self.buffer.take_all() } else { self.buffer.take_sentences() };
        let moved = ready.is_some();
        self.queue(ready, now);
        if input.flush || self.manner.flush_each {
            self.work.push_back(Work::Flush);
        }
        if !input.more {
            self.work.push_back(Work::Done);
            self.finishing = true;
        }
        if !self.buffer.is_waiting() || self.finishing {
            self.buffer_due = None;
        } else if moved || self.buffer_due.is_none() {
            self.buffer_due = Some(now + Duration::from_millis(self.template.delay_ms.into()));
        }
        Ok(())
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

    /// When the context ends for want of text: some time after its last audio, if nothing waits.
    fn expires_at(&self) -> Option<Instant> {
        let idle = matches!(self.stage, Stage::Idle) && self.work.is_empty() && self.buffer_due.is_none();
        self.last_audio.filter(|_| idle).map(|at| at + self.manner.expiry)
    }

    /// The next thing in order. Nothing is lost if the future is dropped before it is ready.
    async fn step(&mut self) -> Option<End> {
        match &mut self.stage {
            Stage::Idle => match self.work.front() {
                None => std::future::pending().await,
                Some(Work::Speak { submitted, .. }) => {
                    let submitted = *submitted;
                    self.begin_speech(submitted);
                    None
                }
                Some(Work::Flush) => {
                    let permit = self.seat.outbox.reserve().await.ok()?;
                    permit.send(Outgoing::Text(reply::flush_done(&self.seat.id, self.flush_id)));
                    self.flush_id += 1;
                    self.work.pop_front();
                    None
                }
                Some(Work::Done) => {
                    if self.seat.shared.faults.amount(FaultKind::NoDone).is_none() {
                        let permit = self.seat.outbox.reserve().await.ok()?;
                        permit.send(Outgoing::Text(reply::done(&self.seat.id)));
                    } else {
                        self.seat.shared.faults.take(FaultKind::NoDone);
                    }
                    Some(End::Done)
                }
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
                        let refusal = Refusal { status: 500, title: "Synthesis failed", ..self.refusal("try again") };
                        self.refuse(refusal).await;
                        Some(End::Failed)
                    }
                }
            }
            Stage::Playing(playing) => {
                let due = playing.due(&self.template, self.seat.shared.settings.speed_factor, self.manner.burst);
                sleep_until(due).await;
                self.play().await
            }
            Stage::Stalled => std::future::pending().await,
        }
    }

    /// Hands the first text in the queue to the voice.
    fn begin_speech(&mut self, submitted: Instant) {
        let Some(Work::Speak { text, .. }) = self.work.pop_front() else { return };
        let (speaker, template, from) = (self.speaker.clone(), self.template.clone(), self.samples_before);
        let speech = Box::pin(async move { speaker.speak(&text, from, &template).await });
        self.stage = Stage::Speaking { speech, submitted };
    }

    fn begin_playing(&mut self, mut speech: Speech, submitted: Instant) {
        let before_ms = u32::try_from(self.samples_before * 1_000 / u64::from(self.template.rate)).unwrap_or(u32::MAX);
        for word in &mut speech.words {
            word.start_ms += before_ms;
            word.end_ms += before_ms;
        }
        let seat = &self.seat;
        seat.shared.journal.generated(seat.connection, &seat.id, speech.samples, &speech.words);
        if speech.samples == 0 {
            self.stage = Stage::Idle;
            return;
        }
        let now = Instant::now();
        let base = now.max(submitted + seat.shared.settings.first_byte).max(self.free_at);
        self.free_at = base + self.playtime(speech.samples);
        self.stage = Stage::Playing(Playing { speech, base, started: now, samples_sent: 0, words_sent: 0 });
    }

    /// How long it takes to send `samples`.
    fn playtime(&self, samples: u64) -> Duration {
        if self.manner.burst {
            Duration::ZERO
        } else {
            span(samples, &self.template, self.seat.shared.settings.speed_factor)
        }
    }

    /// Sends the next chunk, or what a fault sends in its place.
    async fn play(&mut self) -> Option<End> {
        // All the room first: a chunk and its word times go together or not at all.
        let outbox = self.seat.outbox.clone();
        let mut room = outbox.reserve_many(MESSAGES_PER_STEP).await.ok()?;
        if let Some(refusal) = self.failure() {
            if let Some(permit) = room.next() {
                permit.send(Outgoing::Error(refusal));
            }
            return Some(End::Failed);
        }
        let faults = &self.seat.shared.faults;
        let stalls = self.chunks == 0 && faults.take(FaultKind::StallFirst).is_some();
        if stalls || faults.take_at(FaultKind::Stall, self.chunks) {
            self.stage = Stage::Stalled;
            return None;
        }
        for (permit, message) in room.zip(self.chunk()) {
            permit.send(message);
        }
        None
    }

    /// The error event that a fault puts in place of the next chunk.
    fn failure(&self) -> Option<Refusal> {
        let faults = &self.seat.shared.faults;
        if faults.take_at(FaultKind::Error400, self.chunks) {
            return Some(self.refusal("the request cannot be served"));
        }
        if faults.take_at(FaultKind::Error500, self.chunks) {
            return Some(Refusal { status: 500, title: "Internal error", ..self.refusal("something broke") });
        }
        if faults.take_at(FaultKind::ErrorNoContext, self.chunks) {
            let whole = self.refusal("something broke");
            return Some(Refusal { status: 500, title: "Internal error", context: None, ..whole });
        }
        None
    }

    fn refusal(&self, message: &str) -> Refusal {
        Refusal::invalid(Some(&self.seat.id), message)
    }

    /// Tells the client; does not borrow the context, which cannot be shared between threads while it speaks.
    fn refuse(&self, refusal: Refusal) -> impl Future<Output = ()> + Send + use<> {
        let outbox = self.seat.outbox.clone();
        // If the connection is gone, nobody is left to be told.
        async move { drop(outbox.send(Outgoing::Error(refusal)).await) }
    }

    /// The messages of the next chunk; moves on.
    fn chunk(&mut self) -> Vec<Outgoing> {
        let Stage::Playing(playing) = &mut self.stage else { return Vec::new() };
        let chunk_ms = u64::try_from(self.seat.shared.settings.chunk.as_millis()).unwrap_or(u64::MAX);
        let samples =
            playing.speech.read(playing.samples_sent, (u64::from(self.template.rate) * chunk_ms / 1_000).max(1));
        let count = samples.len() as u64;
        let first = playing.samples_sent == 0;
        playing.samples_sent += count;
        let last = playing.samples_sent >= playing.speech.samples;
        let words = playing.words_due(self.manner.timing, first, last, self.samples_before, self.template.rate);

        let id = &self.seat.id;
        let mut messages = Vec::with_capacity(MESSAGES_PER_STEP);
        if self.manner.garbage {
            messages.push(Outgoing::Text(reply::garbage(id, self.chunks)));
            if self.chunks % 4 == 1 {
                messages.push(Outgoing::Binary(vec![0xFF, 0x00, 0x7F]));
            }
        }
        if self.manner.unknown {
            messages.push(Outgoing::Text(reply::unknown(id, self.chunks)));
        }
        let word_times = (!words.is_empty()).then(|| Outgoing::Text(reply::timestamps(id, words, self.flush_id)));
        let (before, after) = if self.manner.timing == Timing::After { (None, word_times) } else { (word_times, None) };
        messages.extend(before);
        let step_time = (Instant::now() - playing.started).as_secs_f64() * 1_000.0;
        let bytes = speaker::encode(&samples, self.template.encoding);
        let parts = match &mut self.manner.cutter {
            Some(cutter) => cutter.cut(bytes, last),
            None => vec![bytes],
        };
        let mut uncounted = count;
        for part in parts {
            let text = reply::chunk(id, &part, self.flush_id, step_time);
            // The samples of all parts are counted with the first one.
            let samples = std::mem::take(&mut uncounted);
            messages.push(Outgoing::Chunk { text, context: Arc::clone(id), samples });
        }
        messages.extend(after);

        self.chunks += 1;
        self.last_audio = Some(Instant::now());
        if last {
            self.samples_before += playing.speech.samples;
            self.stage = Stage::Idle;
        }
        messages
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
        self.seat.shared.journal.cancelled(self.seat.connection, &self.seat.id);
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
            self.seat.outbox.send(Outgoing::Text(reply::done(&self.seat.id))).await.ok();
        }
        End::Cancelled
    }
}

impl Work {
    fn chars(&self) -> usize {
        match self {
            Work::Speak { text, .. } => text.chars().count(),
            Work::Flush | Work::Done => 0,
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
