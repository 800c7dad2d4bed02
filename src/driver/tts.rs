//! The links to the voices: one task per link, made and dropped as the core says.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dial::Dialler;
use super::meter::Meter;
use super::{link, local, player, requests};
use crate::call::action::TtsCommand;
use crate::call::event::{TtsEvent, VoiceIndex};
use crate::dialect::{Body, Handshake, Input, Peers, Port, TtsDialect, TtsRequests};
use crate::http::Exchange;
use crate::ids::CallTime;
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
        /// How to get there.
        dialler: Arc<Dialler>,
    },
    /// By a request for each text, over HTTP.
    Requests {
        /// Its language.
        dialect: Arc<dyn TtsRequests>,
        /// Who carries the requests.
        exchange: Arc<dyn Exchange>,
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

/// A way to a voice, once its language has gone to the call's [`Peers`].
enum Way {
    Socket(Arc<Dialler>),
    Requests(Arc<dyn TtsRequests>, Arc<dyn Exchange>),
    Local(voice::Pool),
    /// Behind the voices: what plays clips.
    Player(Player, Arc<Meter>),
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
}

/// All links of a call.
pub(super) struct Links {
    links: Vec<Link>,
    inbox: mpsc::Sender<Input>,
}

impl Links {
    /// The links of a call, and the languages that are spoken on them, in the order of `voices`. The player, and where
    /// its clips are counted, stands behind them.
    pub(super) fn new(
        voices: Vec<VoiceLink>,
        (player, meter): (Player, Arc<Meter>),
        inbox: mpsc::Sender<Input>,
    ) -> (Self, Vec<Option<Box<dyn TtsDialect>>>) {
        let (ways, dialects): (Vec<_>, _) = voices.into_iter().map(VoiceLink::split).unzip();
        let ways = ways.into_iter().chain([Way::Player(player, meter)]);
        let links = ways.map(|way| Link { way, live: None, count: 0 }).collect();
        (Links { links, inbox }, dialects)
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
        if link.live.is_none() && matches!((&command, &link.way), (TtsCommand::Play { .. }, Way::Player(..))) {
            // Nobody dials the player: it is there, and most calls never need it.
            link.open(None, voice, inbox.clone(), tasks);
        }
        match command {
            TtsCommand::Dial { .. } => {
                link.open(peers.dial_voice(voice), voice, inbox, tasks);
                None
            }
            TtsCommand::HangUp { .. } => {
                link.live = None;
                None
            }
            TtsCommand::Reserve { context, .. } => {
                let port = Port::Voice { voice, link: link.count };
                Some(Input { port, body: Body::Voice(TtsEvent::Granted { context }) })
            }
            TtsCommand::Speak { .. }
            | TtsCommand::Flush { .. }
            | TtsCommand::Finish { .. }
            | TtsCommand::Play { .. }
            | TtsCommand::Cancel { .. } => {
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
        match event {
            TtsEvent::Down { fault, .. } => {
                // Said here and not in the core: the reason is for the operator, and holds nothing of the call.
                tracing::warn!(voice, reason = fault.reason, kind = ?fault.kind, "the link to the voice is down");
                if let Some(link) = self.links.get_mut(voice) {
                    link.live = None;
                }
            }
            TtsEvent::Failed { fault, .. } if voice + 1 == self.links.len() => {
                tracing::warn!(reason = fault.reason, kind = ?fault.kind, "a clip cannot be played");
            }
            TtsEvent::Failed { fault, .. } => {
                tracing::warn!(voice, reason = fault.reason, kind = ?fault.kind, "the voice refused");
            }
            TtsEvent::Up { .. }
            | TtsEvent::Audio { .. }
            | TtsEvent::TimedAudio { .. }
            | TtsEvent::Words { .. }
            | TtsEvent::Spoken { .. }
            | TtsEvent::Granted { .. }
            | TtsEvent::Done { .. }
            | TtsEvent::Ignored
            | TtsEvent::Garbage => {}
        }
    }
}

impl Link {
    fn open(
        &mut self,
        handshake: Option<Handshake>,
        voice: VoiceIndex,
        inbox: mpsc::Sender<Input>,
        tasks: &mut JoinSet<()>,
    ) {
        self.count += 1;
        self.live = self.way.open(handshake, Port::Voice { voice, link: self.count }, inbox, tasks);
    }
}

impl VoiceLink {
    fn split(self) -> (Way, Option<Box<dyn TtsDialect>>) {
        match self {
            VoiceLink::Socket { dialect, dialler } => (Way::Socket(dialler), Some(dialect)),
            VoiceLink::Requests { dialect, exchange } => (Way::Requests(dialect, exchange), None),
            VoiceLink::Local(pool) => (Way::Local(pool), None),
        }
    }
}

impl Way {
    /// Makes the link; `None` if a socket's dialect is missing, which [`VoiceLink::split`] rules out.
    fn open(
        &self,
        handshake: Option<Handshake>,
        port: Port,
        inbox: mpsc::Sender<Input>,
        tasks: &mut JoinSet<()>,
    ) -> Option<Live> {
        match self {
            Way::Socket(dialler) => {
                let live = link::Live::open(handshake?, dialler.clone(), port, inbox, OUTBOX_MESSAGES, tasks);
                Some(Live::Socket(live))
            }
            Way::Requests(dialect, exchange) => {
                let voice = (dialect.clone(), exchange.clone());
                Some(Live::serve(|commands| requests::serve(voice, port, inbox, commands), tasks))
            }
            Way::Local(pool) => {
                let pool = pool.clone();
                Some(Live::serve(|commands| local::serve(pool, port, inbox, commands), tasks))
            }
            Way::Player(player, meter) => {
                let (player, meter) = (player.clone(), meter.clone());
                Some(Live::serve(|commands| player::serve(player, meter, port, inbox, commands), tasks))
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
mod tests {
    use super::*;
    use crate::dialect::fault_of_close;
    use crate::dialect::twilio::Twilio;

    fn player() -> (Player, Arc<Meter>) {
        (Player::new(crate::player::Settings::default()).unwrap(), Arc::default())
    }

    #[tokio::test]
    async fn the_last_words_of_a_dropped_link_are_not_its_successors() {
        let (inbox, _held) = mpsc::channel(8);
        let pool = voice::Pool::new(voice::Settings::default());
        let (mut links, dialects) = Links::new(vec![VoiceLink::Local(pool)], player(), inbox);
        let (mut peers, mut tasks) = (Peers::new(Box::<Twilio>::default(), dialects), JoinSet::new());
        assert!(!links.is_live(0, 0));
        links.tell(CallTime::ZERO, TtsCommand::Dial { voice: 0 }, &mut peers, &mut tasks);
        assert!(links.is_live(0, 1));
        links.tell(CallTime::ZERO, TtsCommand::HangUp { voice: 0 }, &mut peers, &mut tasks);
        assert!(!links.is_live(0, 1));
        links.tell(CallTime::ZERO, TtsCommand::Dial { voice: 0 }, &mut peers, &mut tasks);
        assert!(!links.is_live(0, 1) && links.is_live(0, 2));
        // The end of a link is told once.
        links.note(0, &TtsEvent::Down { voice: 0, fault: fault_of_close(Some(1011), "") });
        assert!(!links.is_live(0, 2));
        while tasks.join_next().await.is_some() {}
    }
}
