//! The driver: sockets, tasks, time. It moves messages between peers and the core, and decides nothing.
//!
//! One call is one task that owns one [`Call`]; every task around it is in the call's `JoinSet`, so that leaving
//! [`run_call`] means that all of them have ended.

pub mod account;
mod app;
mod carrier;
mod clock;
mod connect;
mod dial;
pub mod figures;
mod hearing;
pub mod inbox;
mod link;
mod local;
pub mod meter;
mod outbox;
pub mod phrases;
mod player;
pub mod probe;
mod rate;
pub mod record;
pub mod recording;
mod requests;
mod tts;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, Sink, Stream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub use account::Account;
pub use app::AppLink;
pub use carrier::{CLOSE_OVERSIZE, Frame, MESSAGE_BYTES_MAX};
pub use clock::Clock;
pub use connect::{ByteStream, Connect, Tcp};
pub use dial::{DIAL_LIMIT, Dialler};
pub use hearing::HearingLink;
pub use inbox::{CallPort, Inbox, inbox, inbox_above};
pub use meter::Meter;
pub use phrases::Phrases;
pub use rate::{Rate, Rates};
pub use record::{Shelf, Tap};
pub use recording::{Recording, Recordings};
pub use tts::VoiceLink;

use crate::call::action::{Action, AgentReport, CarrierCommand, EndReason, TtsCommand};
use crate::call::event::{AgentEvent, Event};
use crate::call::settings::Settings;
use crate::call::stats::Stats;
use crate::call::{Call, Timer};
use crate::dialect::{Body, CarrierDialect, Input, Peers, Port};
use crate::ids::CallTime;
use crate::player::Player;
use crate::tape::What;
use app::App;
use figures::{Figures, Lateness, Notice};
use hearing::Hearing;
use outbox::{Outbox, outbox};
use tts::Links;

/// How often the counters of a call reach the metrics.
const ABSORB_EVERY: Duration = Duration::from_secs(1);
/// How long the last messages and the close frame may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Everything that a call is made of, apart from its socket.
pub struct CallSetup {
    /// What shapes the core.
    pub settings: Settings,
    /// The carrier's language.
    pub carrier: Box<dyn CarrierDialect>,
    /// One link for each voice of the settings, in their order.
    pub voices: Vec<VoiceLink>,
    /// What plays recordings and tones; the same for every call of a node.
    pub player: Player,
    /// What its voices have spoken before; the same for every call of a node.
    pub phrases: Phrases,
    /// Who writes down what the caller says, if the settings say that somebody does.
    pub hearing: Option<HearingLink>,
    /// The agent, if it is outside this process.
    pub app: Option<AppLink>,
    /// Where the call is counted.
    pub meter: Arc<Meter>,
    /// What was read from the carrier before the call was accepted, `start` last.
    pub first: Vec<Input>,
    /// Where the call is recorded, if it is.
    pub tape: Option<Tap>,
    /// Where it is recorded as sound, if it is.
    pub recording: Option<Recording>,
    /// What its node wants of it.
    pub stopping: Stopping,
}

/// What a node that stops wants of its calls, one after the other. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stopping {
    /// The node is about to stop; calls go on.
    pub drain: CancellationToken,
    /// Calls say goodbye and end.
    pub leave: CancellationToken,
    /// Calls end now.
    pub cancel: CancellationToken,
}

/// Runs a call to its end. `observer` is told every report of the core, in order and at its time.
///
/// Dropping the future ends the call without a close frame: every task of the call is aborted.
pub async fn run_call<R, W>(
    setup: CallSetup,
    reader: R,
    writer: W,
    inbox: Inbox,
    mut observer: impl FnMut(CallTime, &AgentReport),
) -> EndReason
where
    R: Stream<Item = Frame> + Send + Unpin + 'static,
    W: Sink<Frame, Error: Send> + Send + Unpin + 'static,
{
    let mut tasks = JoinSet::new();
    let (outbox, pending) = outbox(setup.settings.playout.lead);
    tasks.spawn(carrier::write(writer, pending, inbox.sender(), setup.meter.clone()));
    tasks.spawn(carrier::read(reader, inbox.sender(), setup.meter.clone()));
    let others = (setup.player, &setup.phrases, setup.meter.clone());
    let (links, voices) = Links::new(setup.voices, setup.settings.chain, others, inbox.sender());
    let (hearing, hearing_dialect) = Hearing::new(setup.hearing, inbox.sender(), setup.meter.clone());
    let (app_dialler, app_dialect) = setup.app.map(|app| (app.dialler, app.dialect)).unzip();
    let peers = Peers::new(setup.carrier, voices).with_hearing(hearing_dialect).with_agent(app_dialect);
    let app = App::open(app_dialler, &peers, inbox.sender(), &mut tasks);
    let mut driver = Driver {
        clock: Clock::start(),
        call: Call::new(setup.settings),
        peers,
        links,
        hearing,
        app,
        speaking: inbox.speaking(),
        notice: inbox.notice(),
        lateness: Lateness::default(),
        meter: setup.meter,
        tape: setup.tape,
        recording: setup.recording,
        tasks,
        outbox,
        own: setup.first.into(),
        stopping: setup.stopping,
        absorbed: Stats::default(),
        absorbed_at: CallTime::ZERO,
    };
    let counted = driver.meter.call_started();
    let ended = AssertUnwindSafe(driver.run(inbox, &mut observer)).catch_unwind().await;
    let reason = ended.unwrap_or_else(|_| {
        driver.meter.panicked();
        tracing::error!("the call panicked and ends");
        let reason = EndReason::HungUp;
        // Whoever watches waits for this word.
        observer(driver.clock.now(), &AgentReport::Ended(reason));
        reason
    });
    drop(counted);
    driver.meter.call_ended(reason);
    driver.leave().await;
    reason
}

