//! Hundreds of calls on one core, and what they show of the gateway.
//!
//! ```text
//!   LoadPlan ──► run ──► dial, so many a second ──► Line (frames out, playback, marks)      LoadReport
//!                        beat: 1 ms ticks ────────►   └─ Tally, while the window is open ──►  and whether to believe it
//!                        one reader a call ───────►
//! ```
//!
//! The single call of [`run`](super::run) reads to the letter, logs all and keeps the audio. This one finds the kind of a
//! message without parsing it, counts, and forgets: the less it needs, the more of the machine's time is the gateway's.
//! A call sends a frame at every twentieth tick; which one is its phase. The frame takes with it the echoes of the marks
//! that were played since the last, so that they are up to 20 ms late.

mod frames;
mod histogram;
mod limits;
mod line;
mod playback;
mod process;
mod report;
mod scan;
mod sound;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::MaybeTlsStream;
use tokio_util::sync::CancellationToken;

use super::dial::DialError;
use super::messages::Names;
use super::plan::{Plan, random_sid};
use super::run::{CarrierError, Clock, open};
use crate::emulate::cartesia::Served;
use crate::ids::{CallSid, CallTime, StreamSid};
use frames::Frames;
use line::{Armed, CLOSE_LIMIT, End, Line, Next, Part};
use playback::PAUSE;
use report::{Edges, Facts, Tally, Voice};
use sound::Sound;

pub use histogram::Percentiles;
pub use process::{Usage, usage};
pub use report::{Ends, LoadReport, Own, Watched};
pub use sound::Says;

/// Between the last call's end and the last look at the gateway's process.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// Frames of a call are so many ticks apart.
const TICKS: usize = 20;

const TICK: Duration = Duration::from_millis(1);

/// An interruption counts if so much time is left for its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How long calls last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// All are live together; the window is so long.
    Window(Duration),
    /// Each hangs up after so long; the window is the whole load.
    Each(Duration),
}

/// Many calls.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// What all calls have in common: the URL, how it is reached, headers. It has to be reached without TLS.
    pub base: Plan,
    /// How many calls, at least 1.
    pub calls: u32,
    /// New calls a second, at least 1.
    pub ramp: u32,
    /// How long they last.
    pub lasting: Lasting,
    /// Between the last call's start and the window, if there is one: time for handshakes, first words, and whatever the
    /// gateway does only at the beginning of a call.
    pub settle: Duration,
    /// Whether the gateway is to speak without a pause: then every gap is an underrun, and so is silence at the end of the
    /// window.
    pub unbroken: bool,
    /// When callers speak.
    pub says: Says,
    /// Whenever so much time has passed, a caller presses a key.
    pub key_every: Option<Duration>,
    /// The gateway's process, if it is on this machine.
    pub watch: Option<u32>,
    /// What the load's own voice has spoken, if it has one.
    pub served: Option<Served>,
}

/// Why there can be no load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system has no source of randomness.
    #[error("no random numbers from the system: {0}")]
    Random(String),
    /// The calls would leave this machine.
    #[error("many calls at once go to loopback only: 127.0.0.1, [::1] or localhost")]
    NotLoopback,
    /// This process would run out of descriptors, and the gateway would be blamed for it.
    #[error("so many calls need {needed} descriptors and {allowed} are allowed: try again after `ulimit -n {needed}`")]
    Descriptors {
        /// As the system says.
        allowed: u64,
        /// At one time.
        needed: u64,
    },
}

struct Shared {
    plan: LoadPlan,
    clock: Clock,
    sound: Sound,
    /// The calls of each phase.
    phases: Mutex<[Vec<Arc<Mutex<Line>>>; TICKS]>,
    tally: Mutex<Tally>,
}

