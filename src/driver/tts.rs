//! The links to the voices: one task per link, made and dropped as the core says.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::account::{Account, Leases, Urgency};
use super::meter::Meter;
use super::phrases::{self, Phrases};
use super::{link, local, player, requests};
use crate::call::action::{AgentReport, TtsCommand};
use crate::call::event::{Fault, FaultKind, TtsEvent, VoiceIndex};
use crate::dialect::{Body, Handshake, Input, Peers, Port, TtsDialect, TtsRequests};
use crate::http::Exchange;
use crate::ids::{CallTime, ContextId};
use crate::player::Player;
use crate::voice;

/// Messages that may wait for a voice's socket. The core holds text back when 20 s of a turn are unheard, and two turns are
/// synthesised at once, so that even one token for each letter does not fill this while the socket takes anything.
const OUTBOX_MESSAGES: usize = 1024;
/// How a voice is reached.
pub enum VoiceLink {
    /// Over a WebSocket.
    Socket {
        /// Its language, with this call's names in it.
        dialect: Box<dyn TtsDialect>,
        /// How to get there, and what all calls share of it.
        account: Arc<Account>,
    },
    /// By a request for each text, over HTTP.
    Requests {
        /// Its language.
        dialect: Arc<dyn TtsRequests>,
        /// Who carries the requests.
        exchange: Arc<dyn Exchange>,
        /// What all calls share of it.
        account: Arc<Account>,
    },
    /// In this process.
    Local(voice::Pool),
}

impl std::fmt::Debug for VoiceLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            VoiceLink::Socket { .. } => "Socket",
            VoiceLink::Requests { .. } => "Requests",
            VoiceLink::Local(_) => "Local",
        })
    }
}

/// What is asked, and who carries it.
type Requested = (Arc<dyn TtsRequests>, Arc<dyn Exchange>);

/// A way to a voice, once its language has gone to the call's [`Peers`].
enum Way {
    Socket(Arc<Account>),
    Requests(Requested, Arc<Account>),
    Local(voice::Pool),
    /// Behind the voices: what plays clips.
    Player(Player, Arc<Meter>),
    /// Behind the player, one for each voice: what it has spoken before.
    Phrases(Phrases, VoiceIndex),
}

/// The live end of a link.
enum Live {
    Socket(link::Live),
    /// A task that takes the core's own commands.
    Local {
        outbox: mpsc::Sender<TtsCommand>,
        _leave: DropGuard,
    },
}

struct Link {
    way: Way,
    live: Option<Live>,
    /// Counts the links to this voice.
    count: u32,
    /// The account's contexts that it has or waits for.
    leases: Leases,
    standing: Standing,
}

/// What is known of the live link that tells whether the voice is well.
#[derive(Default)]
struct Standing {
    is_up: bool,
    /// The context that was heard last.
    heard: Option<ContextId>,
    /// The fault that the call is about to report is known to the account.
    is_blamed: bool,
}

/// All links of a call.
pub(super) struct Links {
    links: Vec<Link>,
    /// The last voice of the chain.
    last: VoiceIndex,
    inbox: mpsc::Sender<Input>,
}

impl Links {
    /// The links of a call, and the languages that are spoken on them, in the order of `voices`, the first `chain` of which
    /// are the chain. Behind them stands the player, and behind that what each of them has spoken before; `meter` is where
    /// clips are counted.
    pub(super) fn new(
        voices: Vec<VoiceLink>,
        chain: usize,
        (player, phrases, meter): (Player, &Phrases, Arc<Meter>),
        inbox: mpsc::Sender<Input>,
    ) -> (Self, Vec<Option<Box<dyn TtsDialect>>>) {
        let (mut links, dialects) = Links::to_voices(voices, chain, inbox);
        let spoken = (0..dialects.len()).map(|voice| Way::Phrases(phrases.clone(), voice));
        links.links.extend([Way::Player(player, meter)].into_iter().chain(spoken).map(Link::new));
        (links, dialects)
    }

    /// Links to voices and to nobody else.
    pub(super) fn to_voices(
        voices: Vec<VoiceLink>,
        chain: usize,
        inbox: mpsc::Sender<Input>,
    ) -> (Self, Vec<Option<Box<dyn TtsDialect>>>) {
        let (ways, dialects): (Vec<_>, _) = voices.into_iter().map(VoiceLink::split).unzip();
        let links = ways.into_iter().map(Link::new).collect();
        (Links { links, last: chain.saturating_sub(1), inbox }, dialects)
    }

