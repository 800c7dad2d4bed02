//! The driver's pumps, limits and goodbyes on tokio's paused clock, with sockets made of channels.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test's helpers may fail the test")]

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use trunkline::audio::{Encoding, vad};
use trunkline::call::action::{AgentReport, EndReason};
use trunkline::call::event::{AgentEvent, Say};
use trunkline::call::settings::{Conversation, Interruptible, Limits, OnFailure, Playout, Settings, Text, Voice};
use trunkline::dialect::twilio::Twilio;
use trunkline::dialect::{Body, Input, Port};
use trunkline::driver::{CallPort, CallSetup, Frame, Meter, Phrases, Stopping, VoiceLink, inbox, run_call};
use trunkline::http::outbound::Outbound;
use trunkline::player::{self, Player};
use trunkline::voice::{self, Pool};

const START: &str = r#"{"event":"start","streamSid":"MZ1","start":{"streamSid":"MZ1","callSid":"CA1",
    "mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}}}"#;
const LONG: &str = "This is a long answer, and it goes on for a good while, so that there is something to be cut off. \
                    It has several sentences. Each of them takes some seconds. And here is one more of them.";

/// The carrier's half of a socket that a test holds.
struct Carrier {
    /// What the carrier says. Dropping it ends the stream without a close.
    says: Option<mpsc::Sender<Frame>>,
    /// What the carrier is told. As long as nobody reads it, it takes no more than its capacity.
    told: mpsc::Receiver<Frame>,
}

/// A sink that panics when it is told to.
struct Writer {
    to: mpsc::Sender<Frame>,
    waiting: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    panics: Arc<Mutex<bool>>,
}

#[derive(Debug)]
struct Gone;

impl Sink<Frame> for Writer {
    type Error = Gone;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        assert!(!*self.panics.lock().unwrap(), "the writer panics, as the test wants");
        match &mut self.waiting {
            None => Poll::Ready(Ok(())),
            Some(waiting) => match waiting.as_mut().poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(is_taken) => {
                    self.waiting = None;
                    Poll::Ready(if is_taken { Ok(()) } else { Err(Gone) })
                }
            },
        }
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), Gone> {
        let to = self.to.clone();
        self.waiting = Some(Box::pin(async move { to.send(frame).await.is_ok() }));
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.poll_ready(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.poll_ready(cx)
    }
}

struct Reader(mpsc::Receiver<Frame>);

impl Stream for Reader {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let frame = self.0.poll_recv(cx);
        // A test's way to let the reader panic: no carrier sends this.
        assert!(frame != Poll::Ready(Some(Frame::Text("panic".to_owned()))), "the reader panics, as the test wants");
        frame
    }
}

/// A call with the local voice, and all that a test wants to do to it.
struct Bench {
    carrier: Carrier,
    port: CallPort,
    stopping: Stopping,
    meter: Arc<Meter>,
    reports: Arc<Mutex<Vec<AgentReport>>>,
    panics: Arc<Mutex<bool>>,
    call: JoinSet<EndReason>,
}

fn settings() -> Settings {
    let local = Voice::plain("local", Encoding::PcmS16Le, Some(voice::RATE));
    Settings {
        voices: vec![local],
        chain: 1,
        fallback_line: "Sorry.".to_owned(),
        on_failure: OnFailure::Continue,
        playout: Playout::default(),
        interruptible: Interruptible::Any,
        detector: vad::Settings { min_speech_ms: 100, threshold: 0.5, silence_ms: 500, pause_ms: None },
        limits: Limits::default(),
        text: Text::default(),
        seed: 1,
        conversation: Conversation::default(),
        phrases: Vec::new(),
    }
}

fn text(text: &str) -> Frame {
    Frame::Text(text.to_owned())
}

impl Bench {
    /// A live call; `takes` messages fit into the carrier's socket.
    fn start(takes: usize) -> Bench {
        Bench::with(settings(), takes, Pool::new(voice::Settings::default()), |_| {})
    }

