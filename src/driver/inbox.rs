//! The one inbox of a call: everything that enters it, in one order. What comes out of it goes onto the call's tape.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use super::figures::{Figures, Notice};
use crate::call::event::{AgentEvent, VoiceIndex};
use crate::dialect::{Body, Input, Port};
use crate::ids::TurnId;

/// Inputs that may wait. A full inbox makes the pumps wait, which stops the reading of their sockets.
const INBOX_INPUTS: usize = 256;

/// The reading end.
#[derive(Debug)]
pub struct Inbox {
    sender: mpsc::Sender<Input>,
    receiver: mpsc::Receiver<Input>,
    /// How many inputs of agents have been dealt with.
    handled: watch::Sender<u64>,
    /// The input that was taken last is an agent's.
    is_agents: bool,
    speaking: Speaking,
    notice: Notice,
}

/// The voice that was given text last.
#[derive(Clone, Debug)]
pub(super) struct Speaking(Arc<AtomicUsize>);

impl Speaking {
    /// Before the first text.
    const NOBODY: usize = usize::MAX;

    /// A voice is given text.
    pub(super) fn note(&self, voice: VoiceIndex) {
        self.0.store(voice, Ordering::Relaxed);
    }
}

impl Inbox {
    /// The next input. Asking for it means that the one before has been dealt with. Cancel-safe.
    pub async fn next(&mut self) -> Option<Input> {
        if std::mem::take(&mut self.is_agents) {
            self.handled.send_modify(|handled| *handled += 1);
        }
        let input = self.receiver.recv().await?;
        self.is_agents = input.port == Port::Agent;
        Some(input)
    }

    /// Where those who watch are told who speaks.
    pub(super) fn speaking(&self) -> Speaking {
        self.speaking.clone()
    }

    /// Where those who watch find what the call counted.
    pub(super) fn notice(&self) -> Notice {
        self.notice.clone()
    }

    pub(super) fn sender(&self) -> mpsc::Sender<Input> {
        self.sender.clone()
    }
}

/// The call is over, so that nothing can be said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call is over")]
pub struct CallOver;

/// An agent's way into a call.
#[derive(Clone, Debug)]
pub struct CallPort {
    sender: mpsc::Sender<Input>,
    /// Turns up to this one are numbered by somebody else.
    below: TurnId,
    turns: Arc<AtomicU32>,
    /// How many inputs of agents have gone into the inbox, in its order.
    sent: Arc<Mutex<u64>>,
    handled: watch::Receiver<u64>,
    speaking: Speaking,
    notice: Notice,
}

impl CallPort {
    /// The voice that was given text last, if one was.
    pub fn voice(&self) -> Option<VoiceIndex> {
        Some(self.speaking.0.load(Ordering::Relaxed)).filter(|voice| *voice != Speaking::NOBODY)
    }

    /// What the call counted so far, as it stood at most a second ago, or at its end.
    pub fn figures(&self) -> Figures {
        self.notice.get()
    }

    /// A turn that nobody else has.
    pub fn next_turn(&self) -> TurnId {
        TurnId(self.turns.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether `turn` was given out.
    pub fn knows(&self, turn: TurnId) -> bool {
        turn > self.below && turn.0 <= self.turns.load(Ordering::Relaxed)
    }

    /// Gives the call an event. Waits while the inbox is full. Cancel-safe: the event is sent whole or not at all.
    ///
    /// # Errors
    /// [`CallOver`].
    pub async fn send(&self, event: AgentEvent) -> Result<(), CallOver> {
        let permit = self.sender.reserve().await.map_err(|_| CallOver)?;
        self.put(permit, event);
        Ok(())
    }

    /// Gives the call an event and waits until it has been dealt with, so that every report of what it did is out. Dropped
    /// while it waits, the event may have been sent.
    ///
    /// # Errors
    /// [`CallOver`]: the call ended first, or because of the event.
    pub async fn tell(&self, event: AgentEvent) -> Result<(), CallOver> {
        let permit = self.sender.reserve().await.map_err(|_| CallOver)?;
        let number = self.put(permit, event);
        let mut handled = self.handled.clone();
        handled.wait_for(|handled| *handled >= number).await.map(drop).map_err(|_| CallOver)
    }

    /// Gives the call an event if there is room for it, for those who cannot wait; whether there was.
    pub fn try_send(&self, event: AgentEvent) -> bool {
        match self.sender.try_reserve() {
            Ok(permit) => {
                self.put(permit, event);
                true
            }
            Err(_) => false,
        }
    }

    /// Numbers are given out in the order of the inbox, hence both steps under one lock.
    fn put(&self, permit: mpsc::Permit<'_, Input>, event: AgentEvent) -> u64 {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        permit.send(Input { port: Port::Agent, body: Body::Agent(event) });
        *sent += 1;
        *sent
    }
}

/// A call's inbox, and an agent's way into it.
pub fn inbox() -> (CallPort, Inbox) {
    inbox_above(TurnId(0))
}

/// The same for a call whose agent numbers turns up to `below` itself: the way gives out the numbers above.
pub fn inbox_above(below: TurnId) -> (CallPort, Inbox) {
    let (sender, receiver) = mpsc::channel(INBOX_INPUTS);
    let (dealt, handled) = watch::channel(0);
    let turns = Arc::new(AtomicU32::new(below.0));
    let speaking = Speaking(Arc::new(AtomicUsize::new(Speaking::NOBODY)));
    let notice = Notice::default();
    let port = CallPort {
        sender: sender.clone(),
        below,
        turns,
        sent: Arc::default(),
        handled,
        speaking: speaking.clone(),
        notice: notice.clone(),
    };
    (port, Inbox { sender, receiver, handled: dealt, is_agents: false, speaking, notice })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::{sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn an_event_is_told_when_the_next_input_is_asked_for() {
        let (port, mut inbox) = inbox();
        port.send(AgentEvent::Clear).await.unwrap();
        let call = async {
            for _ in 0..2 {
                inbox.next().await.unwrap();
                sleep(Duration::from_secs(1)).await;
            }
            timeout(Duration::from_secs(5), inbox.next()).await.unwrap_err();
        };
        let told = async {
            let begun = tokio::time::Instant::now();
            port.tell(AgentEvent::Clear).await.unwrap();
            begun.elapsed()
        };
        let (told_after, ()) = tokio::join!(told, call);
        assert_eq!(told_after, Duration::from_secs(2));
    }

    #[test]
    fn turns_of_two_counts_do_not_meet() {
        let (port, _inbox) = inbox_above(TurnId(100));
        assert!(!port.knows(TurnId(1)) && !port.knows(TurnId(100)) && !port.knows(TurnId(101)));
        assert_eq!(port.next_turn(), TurnId(101));
        assert!(port.knows(TurnId(101)) && !port.knows(TurnId(100)));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_call_that_is_over() {
        let (port, mut inbox) = inbox();
        let call = async {
            inbox.next().await.unwrap();
            drop(inbox);
        };
        let (told, ()) = tokio::join!(port.tell(AgentEvent::HangUp), call);
        assert_eq!(told, Err(CallOver));
        assert_eq!(port.send(AgentEvent::Clear).await, Err(CallOver));
        assert!(!port.try_send(AgentEvent::Clear));
    }
}
