//! One call without sockets: what it takes goes in, what it sends comes out, and time is an argument.

use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::call::action::{Action, AgentReport, CarrierCommand, EndReason, TtsCommand};
use crate::call::event::VoiceIndex;
use crate::call::stats::Stats;
use crate::dialect::Peers;
use crate::ids::CallTime;
use crate::tape::{Audio, Digest, Header, What};

/// What a call sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// A text frame to the carrier.
    Carrier(String),
    /// Something to a voice.
    Voice {
        /// Which.
        voice: VoiceIndex,
        /// What.
        #[serde(flatten)]
        what: ToVoice,
    },
    /// A report to the agent.
    Agent(AgentReport),
    /// The call is over.
    End(EndReason),
}

/// What is sent to a voice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToVoice {
    /// The link is made.
    Dial,
    /// The link is dropped.
    HangUp,
    /// A text frame.
    Text(String),
    /// A command to a voice of this process.
    Command(TtsCommand),
}

/// One call, its peers' languages, and no IO.
pub struct Session {
    call: Call,
    peers: Peers,
    audio: Audio,
    digest: Digest,
}

impl Session {
    /// A call as it was when it was accepted.
    pub fn new(header: &Header) -> Self {
        let call = Call::new(header.settings.clone());
        Session { call, peers: header.peers(), audio: header.audio, digest: Digest::default() }
    }

    /// Takes one thing at its time and tells everything that the call sends because of it, in order.
    pub fn take(&mut self, now: CallTime, what: &What, mut tell: impl FnMut(Sent)) {
        if let Some(event) = what.event(&mut self.peers) {
            self.call.handle(now, event);
        }
        while let Some(action) = self.call.poll_action() {
            if let Some(sent) = self.carry_out(action) {
                tell(sent);
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<Sent> {
        match action {
            Action::Carrier(command) => Some(self.tell_carrier(&command)),
            Action::Tts(command) => self.tell_voice(command),
            Action::Agent(report) => Some(Sent::Agent(report)),
            Action::End(reason) => Some(Sent::End(reason)),
        }
    }

    fn tell_carrier(&mut self, command: &CarrierCommand) -> Sent {
        self.digest.take(command, self.audio);
        Sent::Carrier(self.peers.carrier_message(command))
    }

    fn tell_voice(&mut self, command: TtsCommand) -> Option<Sent> {
        let voice = command.voice();
        let what = match &command {
            TtsCommand::Dial { .. } => ToVoice::Dial,
            TtsCommand::HangUp { .. } => ToVoice::HangUp,
            TtsCommand::Speak { .. }
            | TtsCommand::Flush { .. }
            | TtsCommand::Finish { .. }
            | TtsCommand::Cancel { .. } => match self.peers.is_remote(voice) {
                true => ToVoice::Text(self.peers.voice_message(&command)?),
                false => ToVoice::Command(command),
            },
        };
        Some(Sent::Voice { voice, what })
    }

    /// When the call wants to be woken if nothing else happens.
    pub fn due(&self) -> Option<CallTime> {
        self.call.poll_timeout().map(|(at, _)| at)
    }

    /// Whether the call has ended.
    pub fn is_over(&self) -> bool {
        self.call.is_over()
    }

    /// What the call counted so far.
    pub fn stats(&self) -> &Stats {
        self.call.stats()
    }

    /// What the call told its carrier so far.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}
