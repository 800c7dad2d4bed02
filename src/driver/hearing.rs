//! The links to whoever writes down what the caller says: made, fed and dropped as the core says.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::dial::Dialler;
use super::link::Live;
use super::meter::Meter;
use crate::call::action::HearingCommand;
use crate::call::event::{HearingEvent, LinkNumber};
use crate::dialect::{Body, Input, Peers, Port, SttDialect};

/// Messages that may wait for the socket: five seconds of audio in 20 ms pieces. The core keeps what a link that is not up
/// yet has to be given.
const OUTBOX_MESSAGES: usize = 256;

/// How what the caller says is written down.
pub struct HearingLink {
    /// Its language.
    pub dialect: Box<dyn SttDialect>,
    /// How to get there.
    pub dialler: Arc<Dialler>,
}

impl std::fmt::Debug for HearingLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HearingLink")
    }
}

/// The live links of a call.
pub(super) struct Hearing {
    dialler: Option<Arc<Dialler>>,
    live: Vec<(LinkNumber, Live)>,
    /// One was lost and not replaced yet.
    is_lost: bool,
    inbox: mpsc::Sender<Input>,
    meter: Arc<Meter>,
}

impl Hearing {
    /// No link yet, and the language that will be spoken.
    pub(super) fn new(
        link: Option<HearingLink>,
        inbox: mpsc::Sender<Input>,
        meter: Arc<Meter>,
    ) -> (Self, Option<Box<dyn SttDialect>>) {
        let (dialler, dialect) = link.map(|link| (link.dialler, link.dialect)).unzip();
        (Hearing { dialler, live: Vec::new(), is_lost: false, inbox, meter }, dialect)
    }

    /// Carries out a command. What comes back at once is the answer to it.
    pub(super) fn tell(
        &mut self,
        command: &HearingCommand,
        peers: &mut Peers,
        tasks: &mut JoinSet<()>,
    ) -> Option<Input> {
        let link = command.link();
        let port = Port::Hearing { link };
        match command {
            HearingCommand::Dial { language, .. } => {
                let handshake = peers.dial_hearing(link, language.as_deref())?;
                let dialler = self.dialler.clone()?;
                if std::mem::take(&mut self.is_lost) {
                    self.meter.hearing_again();
                }
                self.live
                    .push((link, Live::open(handshake, dialler, port, self.inbox.clone(), OUTBOX_MESSAGES, tasks)));
            }
            HearingCommand::HangUp { .. } => {
                self.live.retain(|(number, _)| *number != link);
                return None;
            }
            HearingCommand::Audio { .. }
            | HearingCommand::Finalise { .. }
            | HearingCommand::KeepAlive { .. }
            | HearingCommand::Close { .. } => {}
        }
        let (_, live) = self.live.iter().find(|(number, _)| *number == link)?;
        let mut is_taken = true;
        peers.hearing_messages(command, &mut |message| is_taken &= live.send(message));
        (!is_taken).then_some(Input { port, body: Body::Stuck })
    }

    /// Whether what comes from a link is still wanted: not if it was dropped.
    pub(super) fn is_live(&self, link: LinkNumber) -> bool {
        self.live.iter().any(|(number, _)| *number == link)
    }

    /// Takes note of what came on a link.
    pub(super) fn note(&mut self, link: LinkNumber, event: &HearingEvent) {
        match event {
            HearingEvent::Down(fault) => {
                tracing::warn!(link, reason = fault.reason, kind = ?fault.kind, "a link for hearing is down");
                self.is_lost = true;
                self.live.retain(|(number, _)| *number != link);
            }
            HearingEvent::Failed(fault) => {
                tracing::warn!(link, reason = fault.reason, kind = ?fault.kind, "hearing was refused something");
            }
            HearingEvent::Up
            | HearingEvent::Heard(_)
            | HearingEvent::Finalised
            | HearingEvent::Ignored
            | HearingEvent::Garbage => {}
        }
    }
}
