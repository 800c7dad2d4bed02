//! What can be done with a call at its carrier: for the HTTP API, and for agents.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::facts::Facts;
use super::node::Node;
use super::promises;
use super::twilio::address::{Address, Digits};
use super::twilio::order::{self, OrderError};
use super::twilio::rest::{Instructions, Rest, RestError, Updated};
use super::webhook::VOICE;
use crate::call::event::AgentEvent;
use crate::driver::CallPort;
use crate::ids::CallSid;

/// Why a call cannot be controlled at its carrier. No variant holds a number or a secret.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no account whose calls could be asked for anything.
    #[error("calls cannot be controlled at the carrier: set twilio.account_sid, and twilio.auth_token or an api key")]
    NoCredentials,
    /// The carrier could not find us.
    #[error("the carrier does not know where to reach this server: set server.public_url")]
    NoPublicUrl,
    /// The call has more parameters than fit into a URL.
    #[error("the call's parameters cannot be handed on")]
    Parameters(#[source] OrderError),
    /// The call would come back to a closed port: no other process has our key.
    #[error("this server is about to stop, and keys would end the call: press them in band")]
    Draining,
    /// The carrier did not do it.
    #[error(transparent)]
    Rest(#[from] RestError),
}

/// What is known of a call from the carrier's side.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) facts: Facts,
    /// The stream's parameters, without ours.
    pub(super) parameters: BTreeMap<String, String>,
}

/// One live call, as its carrier sees it. Cheap to clone; keeps nothing alive that ends with the call.
///
/// What gives a call other instructions ends its stream, and the call with it as far as this server is concerned: reports
/// and events end as they do when the caller hangs up.
#[derive(Clone, Debug)]
pub struct Control {
    node: Node,
    call: CallSid,
    port: CallPort,
    about: Arc<About>,
}

impl Control {
    pub(super) const fn new(node: Node, call: CallSid, port: CallPort, about: Arc<About>) -> Self {
        Control { node, call, port, about }
    }

    /// The call's name at the carrier.
    pub const fn call(&self) -> &CallSid {
        &self.call
    }

    /// What the carrier told of the call.
    pub fn facts(&self) -> &Facts {
        &self.about.facts
    }

    /// The parameters that the stream came with, apart from this server's own.
    pub fn parameters(&self) -> &BTreeMap<String, String> {
        &self.about.parameters
    }

    /// Whether the carrier can be asked for anything. Without it, only [`Control::close_stream`] and
    /// [`Control::hang_up`] do something.
    pub fn has_credentials(&self) -> bool {
        self.node.rest().is_ok()
    }

    /// Closes the stream, so that the carrier goes on with the instructions that follow it; without any, the call ends.
    /// Returns when the call is over here.
    pub async fn close_stream(&self) {
        // The call is over before it can say that it has heard.
        let _ = self.port.tell(AgentEvent::HangUp).await;
    }

    /// Ends the call. Without credentials the stream is closed, which ends the call unless instructions follow it.
    ///
    /// Dropped while it waits, the call may have ended.
    ///
    /// # Errors
    /// [`ControlError::Rest`]; the stream is still open, if the call is.
    pub async fn hang_up(&self) -> Result<Updated, ControlError> {
        let Ok(rest) = self.node.rest() else {
            self.close_stream().await;
            return Ok(Updated::Done);
        };
        let updated = rest.hang_up(&self.call).await?;
        if updated == Updated::AlreadyGone {
            // A stream of a call that does not exist: nobody else will end it soon.
            self.close_stream().await;
        }
        Ok(updated)
    }

    /// Connects the caller with somebody else.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn transfer(&self, to: &Address) -> Result<Updated, ControlError> {
        Ok(self.node.rest()?.transfer(&self.call, to).await?)
    }

    /// Gives the call other instructions.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn redirect(&self, to: &Instructions) -> Result<Updated, ControlError> {
        Ok(self.node.rest()?.redirect(&self.call, to).await?)
    }

    /// Presses keys on the call. The carrier can do that only in place of the stream: this one ends, the keys are pressed, and
    /// the carrier asks our webhook again, so that a new stream begins with the same parameters. It may come to another
    /// replica, and its agent begins anew.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn send_digits(&self, digits: &Digits) -> Result<Updated, ControlError> {
        let rest = self.node.rest()?;
        // What is configured is handed through anyway.
        let configured = &self.node.settings().parameters;
        let parameters = self.about.parameters.iter().filter(|(name, value)| configured.get(*name) != Some(*value));
        let parameters = parameters.map(|(name, value)| (name.clone(), value.clone())).collect();
        let next = self.node.voice_url(&parameters)?;
        // It is no new call: it finds its seat when it comes back, however busy the node is by then. Promised before its stream
        // ends and gives the seat back, so that nobody is faster.
        self.node.expect(&self.call, promises::KEPT_S + digits.seconds());
        let is_lost = self.node.stopping().drain.is_cancelled() && !self.node.settings().has_shared_key;
        let pressed = if is_lost { Err(ControlError::Draining) } else { self.press(rest, digits, &next).await };
        // It stays, or is gone. Where nobody knows whether keys were pressed, it may come back.
        if !matches!(pressed, Ok(Updated::Done) | Err(ControlError::Rest(RestError::Slow | RestError::Answer))) {
            self.node.was_expected(&self.call);
        }
        pressed
    }

    async fn press(&self, rest: &Rest, digits: &Digits, next: &str) -> Result<Updated, ControlError> {
        Ok(rest.send_digits(&self.call, digits, next).await?)
    }
}

impl Node {
    /// A live call of this node, by its name in the API.
    pub fn control(&self, id: &str) -> Option<Control> {
        Some(self.calls().get(id).filter(|live| !live.is_over())?.control(self))
    }

    /// The carrier's API.
    pub(super) fn rest(&self) -> Result<&Rest, ControlError> {
        self.settings().rest.as_ref().ok_or(ControlError::NoCredentials)
    }

    /// Where the carrier is to ask about a call whose stream is to have `parameters`.
    pub(super) fn voice_url(&self, parameters: &BTreeMap<String, String>) -> Result<String, ControlError> {
        let public_url = self.settings().public_url.as_ref().ok_or(ControlError::NoPublicUrl)?;
        let url = public_url.http_url(VOICE);
        if parameters.is_empty() {
            return Ok(url);
        }
        let order = self.seal(parameters).map_err(ControlError::Parameters)?;
        Ok(format!("{url}?{}={order}", order::QUERY))
    }
}