/// Makes the calls and measures. `cancel` ends all of them without a goodbye; what was counted so far is reported.
///
/// # Errors
/// [`LoadError`]. A call that cannot be made is part of the report.
pub async fn run_load(plan: LoadPlan, cancel: CancellationToken) -> Result<LoadReport, LoadError> {
    limits::check(&plan)?;
    let sound = Sound::new(&plan.says);
    let (open_at, close_at) = window(&plan);
    let tally = Mutex::new(Tally::default());
    let shared = Arc::new(Shared { plan, clock: Clock::start(), sound, phases: Mutex::default(), tally });
    let mut edges = Edges { before: watched(&shared.plan), ..Edges::default() };
    let mut beat = JoinSet::new();
    beat.spawn(beat_on(Arc::clone(&shared)));
    let mut calls = JoinSet::new();
    let mut facts = None;
    let ramp = async {
        for number in 0..shared.plan.calls {
            sleep_until(shared.clock.instant(begin(&shared.plan, number))).await;
            calls.spawn(call(Arc::clone(&shared), part(&shared.plan, number)?));
            // Those that are over are let go of, so that ten thousand short calls take no more than a few at once.
            while calls.try_join_next().is_some() {}
        }
        let ended = async { while calls.join_next().await.is_some() {} };
        let left = close_at + CLOSE_LIMIT + shared.plan.base.line.limit;
        let _ = timeout(left.since(shared.clock.now()), ended).await;
        Ok::<(), LoadError>(())
    };
    let watch = async {
        sleep_until(shared.clock.instant(open_at)).await;
        edges.open = (watched(&shared.plan), usage(None));
        edges.voice.0 = voice(&shared);
        let opened = shared.clock.now();
        locked(&shared.tally).open = true;
        sleep_until(shared.clock.instant(close_at)).await;
        edges.close = (watched(&shared.plan), usage(None));
        edges.voice.1 = voice(&shared);
        facts = Some(close(&shared, opened, edges));
    };
    let work = async { tokio::join!(ramp, watch).0 };
    let made = cancel.run_until_cancelled(Box::pin(work)).await;
    made.unwrap_or(Ok(()))?;
    let unclosed = calls.len() as u64;
    calls.shutdown().await;
    beat.shutdown().await;
    sleep_until(shared.clock.instant(shared.clock.now() + AFTERWARDS)).await;
    let mut facts = facts.unwrap_or_else(|| close(&shared, open_at, edges));
    facts.edges.after = watched(&shared.plan);
    let mut tally = locked(&shared.tally);
    tally.ends.unclosed += unclosed;
    Ok(LoadReport::new(&tally, facts))
}

/// Closes the window.
fn close(shared: &Shared, opened: CallTime, edges: Edges) -> Facts {
    let now = shared.clock.now();
    // Copied, because a reader takes its line and then the tally.
    let lines: Vec<_> = locked(&shared.phases).iter().flatten().cloned().collect();
    let silences: Vec<_> = lines.iter().filter_map(|line| locked(line).silence(now)).collect();
    let window = now.since(opened);
    let mut tally = locked(&shared.tally);
    tally.open = false;
    tally.silent = silences.len() as u64;
    if shared.plan.unbroken {
        silences.iter().for_each(|silence| tally.ran_dry((*silence).min(window)));
    }
    let (live, window) = (lines.len() as u64, window.as_secs_f64());
    let call_seconds = match shared.plan.lasting {
        Lasting::Window(_) => live as f64 * window,
        Lasting::Each(each) => f64::from(shared.plan.calls) * each.as_secs_f64(),
    };
    let queued_us = shared.plan.served.as_ref().map(|_| tally.queued_us_max);
    let calls = u64::from(shared.plan.calls);
    let is_watched = shared.plan.watch.is_some();
    Facts { calls, live, window_s: window, call_seconds, queued_us, is_watched, edges }
}

fn watched(plan: &LoadPlan) -> Option<Usage> {
    plan.watch.and_then(|pid| usage(Some(pid)))
}

/// How far the load's own voice is ahead of those who listen.
fn voice(shared: &Shared) -> Option<Voice> {
    let served = shared.plan.served.as_ref()?;
    Some(Voice { spoken_us: served.micros(), heard_us: locked(&shared.tally).received_us })
}

/// When the `number`-th call is dialled.
fn begin(plan: &LoadPlan, number: u32) -> CallTime {
    CallTime::ZERO + Duration::from_secs(1) * number / plan.ramp.max(1)
}

/// When the window opens and closes.
fn window(plan: &LoadPlan) -> (CallTime, CallTime) {
    let dialled = begin(plan, plan.calls);
    match plan.lasting {
        Lasting::Window(window) => (dialled + plan.settle, dialled + plan.settle + window),
        Lasting::Each(each) => (CallTime::ZERO, dialled + each),
    }
}

fn part(plan: &LoadPlan, number: u32) -> Result<Part, LoadError> {
    let random = |error: getrandom::Error| LoadError::Random(error.to_string());
    let mut from = [0; 4];
    getrandom::fill(&mut from).map_err(random)?;
    let (call_sid, stream_sid) = (random_sid("CA").map_err(random)?, random_sid("MZ").map_err(random)?);
    let hang_up_at = match plan.lasting {
        // Not before the last look at the window.
        Lasting::Window(_) => window(plan).1 + TICK * 200,
        Lasting::Each(each) => begin(plan, number) + each,
    };
    let every = |every: Duration| u64::try_from(every.as_millis() / TICKS as u128).unwrap_or(u64::MAX).max(1);
    let counts_until = window(plan).1.min(hang_up_at) - ANSWER_LIMIT;
    let pause = if plan.unbroken { Duration::MAX } else { PAUSE };
    Ok(Part {
        names: Names { account_sid: plan.base.account_sid.clone(), call_sid, stream_sid },
        hang_up_at,
        from: u64::from(u32::from_le_bytes(from)),
        key_frames: plan.key_every.map(every),
        pause,
        counts_until,
    })
}