struct Driver {
    clock: Clock,
    call: Call,
    peers: Peers,
    links: Links,
    hearing: Hearing,
    app: App,
    speaking: inbox::Speaking,
    notice: Notice,
    lateness: Lateness,
    meter: Arc<Meter>,
    tape: Option<Tap>,
    recording: Option<Recording>,
    tasks: JoinSet<()>,
    outbox: Outbox,
    /// Inputs that the driver itself has to give, before any other.
    own: VecDeque<Input>,
    stopping: Stopping,
    absorbed: Stats,
    absorbed_at: CallTime,
}

/// What ended a wait.
enum Woken {
    Cancelled,
    Leaving,
    Draining,
    /// There is room for what waits for the carrier.
    Room,
    /// The carrier has taken too little for too long.
    Stalled,
    Input(Input),
    Deadline,
    Ended(Result<(), JoinError>),
}

impl Driver {
    async fn run(&mut self, mut inbox: Inbox, observer: &mut impl FnMut(CallTime, &AgentReport)) -> EndReason {
        let sleep = tokio::time::sleep_until(Instant::now());
        // Made once, not at every event, and obeyed once.
        let Stopping { drain, leave, cancel } = self.stopping.clone();
        let (cancelled, leaving) = (cancel.cancelled_owned().fuse(), leave.cancelled_owned().fuse());
        let draining = drain.cancelled_owned().fuse();
        tokio::pin!(sleep, cancelled, leaving, draining);
        loop {
            if let Some(reason) = self.act(observer) {
                return reason;
            }
            let deadline = self.call.poll_timeout().map(|(at, _): (CallTime, Timer)| self.clock.instant(at));
            if let Some(deadline) = deadline.filter(|deadline| *deadline != sleep.deadline()) {
                sleep.as_mut().reset(deadline);
            }
            let woken = match self.own.pop_front() {
                Some(input) => Woken::Input(input),
                None => tokio::select! {
                    biased;
                    () = &mut cancelled => Woken::Cancelled,
                    () = &mut leaving => Woken::Leaving,
                    () = &mut draining => Woken::Draining,
                    () = self.outbox.room() => Woken::Room,
                    () = passed(self.outbox.hopeless_at()) => Woken::Stalled,
                    Some(input) = inbox.next() => Woken::Input(input),
                    () = &mut sleep, if deadline.is_some() => Woken::Deadline,
                    Some(ended) = self.tasks.join_next() => Woken::Ended(ended),
                },
            };
            let now = self.clock.now();
            if let Some(taken) = self.taken(woken) {
                self.take(now, taken);
            }
            if now.since(self.absorbed_at) >= ABSORB_EVERY {
                self.absorb(now);
            }
        }
    }

    /// What the call has to be given after a wait.
    fn taken(&mut self, woken: Woken) -> Option<What> {
        let hang_up = || What::Input(Input { port: Port::Agent, body: Body::Agent(AgentEvent::HangUp) });
        match woken {
            Woken::Cancelled => Some(hang_up()),
            Woken::Leaving => Some(What::Leave),
            Woken::Draining => Some(What::Drain),
            Woken::Room => {
                self.outbox.refill();
                None
            }
            Woken::Stalled => {
                self.meter.limit(meter::Limit::SlowReader);
                tracing::warn!("the carrier takes too little; the call ends");
                Some(What::Input(Input { port: Port::Carrier, body: Body::Stuck }))
            }
            Woken::Input(input) => match input.port {
                Port::Voice { voice, link } if !self.links.is_live(voice, link) => None,
                Port::Hearing { link } if !self.hearing.is_live(link) => None,
                Port::App if !self.app.is_live() => None,
                Port::Voice { .. } | Port::Hearing { .. } | Port::App | Port::Carrier | Port::Agent => {
                    Some(What::Input(input))
                }
            },
            Woken::Deadline => Some(What::Wake),
            Woken::Ended(Err(error)) if error.is_panic() => {
                self.meter.panicked();
                tracing::error!("a task of the call panicked; the call ends");
                Some(hang_up())
            }
            Woken::Ended(_) => None,
        }
    }