    fn with(
        settings: Settings,
        takes: usize,
        pool: Pool,
        mut watch: impl FnMut(&AgentReport) + Send + 'static,
    ) -> Bench {
        let (says, reader) = mpsc::channel(64);
        let (to, told) = mpsc::channel(takes);
        let (port, inbox) = inbox();
        let stopping = Stopping::default();
        let (meter, reports): (Arc<Meter>, Arc<Mutex<Vec<AgentReport>>>) = (Arc::default(), Arc::default());
        let panics: Arc<Mutex<bool>> = Arc::default();
        let setup = CallSetup {
            settings,
            carrier: Box::<Twilio>::default(),
            voices: vec![VoiceLink::Local(pool)],
            player: Player::new(player::Settings::default(), &Outbound::default()).unwrap(),
            phrases: Phrases::default(),
            hearing: None,
            app: None,
            meter: meter.clone(),
            first: vec![Input { port: Port::Carrier, body: Body::Text(START.to_owned()) }],
            tape: None,
            recording: None,
            stopping: stopping.clone(),
        };
        let writer = Writer { to, waiting: None, panics: panics.clone() };
        let mut call = JoinSet::new();
        let seen = reports.clone();
        call.spawn(Box::pin(run_call(setup, Reader(reader), writer, inbox, move |_, report: &AgentReport| {
            watch(report);
            seen.lock().unwrap().push(report.clone());
        })));
        Bench { carrier: Carrier { says: Some(says), told }, port, stopping, meter, reports, panics, call }
    }

    async fn say(&self, text: &str) {
        let turn = self.port.next_turn();
        let say = Say {
            turn,
            text: text.to_owned(),
            last: true,
            flush: false,
            interruptible: None,
            delivery: None,
            preemptible: None,
        };
        self.port.send(AgentEvent::Say(say)).await.unwrap();
    }

    async fn hear(&self, frame: Frame) {
        self.carrier.says.as_ref().unwrap().send(frame).await.unwrap();
    }

    /// Waits for the call's end, and checks that no task of it is left.
    async fn ended(&mut self) -> EndReason {
        let reason = timeout(Duration::from_secs(300), self.call.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
        assert_eq!(self.reports().last(), Some(&AgentReport::Ended(reason)));
        assert!(self.meter.render().contains("trunkline_calls 0"));
        reason
    }

    fn reports(&self) -> Vec<AgentReport> {
        self.reports.lock().unwrap().clone()
    }

    fn counted(&self, line: &str) -> bool {
        self.meter.render().lines().any(|other| other == format!("trunkline_{line}"))
    }

    /// The next message, as its event's name; `close 1000` for a close frame.
    async fn next(&mut self) -> String {
        name_of(&self.carrier.told.recv().await.unwrap())
    }

    /// Everything that has been written.
    fn written(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.carrier.told.try_recv().ok()).map(|frame| name_of(&frame)).collect()
    }
}

fn name_of(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) => {
            let message: Value = serde_json::from_str(text).unwrap();
            message["event"].as_str().unwrap().to_owned()
        }
        Frame::Alive => "ping".to_owned(),
        Frame::Close(code, _) => format!("close {}", code.unwrap()),
        Frame::Binary(_) | Frame::Oversize => panic!("not to be written: {frame:?}"),
    }
}

/// Answers marks at once and closes when it is told to, like a carrier that plays infinitely fast; what it was told.
async fn obey(carrier: &mut Carrier) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(frame) = carrier.told.recv().await {
        names.push(name_of(&frame));
        if matches!(frame, Frame::Close(..)) {
            carrier.says = None;
            return names;
        }
    }
    names
}

