//! The account with one provider, shared by all calls of a node: what no call can know by itself.
//!
//! A dial passes the circuit breaker, takes over a warm socket if there is one, takes a seat among the account's sockets and
//! waits for the pace of dialling; a context waits for one of the account's slots. Every place is held by a guard, so that
//! it is free again in whichever way a link or a call ends. The lock is held for a few steps of plain state, never across
//! an await.

mod breaker;
mod ceiling;
mod hold;
mod jitter;
mod lease;
mod pace;
mod slots;
mod view;
mod warm;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

pub use breaker::Condition;
pub(super) use hold::{Hold, Probe};
pub(super) use lease::Leases;
pub use slots::{Grant, Request, Slots, Urgency};
pub use view::{Use, View};

use super::connect::Connect;
use super::dial::Dialler;
use super::link::Line;
use super::meter::{AccountMeter, Meter, Refused, Spared};
use crate::dialect::{Handshake, Refusal};
use breaker::{Admission, Breaker, Part};
use ceiling::Ceiling;
use hold::{Seat, Ticket};
use jitter::Jitter;
use pace::Pace;
use warm::Pool;

/// How long a dial waits for its turn where another voice can speak meanwhile. Going on with that one costs the caller
/// about as much.
const PATIENCE: Duration = Duration::from_millis(500);
/// The same where nobody else can: less than the silence after which the core apologises.
const PATIENCE_LAST: Duration = Duration::from_millis(2_500);

/// Who speaks when this voice cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// The next voice of the chain: an open breaker spares every dial.
    Followed,
    /// Nobody: the breaker only watches, since a try that fails costs no more than an apology.
    Last,
}

/// What an account is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the voice in reports and metrics.
    pub voice: Cow<'static, str>,
    /// Contexts at once in all calls; `None`: any number.
    pub max_contexts: Option<u32>,
    /// Sockets at once in all calls, warm ones included; `None`: any number.
    pub max_sockets: Option<u32>,
    /// Sockets kept open for the next calls.
    pub warm: u32,
    /// A warm socket is replaced before it is so old: the provider closes idle ones.
    pub warm_age: Duration,
    /// Who speaks when this voice cannot.
    pub succession: Succession,
    /// Where the jitter begins: another one in each process.
    pub seed: u64,
}

impl Settings {
    /// An account without limits.
    pub fn plain(voice: impl Into<Cow<'static, str>>) -> Self {
        Settings {
            voice: voice.into(),
            max_contexts: None,
            max_sockets: None,
            warm: 0,
            warm_age: Duration::from_secs(200),
            succession: Succession::Last,
            seed: 0,
        }
    }
}

struct State {
    breaker: Breaker,
    sockets: u32,
    sockets_max: Ceiling,
    slots: Slots,
    /// Whom to tell of a grant.
    told: BTreeMap<Request, oneshot::Sender<()>>,
}

/// The account with one provider.
pub struct Account {
    settings: Settings,
    dialler: Arc<Dialler>,
    state: Mutex<State>,
    pace: Pace,
    jitter: Jitter,
    pool: Pool,
    meter: Arc<AccountMeter>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Account {
    /// An account that nobody uses yet, reached by `dialler` and counted in `meter`.
    pub fn new(settings: Settings, dialler: Arc<Dialler>, meter: &Meter) -> Arc<Self> {
        let meter = Arc::new(meter.account(&settings.voice));
        Account::with(settings, dialler, meter)
    }

    fn with(settings: Settings, dialler: Arc<Dialler>, meter: Arc<AccountMeter>) -> Arc<Self> {
        let state = State {
            breaker: Breaker::new(settings.seed),
            sockets: 0,
            sockets_max: Ceiling::new(settings.max_sockets),
            slots: Slots::new(settings.max_contexts),
            told: BTreeMap::new(),
        };
        let account = Account {
            dialler,
            state: Mutex::new(state),
            pace: Pace::new(),
            jitter: Jitter::new(settings.seed),
            pool: Pool::default(),
            meter,
            settings,
        };
        let state = account.state();
        account.show_slots(&state, Instant::now());
        account.show_sockets(&state, Instant::now());
        drop(state);
        Arc::new(account)
    }

    /// An account of the same settings over connections that `connect` makes, in place of TCP. Nothing of it is in use.
    #[must_use]
    pub fn over(&self, connect: Arc<dyn Connect>) -> Arc<Self> {
        let dialler = Dialler::clone(&self.dialler).over(connect);
        Account::with(self.settings.clone(), Arc::new(dialler), self.meter.clone())
    }

    /// Name of the voice.
    pub fn voice(&self) -> &str {
        &self.settings.voice
    }

    /// Whether sockets are to be kept warm.
    pub fn wants_warm(&self) -> bool {
        self.settings.warm > 0
    }

    /// Makes a link for a call, or takes a warm one over. Dropped, nothing is held.
    pub(super) async fn dial(self: &Arc<Self>, handshake: Handshake) -> Result<Line, Refusal> {
        let probe = self.admit()?;
        // A probe dials: that a warm socket can be taken over says nothing about the provider.
        if probe.is_none()
            && let Some(line) = self.pool.adopt(&handshake).await
        {
            self.meter.adopted();
            return Ok(line);
        }
        let patience = match self.settings.succession {
            Succession::Followed => PATIENCE,
            Succession::Last => PATIENCE_LAST,
        };
        self.dial_anew(handshake, probe, patience).await
    }

    async fn dial_anew(
        self: &Arc<Self>,
        handshake: Handshake,
        probe: Option<Probe>,
        patience: Duration,
    ) -> Result<Line, Refusal> {
        let seat = self.seat()?;
        if !self.pace.wait(patience, &self.jitter).await {
            return Err(self.spare(Spared::Pace, "too many dials at once"));
        }
        match Box::pin(self.dialler.dial(handshake)).await {
            Ok(socket) => {
                self.succeeded(Part::Dial);
                Ok(Line { socket, early: Vec::new(), hold: Some(Hold::new(seat, probe)) })
            }
            Err(refusal) => {
                if refusal == Refusal::Status(429) {
                    self.refused_socket();
                }
                self.failed(Part::Dial);
                Err(refusal)
            }
        }
    }

    /// Audio came: the voice speaks.
    pub(super) fn spoke(&self) {
        self.succeeded(Part::Speech);
    }

    /// A link or a context failed on which speech was due.
    pub(super) fn fell_silent(&self) {
        self.failed(Part::Speech);
    }

    /// The provider refused a context because there were too many.
    pub(super) fn refused_context(&self) {
        let (mut state, now) = (self.state(), Instant::now());
        state.slots.refused(now);
        self.meter.refused(Refused::Context);
        self.show_slots(&state, now);
        tracing::warn!(voice = self.voice(), limit = state.slots.limit(now), "too many contexts for the provider");
    }

    fn refused_socket(&self) {
        let (mut state, now) = (self.state(), Instant::now());
        let in_use = state.sockets;
        state.sockets_max.lower(now, in_use);
        self.meter.refused(Refused::Socket);
        self.show_sockets(&state, now);
        tracing::warn!(voice = self.voice(), limit = state.sockets_max.at(now), "too many sockets for the provider");
    }

    /// Whether one may dial, past the breaker.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Option<Probe>, Refusal> {
        let mut state = self.state();
        let admission = state.breaker.admit(Instant::now());
        self.show_breaker(&state);
        drop(state);
        match (admission, self.settings.succession) {
            (Admission::Free, _) | (Admission::Refused, Succession::Last) => Ok(None),
            (Admission::Probe(number), _) => Ok(Some(Probe::new(self.clone(), number))),
            (Admission::Refused, Succession::Followed) => {
                Err(self.spare(Spared::Breaker, "it failed too often of late"))
            }
        }
    }