    /// Carries out a command. What comes back at once is the answer to it.
    pub(super) fn tell(
        &mut self,
        now: CallTime,
        command: TtsCommand,
        peers: &mut Peers,
        tasks: &mut JoinSet<()>,
    ) -> Option<Input> {
        let voice = command.voice();
        let inbox = self.inbox.clone();
        let link = self.links.get_mut(voice)?;
        if link.live.is_none() && link.way.is_opened_by(&command) {
            // Nobody dials it: it is there, and most calls never need it.
            link.open(None, voice, inbox.clone(), tasks);
        }
        match command {
            TtsCommand::Dial { .. } => {
                link.open(peers.dial_voice(voice), voice, inbox, tasks);
                None
            }
            TtsCommand::HangUp { .. } => {
                link.close();
                None
            }
            TtsCommand::Reserve { context, within, ahead, .. } => {
                let port = Port::Voice { voice, link: link.count };
                let urgency = Urgency { ahead, due: Instant::now() + within };
                link.leases.reserve(context, urgency, (port, inbox), tasks)
            }
            TtsCommand::Speak { .. }
            | TtsCommand::Flush { .. }
            | TtsCommand::Finish { .. }
            | TtsCommand::Play { .. }
            | TtsCommand::Cancel { .. } => {
                link.leases.follow(&command);
                let is_taken = match link.live.as_ref()? {
                    Live::Local { outbox, .. } => outbox.try_send(command).is_ok(),
                    Live::Socket(live) => {
                        let mut is_taken = true;
                        peers.voice_messages(now, &command, &mut |message| is_taken &= live.send(message));
                        is_taken
                    }
                };
                let port = Port::Voice { voice, link: link.count };
                (!is_taken).then_some(Input { port, body: Body::Stuck })
            }
        }
    }

    /// Whether what comes from a link is still wanted: not if it was dropped.
    pub(super) fn is_live(&self, voice: VoiceIndex, count: u32) -> bool {
        self.links.get(voice).is_some_and(|link| link.count == count && link.live.is_some())
    }

    /// Takes note of what a voice said.
    pub(super) fn note(&mut self, voice: VoiceIndex, event: &TtsEvent) {
        let Some(link) = self.links.get_mut(voice) else { return };
        match event {
            TtsEvent::Down { fault, .. } => {
                // Said here and not in the core: the reason is for the operator, and holds nothing of the call.
                tracing::warn!(voice, reason = fault.reason, kind = ?fault.kind, "the link to the voice is down");
                link.note_end(fault);
            }
            TtsEvent::Failed { fault, .. } if matches!(link.way, Way::Player(..)) => {
                tracing::warn!(reason = fault.reason, kind = ?fault.kind, "a clip cannot be played");
            }
            // Counted where it was looked for.
            TtsEvent::Failed { .. } if matches!(link.way, Way::Phrases(..)) => {}
            TtsEvent::Failed { context, fault } => {
                tracing::warn!(voice, reason = fault.reason, kind = ?fault.kind, "the voice refused");
                link.note_failure(*context, fault);
            }
            TtsEvent::Audio { context, .. } | TtsEvent::TimedAudio { context, .. } => link.note_audio(*context),
            TtsEvent::Done { context } => link.leases.end(*context),
            TtsEvent::Up { .. } => link.standing = Standing { is_up: true, ..Standing::default() },
            TtsEvent::Words { .. }
            | TtsEvent::Spoken { .. }
            | TtsEvent::Granted { .. }
            | TtsEvent::Ignored
            | TtsEvent::Garbage => {}
        }
    }

    /// Takes note of what the call makes of its voices: a voice that stalls says nothing of it itself.
    pub(super) fn judge(&mut self, report: &AgentReport) {
        let (link, fault) = if let AgentReport::FailedOver { from, fault, .. } = report {
            let is_it = |link: &&mut Link| link.leases.account().is_some_and(|account| account.voice() == from);
            (self.links.iter_mut().find(is_it), fault)
        } else if let AgentReport::SpeechFailed { fault, .. } = report {
            (self.links.get_mut(self.last), fault)
        } else {
            return;
        };
        let Some(link) = link else { return };
        // What was known already is not counted twice, and what an agent asked for in vain is not the voice's fault.
        if !std::mem::take(&mut link.standing.is_blamed) && fault.kind == FaultKind::Retryable {
            link.blame();
        }
    }
}

impl Link {
    fn new(way: Way) -> Self {
        let account = match &way {
            Way::Socket(account) | Way::Requests(_, account) => Some(account.clone()),
            Way::Local(_) | Way::Player(..) | Way::Phrases(..) => None,
        };
        Link { way, live: None, count: 0, leases: Leases::new(account), standing: Standing::default() }
    }

    fn open(
        &mut self,
        handshake: Option<Handshake>,
        voice: VoiceIndex,
        inbox: mpsc::Sender<Input>,
        tasks: &mut JoinSet<()>,
    ) {
        self.close();
        self.count += 1;
        self.live = self.way.open(handshake, Port::Voice { voice, link: self.count }, inbox, tasks);
    }
}

