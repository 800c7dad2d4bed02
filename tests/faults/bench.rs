//! A whole call on the paused clock: the real driver with its real dialects and converters, the carrier and the vendors at
//! the other ends of pipes and channels, everything in one thread.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt as _, sink, stream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use trunkline::call::action::{AgentReport, EndReason, Heard};
use trunkline::call::event::{AgentEvent, Say};
use trunkline::call::settings::Settings;
use trunkline::config::{Input as ConfigInput, load};
use trunkline::dialect::twilio::Twilio;
use trunkline::dialect::{Body, Input, Port};
use trunkline::driver::{CallPort, CallSetup, Frame, Meter, Stopping, inbox, run_call};
use trunkline::gateway;
use trunkline::ids::{StreamSid, TurnId};

use crate::line::{Sound, Tape, line};
use crate::network::Network;
use crate::vendors;

/// The first message of a stream.
const START: &str = r#"{"event":"start","streamSid":"MZ1","start":{"streamSid":"MZ1","callSid":"CA1",
    "mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}}}"#;
/// No turn of these tests takes so long.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often a caller's silence is heard.
const HUSH_EVERY: Duration = Duration::from_millis(20);

/// A report and when it came, from the start of the call.
type Report = (Duration, AgentReport);

/// A live call.
pub(crate) struct Bench {
    pub(crate) network: Arc<Network>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) began: Instant,
    port: CallPort,
    tape: Arc<Mutex<Tape>>,
    hang_up: CancellationToken,
    reports: watch::Receiver<Vec<Report>>,
    tasks: JoinSet<()>,
    ended: watch::Receiver<Option<EndReason>>,
}

impl Bench {
    /// A call over `network` with the configuration in `toml`.
    pub(crate) fn start(network: &Arc<Network>, toml: &str) -> Self {
        Bench::changed(network, toml, HUSH_EVERY, |_| {})
    }

    /// A call whose core is changed by what no configuration can say, with 20 ms of silence from the caller so often.
    pub(crate) fn changed(
        network: &Arc<Network>,
        toml: &str,
        hush_every: Duration,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let file = Some(("test.toml".to_owned(), toml.to_owned()));
        let loaded =
            load(&ConfigInput { file, ..ConfigInput::default() }).unwrap_or_else(|problems| panic!("{problems}"));
        let node = gateway::settings(&loaded.config).unwrap();
        let mut settings = node.call;
        settings.seed = 1;
        change(&mut settings);
        let stream = StreamSid::parse("MZ1").unwrap();
        let voices = node.speakers.into_iter().map(|speaker| vendors::link(speaker, &stream, network)).collect();
        let (port, inbox) = inbox();
        let setup = CallSetup {
            settings,
            carrier: Box::<Twilio>::default(),
            voices,
            player: node.player,
            phrases: node.phrases,
            hearing: None,
            app: None,
            meter: node.meter.clone(),
            first: vec![Input { port: Port::Carrier, body: Body::Text(START.to_owned()) }],
            tape: None,
            recording: None,
            stopping: Stopping::default(),
        };
        let (line, said, tell) = line(hush_every);
        let (tape, hang_up, began) = (line.tape.clone(), line.hang_up.clone(), line.began);
        let said = stream::unfold(said, async |mut said: mpsc::Receiver<Frame>| Some((said.recv().await?, said)));
        let reader = Box::pin(said.fuse());
        let writer = Box::pin(sink::unfold(tell, async |tell: mpsc::Sender<Frame>, frame| {
            tell.send(frame).await.map(|()| tell)
        }));
        let (told, reports) = watch::channel(Vec::new());
        let (end, ended) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(line.serve());
        tasks.spawn(async move {
            let observer =
                |_, report: &AgentReport| told.send_modify(|all| all.push((began.elapsed(), report.clone())));
            let reason = Box::pin(run_call(setup, reader, writer, inbox, observer)).await;
            end.send_replace(Some(reason));
        });
        Bench { network: network.clone(), meter: node.meter, began, port, tape, hang_up, reports, tasks, ended }
    }

    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Gives a turn, whole.
    pub(crate) async fn say(&self, text: &str) -> TurnId {
        let turn = self.port.next_turn();
        self.give(turn, text, More::Never).await;
        turn
    }

    /// Gives a piece of a turn.
    pub(crate) async fn give(&self, turn: TurnId, text: &str, more: More) {
        let say = Say {
            turn,
            text: text.to_owned(),
            last: more == More::Never,
            flush: more == More::Later,
            interruptible: None,
            delivery: None,
            preemptible: None,
        };
        self.port.send(AgentEvent::Say(say)).await.expect("the call was over before it was to be");
    }

    /// The next number of a turn.
    pub(crate) fn next_turn(&self) -> TurnId {
        self.port.next_turn()
    }

    /// Silences the gateway.
    pub(crate) async fn clear(&self) {
        self.port.send(AgentEvent::Clear).await.expect("the call was over before it was to be");
    }