    /// Gives the call what it has to take.
    fn take(&mut self, now: CallTime, taken: What) {
        if let What::Input(Input { port: Port::Carrier, body: Body::Oversize }) = taken {
            self.outbox.set_close_code(CLOSE_OVERSIZE);
        }
        let Some(event) = taken.event(&mut self.peers) else { return };
        self.note(&taken, &event);
        // Before the call takes it: should the call panic, the cause is on the tape.
        if let Some(tape) = &mut self.tape {
            tape.take(now, taken, &event);
        }
        if let Some(recording) = &mut self.recording {
            recording.take(now, &event, self.peers.carrier_stamp());
        }
        self.call.handle(now, event);
    }

    /// Whoever moves a link's messages takes note of what became of it.
    fn note(&mut self, taken: &What, event: &Event) {
        match (taken, event) {
            (What::Input(Input { port: Port::Voice { voice, .. }, .. }), Event::Tts(event)) => {
                self.links.note(*voice, event);
            }
            (_, Event::Hearing { link, event }) => self.hearing.note(*link, event),
            (_, Event::Agent(AgentEvent::Lost(fault))) => {
                tracing::warn!(reason = fault.reason, kind = ?fault.kind, "the link to the agent is down");
                self.app.lost();
            }
            _ => {}
        }
    }

    /// Carries out what the core wants, until it wants nothing more.
    fn act(&mut self, observer: &mut impl FnMut(CallTime, &AgentReport)) -> Option<EndReason> {
        let now = self.clock.now();
        loop {
            match self.call.poll_action()? {
                Action::Carrier(command) => self.tell_carrier(&command),
                Action::Tts(command) => {
                    if let TtsCommand::Speak { on, .. } = &command {
                        self.speaking.note(on.voice);
                    }
                    self.own.extend(self.links.tell(now, command, &mut self.peers, &mut self.tasks))
                }
                Action::Hearing(command) => {
                    self.own.extend(self.hearing.tell(&command, &mut self.peers, &mut self.tasks));
                }
                Action::Agent(report) => {
                    self.meter.observe(&report);
                    self.links.judge(&report);
                    self.own.extend(self.app.tell(now, &report, &mut self.peers));
                    if let (Some(tape), AgentReport::CallerSpeech(change)) = (&mut self.tape, &report) {
                        tape.heard(*change);
                    }
                    // Whoever is told of something finds it counted.
                    self.show();
                    observer(now, &report);
                }
                Action::End(reason) => {
                    self.absorb(now);
                    if let Some(tape) = &mut self.tape {
                        tape.ended(now, reason);
                    }
                    return Some(reason);
                }
            }
        }
    }

    fn tell_carrier(&mut self, command: &CarrierCommand) {
        match command {
            CarrierCommand::Media { late, .. } => {
                self.meter.sent(*late);
                self.lateness.observe(*late);
            }
            CarrierCommand::Clear { held } => self.meter.cleared(*held),
            CarrierCommand::Mark(_) => {}
        }
        if let Some(tape) = &mut self.tape {
            tape.sent(command);
        }
        if let Some(recording) = &mut self.recording {
            recording.sent(command);
        }
        let message = self.peers.carrier_message(command);
        self.outbox.push(command, message);
    }

    /// Brings what the core counted since the last time into the metrics, and before the eyes of those who watch.
    fn absorb(&mut self, now: CallTime) {
        let stats = *self.call.stats();
        self.meter.absorb(&self.absorbed, &stats);
        self.show();
        self.absorbed = stats;
        self.absorbed_at = now;
    }

    /// Shows the figures of the call to those who watch.
    fn show(&self) {
        self.notice.put(Figures { stats: *self.call.stats(), lateness: self.lateness });
    }

    /// Says goodbye on every socket. When this returns, every task of the call has ended.
    async fn leave(self) {
        let Driver { mut tasks, outbox, links, hearing, app, meter, tape, recording, .. } = self;
        let withdrawn = outbox.withdrawn();
        // Each pump ends when its outbox does, once the rest of it is written and the peer has closed as well.
        drop((outbox, links, hearing, app));
        // It is as long as the call, which is over.
        drop(recording);
        let goodbyes = async {
            while let Some(ended) = tasks.join_next().await {
                if ended.is_err_and(|error| error.is_panic()) {
                    meter.panicked();
                }
            }
        };
        let _ = timeout(CLOSE_LIMIT, goodbyes).await;
        tasks.shutdown().await;
        if let Some(tape) = tape {
            tape.finish(withdrawn.counts());
        }
    }
}

/// Waits for a moment, for ever if there is none.
async fn passed(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