#[tokio::test(start_paused = true)]
async fn speech_is_paced_and_a_hang_up_says_goodbye() {
    let mut bench = Bench::start(4_096);
    bench.say(LONG).await;
    sleep(Duration::from_secs(3)).await;
    let media = bench.written().iter().filter(|name| *name == "media").count();
    // Three seconds and the lead.
    assert!((145..=157).contains(&media), "{media} frames");
    bench.port.send(AgentEvent::HangUp).await.unwrap();
    let rest = obey(&mut bench.carrier).await;
    assert_eq!(rest.last().unwrap(), "close 1000");
    assert_eq!(bench.ended().await, EndReason::HungUp);
    assert!(bench.port.send(AgentEvent::Clear).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn clear_is_the_first_thing_that_a_slow_carrier_reads() {
    let mut bench = Bench::start(4);
    bench.say(LONG).await;
    // The socket holds four messages, the writer one; all others wait.
    sleep(Duration::from_millis(1_500)).await;
    bench.hear(text(r#"{"event":"dtmf","dtmf":{"digit":"5"}}"#)).await;
    sleep(Duration::from_millis(100)).await;
    bench.say("Yes?").await;
    sleep(Duration::from_millis(100)).await;
    let mut names = Vec::new();
    while names.len() < 12 {
        names.push(bench.next().await);
    }
    let clear = names.iter().position(|name| name == "clear").unwrap();
    // What the socket and the writer had taken before, and nothing more.
    assert!(clear <= 5, "{names:?}");
    assert_eq!(names.iter().filter(|name| *name == "clear").count(), 1);
    assert!(names.iter().skip(clear + 1).any(|name| name == "media"), "{names:?}");
    bench.stopping.cancel.cancel();
    obey(&mut bench.carrier).await;
    assert_eq!(bench.ended().await, EndReason::HungUp);
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_takes_nothing_is_given_up() {
    for takes in [1, 30] {
        let mut bench = Bench::start(takes);
        let started = Instant::now();
        bench.say(LONG).await;
        assert_eq!(bench.ended().await, EndReason::CarrierLost);
        let lasted = started.elapsed();
        assert!((4..=10).contains(&lasted.as_secs()), "{lasted:?} with room for {takes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_takes_too_little_is_given_up_as_well() {
    let mut bench = Bench::start(1);
    bench.say(&LONG.repeat(5)).await;
    // Half of what speech takes, so that no single write is late.
    let reading = async {
        loop {
            sleep(Duration::from_millis(40)).await;
            if bench.carrier.told.recv().await.is_none() {
                return;
            }
        }
    };
    let _ = timeout(Duration::from_secs(60), reading).await;
    assert_eq!(bench.ended().await, EndReason::CarrierLost);
}

#[tokio::test(start_paused = true)]
async fn a_silent_carrier_is_pinged_and_given_up_after_a_minute() {
    let mut bench = Bench::start(64);
    let started = Instant::now();
    let names = obey(&mut bench.carrier).await;
    assert_eq!(bench.ended().await, EndReason::CarrierLost);
    assert_eq!(started.elapsed().as_secs(), 60);
    assert!(names.starts_with(&["ping".to_owned(), "ping".to_owned()]), "{names:?}");
    assert_eq!(names.last().unwrap(), "close 1000");
}

#[tokio::test(start_paused = true)]
async fn an_answered_ping_is_a_sign_of_life() {
    let mut bench = Bench::start(64);
    for _ in 0..10 {
        assert_eq!(bench.next().await, "ping");
        bench.hear(Frame::Alive).await;
    }
    bench.hear(text(r#"{"event":"stop"}"#)).await;
    assert_eq!(obey(&mut bench.carrier).await, ["close 1000"]);
    assert_eq!(bench.ended().await, EndReason::CarrierStopped);
}

#[tokio::test(start_paused = true)]
async fn ends_are_told_apart() {
    for (frame, reason, code) in [
        (text(r#"{"event":"stop"}"#), EndReason::CarrierStopped, "close 1000"),
        (Frame::Close(Some(1001), String::new()), EndReason::CarrierLost, "close 1000"),
        (Frame::Oversize, EndReason::CarrierLost, "close 1009"),
    ] {
        let mut bench = Bench::start(64);
        bench.hear(frame).await;
        assert_eq!(obey(&mut bench.carrier).await, [code]);
        assert_eq!(bench.ended().await, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_never_says_goodbye_is_not_waited_for() {
    let mut bench = Bench::start(4_096);
    bench.say(LONG).await;
    sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    bench.port.send(AgentEvent::HangUp).await.unwrap();
    assert_eq!(bench.ended().await, EndReason::HungUp);
    assert!(started.elapsed() <= Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_the_carrier_still_says_at_the_end_is_read() {
    let mut bench = Bench::start(64);
    bench.port.send(AgentEvent::HangUp).await.unwrap();
    // More than the channel holds: a reader that has stopped would let this wait for ever.
    for _ in 0..500 {
        bench.hear(text(r#"{"event":"media","media":{"payload":"//8="}}"#)).await;
    }
    assert_eq!(obey(&mut bench.carrier).await, ["close 1000"]);
    assert_eq!(bench.ended().await, EndReason::HungUp);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_the_carrier_does_not_stop_speech() {
    let mut bench = Bench::start(4_096);
    bench.say(LONG).await;
    let says = bench.carrier.says.clone().unwrap();
    let mut flood = JoinSet::new();
    flood.spawn(async move {
        for n in 0.. {
            if says.send(text(r#"{"event":"brand-new"}"#)).await.is_err() {
                return;
            }
            if n % 100 == 0 {
                // On a paused clock time passes only while everybody waits.
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    sleep(Duration::from_secs(2)).await;
    let media = bench.written().iter().filter(|name| *name == "media").count();
    assert!((95..=107).contains(&media), "{media} frames");
    bench.stopping.cancel.cancel();
    obey(&mut bench.carrier).await;
    flood.shutdown().await;
    assert_eq!(bench.ended().await, EndReason::HungUp);
    assert!(bench.meter.render().lines().any(|line| {
        line.strip_prefix("trunkline_garbage_total ").is_some_and(|count| count.parse::<u64>().unwrap() >= 1_000)
    }));
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_own_call_and_is_counted() {
    let bystander = Bench::start(4_096);
    bystander.say(LONG).await;
    sleep(Duration::from_millis(100)).await;
    let alive = Handle::current().metrics().num_alive_tasks();
    let reader = async {
        let bench = Bench::start(64);
        bench.hear(text("panic")).await;
        bench
    };
    let writer = async {
        let bench = Bench::start(64);
        *bench.panics.lock().unwrap() = true;
        bench.say(LONG).await;
        bench
    };
    let core = async {
        let watch = |report: &AgentReport| assert!(!matches!(report, AgentReport::Digit(_)), "as the test wants");
        let bench = Bench::with(settings(), 64, Pool::new(voice::Settings::default()), watch);
        bench.hear(text(r#"{"event":"dtmf","dtmf":{"digit":"5"}}"#)).await;
        bench
    };
    for mut bench in [reader.await, writer.await, core.await] {
        let ended = timeout(Duration::from_secs(30), async {
            tokio::join!(obey(&mut bench.carrier), bench.call.join_next()).1
        });
        assert_eq!(ended.await.unwrap().unwrap().unwrap(), EndReason::HungUp);
        assert!(bench.counted("task_panics_total 1"), "{}", bench.meter.render());
        assert_eq!(bench.reports().last(), Some(&AgentReport::Ended(EndReason::HungUp)));
        assert!(bench.meter.render().contains("trunkline_calls 0"));
    }
    let mut bystander = bystander;
    assert!(Handle::current().metrics().num_alive_tasks() <= alive);
    bystander.written();
    sleep(Duration::from_millis(500)).await;
    assert!(bystander.written().contains(&"media".to_owned()), "the other call speaks on");
    bystander.stopping.cancel.cancel();
    obey(&mut bystander.carrier).await;
    assert_eq!(bystander.ended().await, EndReason::HungUp);
}

#[tokio::test(start_paused = true)]
async fn drain_is_told_once_and_the_call_goes_on() {
    let mut bench = Bench::start(4_096);
    bench.stopping.drain.cancel();
    bench.say(LONG).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.reports().iter().filter(|report| **report == AgentReport::Draining).count(), 1);
    assert!(bench.written().contains(&"media".to_owned()));
    bench.stopping.cancel.cancel();
    obey(&mut bench.carrier).await;
    assert_eq!(bench.ended().await, EndReason::HungUp);
}

#[tokio::test(start_paused = true)]
async fn a_busy_voice_delays_speech_and_does_not_lose_it() {
    // One worker, busy with something long, and nobody may wait: everybody is refused at first.
    let pool = Pool::new(voice::Settings { workers: 1, waiting_max: 0 });
    let (mut elsewhere, busy) = (JoinSet::new(), pool.clone());
    elsewhere.spawn(async move { busy.synthesize(&"a long story ".repeat(140), None).await.is_ok() });
    tokio::task::yield_now().await;
    let mut benches: Vec<Bench> =
        (0..2).map(|seed| Bench::with(Settings { seed, ..settings() }, 4_096, pool.clone(), |_| {})).collect();
    for bench in &benches {
        bench.say("Good morning.").await;
    }
    sleep(Duration::from_secs(4)).await;
    for bench in &mut benches {
        let media = bench.written().iter().filter(|name| *name == "media").count();
        assert!(media >= 25, "{media} frames");
        assert!(!bench.reports().iter().any(|report| matches!(report, AgentReport::SpeechFailed { .. })));
        bench.stopping.cancel.cancel();
        obey(&mut bench.carrier).await;
        assert_eq!(bench.call.join_next().await.unwrap().unwrap(), EndReason::HungUp);
    }
    assert!(!benches.iter().any(|bench| bench.counted("tts_retries_total 0")), "somebody was not refused");
    assert!(elsewhere.join_next().await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_no_task() {
    let mut bench = Bench::start(4_096);
    bench.say(LONG).await;
    sleep(Duration::from_millis(500)).await;
    bench.call.shutdown().await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}
