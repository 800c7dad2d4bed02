//! One call without sockets: what it takes goes in, what it sends comes out, and time is an argument.

use serde::{Deserialize, Serialize};

use super::sound::Listener;
use crate::call::Call;
use crate::call::action::{Action, AgentReport, CarrierCommand, EndReason, HearingCommand, TtsCommand};
use crate::call::event::{Event, LinkNumber, VoiceIndex};
use crate::call::stats::Stats;
use crate::dialect::{Outgoing, Peers};
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
    /// Something to whoever writes down what the caller says.
    Hearing {
        /// On which of its links.
        link: LinkNumber,
        /// What.
        #[serde(flatten)]
        what: ToHearing,
    },
    /// Something to an agent outside this process.
    App(ToApp),
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

/// What is sent to whoever writes down what the caller says. Audio is not: it is what the carrier sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToHearing {
    /// A link is made, for a language if it is not the vendor's setting.
    Dial {
        /// Language code.
        language: Option<String>,
    },
    /// The link is dropped.
    HangUp,
    /// A text frame. The last bit of audio before a request is one as well, where audio is text.
    Text(String),
}

/// What is sent to an agent outside this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToApp {
    /// A text frame.
    Text(String),
    /// A close frame.
    Close {
        /// Its code.
        code: u16,
    },
}

/// One call, its peers' languages, and no IO.
pub struct Session {
    call: Call,
    peers: Peers,
    audio: Audio,
    digest: Digest,
    /// Whoever listens.
    listener: Option<Listener>,
}

impl Session {
    /// A call as it was when it was accepted.
    pub fn new(header: &Header) -> Self {
        let call = Call::new(header.settings.clone());
        Session { call, peers: header.peers(), audio: header.audio, digest: Digest::default(), listener: None }
    }

    /// The same, and somebody listens.
    pub(super) fn aloud(header: &Header) -> Self {
        Session { listener: Some(Listener::default()), ..Session::new(header) }
    }

    /// Takes one thing at its time and tells everything that the call sends because of it, in order.
    pub fn take(&mut self, now: CallTime, what: &What, tell: impl FnMut(Sent)) {
        if let Some(event) = self.understand(what) {
            self.handle(now, event, tell);
        }
    }

    /// What a thing means to the call, which has to be given it then. What peers say is understood by what they were told.
    pub(super) fn understand(&mut self, what: &What) -> Option<Event> {
        what.event(&mut self.peers)
    }

    pub(super) fn handle(&mut self, now: CallTime, event: Event, mut tell: impl FnMut(Sent)) {
        if let Some(listener) = self.listener.as_mut().filter(|_| !self.call.is_over()) {
            listener.took(now, &event, self.peers.carrier_stamp());
        }
        self.call.handle(now, event);
        while let Some(action) = self.call.poll_action() {
            self.carry_out(now, action, &mut tell);
        }
    }

    fn carry_out(&mut self, now: CallTime, action: Action, tell: &mut impl FnMut(Sent)) {
        match action {
            Action::Carrier(command) => tell(self.tell_carrier(&command)),
            Action::Tts(command) => self.tell_voice(now, command, tell),
            Action::Hearing(command) => self.tell_hearing(&command, tell),
            Action::Agent(report) => {
                self.peers.agent_messages(now, &report, &mut |message| match message {
                    Outgoing::Text(text) => tell(Sent::App(ToApp::Text(text))),
                    Outgoing::Close { code, .. } => tell(Sent::App(ToApp::Close { code })),
                    Outgoing::Binary(_) => {}
                });
                tell(Sent::Agent(report));
            }
            Action::End(reason) => tell(Sent::End(reason)),
        }
    }

    fn tell_hearing(&mut self, command: &HearingCommand, tell: &mut impl FnMut(Sent)) {
        let link = command.link();
        match command {
            HearingCommand::Dial { language, .. } => {
                self.peers.dial_hearing(link, language.as_deref());
                tell(Sent::Hearing { link, what: ToHearing::Dial { language: language.clone() } });
            }
            HearingCommand::HangUp { .. } => tell(Sent::Hearing { link, what: ToHearing::HangUp }),
            HearingCommand::Audio { .. }
            | HearingCommand::Finalise { .. }
            | HearingCommand::KeepAlive { .. }
            | HearingCommand::Close { .. } => {}
        }
        let is_audio = matches!(command, HearingCommand::Audio { .. });
        self.peers.hearing_messages(command, &mut |message| match message {
            Outgoing::Text(text) if !is_audio => tell(Sent::Hearing { link, what: ToHearing::Text(text) }),
            Outgoing::Text(_) | Outgoing::Binary(_) | Outgoing::Close { .. } => {}
        });
    }

    fn tell_carrier(&mut self, command: &CarrierCommand) -> Sent {
        self.digest.take(command, self.audio);
        if let Some(listener) = &mut self.listener {
            listener.told(command);
        }
        Sent::Carrier(self.peers.carrier_message(command))
    }

    fn tell_voice(&mut self, now: CallTime, command: TtsCommand, tell: &mut impl FnMut(Sent)) {
        let voice = command.voice();
        match command {
            TtsCommand::Dial { .. } => {
                self.peers.dial_voice(voice);
                tell(Sent::Voice { voice, what: ToVoice::Dial });
            }
            TtsCommand::HangUp { .. } => tell(Sent::Voice { voice, what: ToVoice::HangUp }),
            TtsCommand::Reserve { .. } => tell(Sent::Voice { voice, what: ToVoice::Command(command) }),
            TtsCommand::Speak { .. }
            | TtsCommand::Flush { .. }
            | TtsCommand::Finish { .. }
            | TtsCommand::Play { .. }
            | TtsCommand::Cancel { .. }
                if !self.peers.is_remote(voice) =>
            {
                tell(Sent::Voice { voice, what: ToVoice::Command(command) });
            }
            TtsCommand::Speak { .. }
            | TtsCommand::Flush { .. }
            | TtsCommand::Finish { .. }
            | TtsCommand::Play { .. }
            | TtsCommand::Cancel { .. } => {
                self.peers.voice_messages(now, &command, &mut |message| match message {
                    Outgoing::Text(text) => tell(Sent::Voice { voice, what: ToVoice::Text(text) }),
                    // No voice is told anything but text.
                    Outgoing::Binary(_) | Outgoing::Close { .. } => {}
                });
            }
        }
    }

    /// Gives what can be heard so far to `hear`, with its rate.
    pub(super) fn give_sound(&mut self, hear: &mut impl FnMut(u32, &[i16])) {
        if let Some(listener) = &mut self.listener {
            listener.give(hear);
        }
    }

    /// The call makes no more sound.
    pub(super) fn end_sound(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.end();
        }
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