/// Dials, reads to the end, and counts how it came.
async fn call(shared: Arc<Shared>, part: Part) {
    let phase = usize::try_from(part.from).unwrap_or(0) % TICKS;
    let connection = match dial(&shared.plan, &part).await {
        Ok(connection) => connection,
        Err(fault) => {
            let mut tally = locked(&shared.tally);
            tally.ends.not_made += 1;
            tally.starved += u64::from(fault == Fault::Own);
            return;
        }
    };
    let (reader, writer) = connection.into_split();
    let line = Arc::new(Mutex::new(Line::new(writer, part, shared.clock.now())));
    if let Some(lines) = locked(&shared.phases).get_mut(phase) {
        lines.push(Arc::clone(&line));
    }
    let end = read(&shared, reader, &line).await;
    if let Some(lines) = locked(&shared.phases).get_mut(phase) {
        lines.retain(|other| !Arc::ptr_eq(other, &line));
    }
    let mut tally = locked(&shared.tally);
    match end {
        End::InOrder => tally.ends.in_order += 1,
        End::Early => tally.ends.early += 1,
        End::Broken => tally.ends.broken += 1,
        End::Unclosed => tally.ends.unclosed += 1,
    }
}

/// Why a call was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// This process has no descriptor or no port left.
    Own,
    /// Whatever else.
    Other,
}

impl From<CarrierError> for Fault {
    fn from(error: CarrierError) -> Self {
        /// No descriptor in the process, and in the system (`EMFILE`, `ENFILE`).
        const NO_DESCRIPTOR: [Option<i32>; 2] = [Some(24), Some(23)];
        let CarrierError::Dial(DialError::Connect(error)) = error else { return Fault::Other };
        let is_own = NO_DESCRIPTOR.contains(&error.raw_os_error()) || error.kind() == io::ErrorKind::AddrNotAvailable;
        if is_own { Fault::Own } else { Fault::Other }
    }
}

async fn dial(plan: &LoadPlan, part: &Part) -> Result<tokio::net::TcpStream, Fault> {
    let call_sid = CallSid::parse(&part.names.call_sid).map_err(|_| Fault::Other)?;
    let stream_sid = StreamSid::parse(&part.names.stream_sid).map_err(|_| Fault::Other)?;
    let plan = Plan { call_sid, stream_sid, ..plan.base.clone() };
    let socket = Box::pin(open(&plan)).await?;
    // A gateway says nothing before `start`, so that the library has read nothing that would be lost with it.
    if let MaybeTlsStream::Plain(connection) = socket.into_inner() { Ok(connection) } else { Err(Fault::Other) }
}

async fn read(shared: &Shared, mut reader: OwnedReadHalf, line: &Mutex<Line>) -> End {
    let mut frames = Frames::default();
    loop {
        match reader.read_buf(frames.room()).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return if locked(line).hung_up { End::Unclosed } else { End::Early },
        }
        let now = shared.clock.now();
        let (mut line, mut tally) = (locked(line), locked(&shared.tally));
        loop {
            match frames.next() {
                Ok(Some(message)) => {
                    if let Some(end) = line.take(now, message, &mut tally) {
                        return end;
                    }
                }
                Ok(None) => break,
                Err(frames::Unreadable) => return End::Broken,
            }
        }
    }
}

/// Beats time for all calls, until it is dropped.
async fn beat_on(shared: Arc<Shared>) {
    let mut at = CallTime::ZERO;
    for phase in (0..TICKS).cycle() {
        at = at + TICK;
        let lines = match locked(&shared.phases).get(phase) {
            Some(lines) if !lines.is_empty() => lines.clone(),
            Some(_) | None if phase > 0 => continue,
            // With no call at all, time still passes.
            Some(_) | None => Vec::new(),
        };
        sleep_until(shared.clock.instant(at)).await;
        let now = shared.clock.now();
        let is_open = locked(&shared.tally).open;
        let (mut gone, mut armed) = (Vec::new(), Armed::default());
        for line in &lines {
            match locked(line).tick(now, &shared.sound, is_open.then_some(&mut armed)) {
                Next::GoOn => {}
                Next::HungUp | Next::Stuck => gone.push(line),
            }
        }
        if !gone.is_empty()
            && let Some(lines) = locked(&shared.phases).get_mut(phase)
        {
            lines.retain(|line| !gone.iter().any(|gone| Arc::ptr_eq(gone, line)));
        }
        let mut tally = locked(&shared.tally);
        if let Some(served) = &shared.plan.served {
            tally.queued_us_max = tally.queued_us_max.max(served.micros().saturating_sub(tally.received_us));
        }
        tally.armed.keys += armed.keys;
        tally.armed.onsets += armed.onsets;
        if tally.open {
            tally.tick_late.add(now.since(at), lines.len() as u64);
        }
    }
}

/// Nothing of ours panics while it holds a lock, and if it did, its figures would still be whole.
fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