    /// Waits for a report, or finds it among those that came before.
    async fn until<T>(&self, what: &str, find: impl Fn(&AgentReport) -> Option<T>) -> (Duration, T) {
        let mut reports = self.reports.clone();
        let found = async {
            let mut seen = 0;
            loop {
                let all = reports.borrow_and_update();
                let found = all[seen..].iter().find_map(|(at, report)| find(report).map(|found| (*at, found)));
                seen = all.len();
                drop(all);
                if let Some(found) = found {
                    return found;
                }
                reports.changed().await.unwrap_or_else(|_| panic!("the call ended before {what}"));
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("in vain: {what}"))
    }

    /// Waits for a turn's end.
    pub(crate) async fn over(&self, turn: TurnId) -> (Duration, Heard) {
        self.until(&format!("the end of {turn:?}"), |report| {
            let (AgentReport::TurnOver { turn: other, heard } | AgentReport::Interrupted { turn: other, heard, .. }) =
                report
            else {
                return None;
            };
            (*other == turn).then(|| heard.clone())
        })
        .await
    }

    /// Says a turn and waits for its end.
    pub(crate) async fn speak(&self, text: &str) -> Spoken {
        let from = self.now();
        let turn = self.say(text).await;
        let (to, heard) = self.over(turn).await;
        Spoken { turn, text: text.to_owned(), from, to, heard }
    }

    /// Says a turn and cuts it off so long after its first sound; it may have been over by then.
    pub(crate) async fn cut_off(&self, text: &str, after: Duration) -> Spoken {
        let from = self.now();
        let turn = self.say(text).await;
        self.sounds(turn).await;
        sleep(after).await;
        self.clear().await;
        let (to, heard) = self.over(turn).await;
        Spoken { turn, text: text.to_owned(), from, to, heard }
    }

    /// Waits for a turn's first sound: its own, or the fallback line's.
    pub(crate) async fn sounds(&self, turn: TurnId) {
        self.until(&format!("the first sound of {turn:?}"), |report| {
            let (AgentReport::FirstAudio { turn: other, .. } | AgentReport::SpeechFailed { turn: other, .. }) = report
            else {
                return None;
            };
            (*other == turn).then_some(())
        })
        .await;
    }

    /// How long sounds of a kind have been heard.
    pub(crate) fn heard_so_far(&self, is_it: impl Fn(Sound) -> bool) -> Duration {
        self.tape.lock().unwrap().heard_for(Duration::ZERO, self.now(), is_it)
    }

    /// The caller hangs up; what was heard, once nothing is left of the call anywhere.
    pub(crate) async fn hang_up(mut self) -> Outcome {
        assert_eq!(*self.ended.borrow(), None, "the call was over before it was to be");
        self.hang_up.cancel();
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.unwrap();
            }
        };
        timeout(PATIENCE, all).await.expect("a task of the call was left");
        assert_eq!(*self.ended.borrow(), Some(EndReason::CarrierStopped));
        self.network.left().await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
        let counted = self.meter.render();
        for line in ["trunkline_calls 0", "trunkline_task_panics_total 0"] {
            assert!(counted.lines().any(|other| other == line), "{line} is not so");
        }
        let tape = std::mem::take(&mut *self.tape.lock().unwrap());
        assert_eq!(tape.closed.map(|(code, _)| code), Some(Some(1000)));
        let reports = self.reports.borrow().clone();
        Outcome { tape, reports }
    }
}

/// Whether more text comes for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    Soon,
    /// After a while, in which what there is is to be heard.
    Later,
    Never,
}

/// A turn that was waited for.
#[derive(Clone, Debug)]
pub(crate) struct Spoken {
    pub(crate) turn: TurnId,
    /// What was to be said.
    pub(crate) text: String,
    /// When its text was given.
    pub(crate) from: Duration,
    /// When it was over.
    pub(crate) to: Duration,
    /// What was reported as heard of it.
    pub(crate) heard: Heard,
}

/// A call that is over.
pub(crate) struct Outcome {
    pub(crate) tape: Tape,
    pub(crate) reports: Vec<Report>,
}

impl Outcome {
    /// Whether a turn could not be spoken to its end.
    pub(crate) fn failed(&self, turn: TurnId) -> bool {
        self.told(|report| matches!(report, AgentReport::SpeechFailed { turn: other, .. } if *other == turn))
    }

    /// Whether another voice went on with a turn.
    pub(crate) fn failed_over(&self, turn: TurnId) -> bool {
        self.told(|report| matches!(report, AgentReport::FailedOver { turn: other, .. } if *other == turn))
    }

    fn told(&self, is_it: impl Fn(&AgentReport) -> bool) -> bool {
        self.reports.iter().any(|(_, report)| is_it(report))
    }

    /// How long the caller heard tones, or anything else that is no silence, during a turn.
    pub(crate) fn heard(&self, spoken: &Spoken, is_it: impl Fn(Sound) -> bool) -> Duration {
        self.tape.heard_for(spoken.from, spoken.to, is_it)
    }
}