impl Link {
    /// Nothing more is said on it or heard from it.
    fn close(&mut self) {
        self.live = None;
        self.leases.clear();
        self.standing.is_up = false;
    }

    fn note_end(&mut self, fault: &Fault) {
        // A dial that failed is known to the account, and so is a vendor that closes idle links.
        let is_silent = self.standing.is_up && self.standing.heard.is_none() && fault.kind != FaultKind::Idle;
        self.close();
        self.standing.is_blamed = true;
        if is_silent {
            self.blame();
        }
    }

    fn note_failure(&mut self, context: Option<ContextId>, fault: &Fault) {
        match fault.kind {
            FaultKind::Busy => {
                if let Some(account) = self.leases.account() {
                    account.refused_context();
                }
            }
            FaultKind::Retryable => self.blame(),
            // A voice or a model that there is not, by the agent's or the operator's mistake; or nothing to speak of.
            FaultKind::Fatal | FaultKind::Idle => {}
        }
        self.standing.is_blamed = true;
        if let Some(context) = context {
            self.leases.end(context);
        }
    }

    fn note_audio(&mut self, context: ContextId) {
        self.standing.is_blamed = false;
        // Once for each context: audio comes many times a second.
        if self.standing.heard.replace(context) != Some(context)
            && let Some(account) = self.leases.account()
        {
            account.spoke();
        }
    }

    fn blame(&self) {
        if let Some(account) = self.leases.account() {
            account.fell_silent();
        }
    }
}

impl VoiceLink {
    fn split(self) -> (Way, Option<Box<dyn TtsDialect>>) {
        match self {
            VoiceLink::Socket { dialect, account } => (Way::Socket(account), Some(dialect)),
            VoiceLink::Requests { dialect, exchange, account } => (Way::Requests((dialect, exchange), account), None),
            VoiceLink::Local(pool) => (Way::Local(pool), None),
        }
    }
}

impl Way {
    /// Whether a command opens the link, because nobody dials it.
    fn is_opened_by(&self, command: &TtsCommand) -> bool {
        match self {
            Way::Player(..) => matches!(command, TtsCommand::Play { .. }),
            Way::Phrases(..) => matches!(command, TtsCommand::Speak { .. }),
            Way::Socket(_) | Way::Requests(..) | Way::Local(_) => false,
        }
    }

    /// Makes the link; `None` if a socket's dialect is missing, which [`VoiceLink::split`] rules out.
    fn open(
        &self,
        handshake: Option<Handshake>,
        port: Port,
        inbox: mpsc::Sender<Input>,
        tasks: &mut JoinSet<()>,
    ) -> Option<Live> {
        match self {
            Way::Socket(account) => {
                let live = link::Live::open(handshake?, account.clone(), port, inbox, OUTBOX_MESSAGES, tasks);
                Some(Live::Socket(live))
            }
            Way::Requests(voice, account) => {
                let (voice, admitted) = (voice.clone(), account.admit());
                let serving = |commands| async move {
                    match admitted {
                        // Nothing is dialled: a probe waits for the first audio.
                        Ok(_probe) => requests::serve(voice, port, inbox, commands).await,
                        // When the call is over there is nobody to tell.
                        Err(refusal) => drop(inbox.send(Input { port, body: Body::Refused(refusal) }).await),
                    }
                };
                Some(Live::serve(serving, tasks))
            }
            Way::Local(pool) => {
                let pool = pool.clone();
                Some(Live::serve(|commands| local::serve(pool, port, inbox, commands), tasks))
            }
            Way::Player(player, meter) => {
                let (player, meter) = (player.clone(), meter.clone());
                Some(Live::serve(|commands| player::serve(player, meter, port, inbox, commands), tasks))
            }
            Way::Phrases(phrases, voice) => {
                let (phrases, voice) = (phrases.clone(), *voice);
                Some(Live::serve(|commands| phrases::serve(phrases, voice, port, inbox, commands), tasks))
            }
        }
    }
}

impl Live {
    /// A link within this process, served until it is dropped.
    fn serve<F>(serving: impl FnOnce(mpsc::Receiver<TtsCommand>) -> F, tasks: &mut JoinSet<()>) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let leave = CancellationToken::new();
        let (outbox, pending) = mpsc::channel(OUTBOX_MESSAGES);
        let (serving, left) = (Box::pin(serving(pending)), leave.clone());
        tasks.spawn(async move {
            left.run_until_cancelled(serving).await;
        });
        Live::Local { outbox, _leave: leave.drop_guard() }
    }
}

#[cfg(test)]
mod tests;
