//! The link to an agent outside this process: dialled when the call begins, and never again.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::dial::Dialler;
use super::link::Live;
use crate::call::action::AgentReport;
use crate::dialect::{AgentDialect, Body, Input, Peers, Port};
use crate::ids::CallTime;

/// Messages that may wait for the socket. Reports come with words and turns, not with frames.
const OUTBOX_MESSAGES: usize = 256;

/// How an agent outside this process is reached.
pub struct AppLink {
    /// Its language, with this call's names in it.
    pub dialect: Box<dyn AgentDialect>,
    /// How to get there.
    pub dialler: Arc<Dialler>,
}

impl std::fmt::Debug for AppLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AppLink")
    }
}

/// The link, if the agent is outside this process.
pub(super) struct App {
    live: Option<Live>,
}

impl App {
    /// Dials the agent that `peers` know of, if there is one.
    pub(super) fn open(
        dialler: Option<Arc<Dialler>>,
        peers: &Peers,
        inbox: mpsc::Sender<Input>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let way = dialler.zip(peers.agent_handshake());
        let live =
            way.map(|(dialler, handshake)| Live::open(handshake, dialler, Port::App, inbox, OUTBOX_MESSAGES, tasks));
        App { live }
    }

    /// Tells the agent what happened at a moment. What comes back at once is the answer to it.
    pub(super) fn tell(&mut self, at: CallTime, report: &AgentReport, peers: &mut Peers) -> Option<Input> {
        let live = self.live.as_ref()?;
        let mut is_taken = true;
        peers.agent_messages(at, report, &mut |message| is_taken &= live.send(message));
        (!is_taken).then_some(Input { port: Port::App, body: Body::Stuck })
    }

    /// Whether what comes from the agent is still wanted.
    pub(super) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// The link is down.
    pub(super) fn lost(&mut self) {
        self.live = None;
    }
}