    /// A place among the account's sockets.
    fn seat(self: &Arc<Self>) -> Result<Seat, Refusal> {
        let (mut state, now) = (self.state(), Instant::now());
        if !state.sockets_max.has_room(now, state.sockets) {
            drop(state);
            return Err(self.spare(Spared::Sockets, "all sockets of the account are in use"));
        }
        state.sockets += 1;
        self.show_sockets(&state, now);
        drop(state);
        Ok(Seat::new(self.clone()))
    }

    /// Asks for a slot. Who has to wait is told through the receiver.
    fn ask(self: &Arc<Self>, urgency: Urgency) -> (Ticket, Option<oneshot::Receiver<()>>) {
        let (mut state, now) = (self.state(), Instant::now());
        let request = state.slots.ask(now, urgency);
        let (tell, mut told) = oneshot::channel();
        state.told.insert(request, tell);
        self.share_out(&mut state, now);
        drop(state);
        let is_granted = told.try_recv().is_ok();
        (Ticket::new(self.clone(), request), (!is_granted).then_some(told))
    }

    fn urge(&self, request: Request, urgency: Urgency) {
        self.state().slots.urge(request, urgency);
    }

    /// Gives what is free to those who wait.
    fn share_out(&self, state: &mut State, now: Instant) {
        while let Some(grant) = state.slots.grant(now) {
            self.meter.waited(grant.waited);
            // Whoever is gone meanwhile gives the slot back with the ticket.
            let _ = state.told.remove(&grant.request).map(|tell| tell.send(()));
        }
        self.show_slots(state, now);
    }

    fn spare(&self, why: Spared, words: &str) -> Refusal {
        self.meter.spared(why);
        Refusal::Spared(words.to_owned())
    }

    fn succeeded(&self, part: Part) {
        let mut state = self.state();
        let before = state.breaker.condition();
        state.breaker.succeed(part);
        if before != Condition::Closed && state.breaker.condition() == Condition::Closed {
            tracing::info!(voice = self.voice(), "the voice is back: its breaker closes");
        }
        self.show_breaker(&state);
    }

    fn failed(&self, part: Part) {
        let mut state = self.state();
        if state.breaker.fail(Instant::now(), part) {
            self.meter.opened();
            tracing::warn!(voice = self.voice(), ?part, "the voice keeps failing: its breaker opens");
        }
        self.show_breaker(&state);
    }

    fn show_breaker(&self, state: &State) {
        self.meter.breaker(match state.breaker.condition() {
            Condition::Closed => 0,
            Condition::HalfOpen => 1,
            Condition::Open => 2,
        });
    }

    fn show_slots(&self, state: &State, now: Instant) {
        self.meter.contexts(state.slots.in_use(), state.slots.waiting(), state.slots.limit(now));
    }

    fn show_sockets(&self, state: &State, now: Instant) {
        self.meter.sockets(state.sockets, state.sockets_max.at(now));
    }

    /// Whatever happened to those who held the lock before: each change under it is whole by itself.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
