//! The slots that one link of a call holds or waits for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::hold::Ticket;
use super::{Account, Request, Urgency};
use crate::call::action::TtsCommand;
use crate::call::event::TtsEvent;
use crate::dialect::{Body, Input, Port};
use crate::ids::ContextId;

/// How long a cancelled context counts if its provider does not say that nothing more comes of it. Providers may finish
/// what they have begun to make, and count it meanwhile.
const LINGER: Duration = Duration::from_secs(1);
/// How long a context counts after its last text if its provider never says that it is done. Nobody makes the speech of the
/// text that the core gives ahead so slowly.
const FINISH_LIMIT: Duration = Duration::from_secs(40);

/// One context's slot, or its place in line.
struct Lease {
    context: ContextId,
    request: Request,
    /// Its provider knows of it.
    is_spoken: bool,
    /// When the slot is given back at the latest. Dropped: at once.
    until: watch::Sender<Option<Instant>>,
}

/// Those of a link. Dropped with it, all of them are given back.
pub(in crate::driver) struct Leases {
    account: Option<Arc<Account>>,
    leases: Vec<Lease>,
}

impl Leases {
    /// None yet. Without an account everything is granted.
    pub(in crate::driver) fn new(account: Option<Arc<Account>>) -> Self {
        Leases { account, leases: Vec::new() }
    }

    /// Whose they are.
    pub(in crate::driver) fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }

    /// Asks for a slot, or says how urgent it is by now. The grant, if there is one at once; a later one comes into `inbox`.
    pub(in crate::driver) fn reserve(
        &mut self,
        context: ContextId,
        urgency: Urgency,
        (port, inbox): (Port, mpsc::Sender<Input>),
        tasks: &mut JoinSet<()>,
    ) -> Option<Input> {
        let granted = Input { port, body: Body::Voice(TtsEvent::Granted { context }) };
        let Some(account) = &self.account else { return Some(granted) };
        if let Some(lease) = self.leases.iter().find(|lease| lease.context == context) {
            account.urge(lease.request, urgency);
            return None;
        }
        let (ticket, told) = account.ask(urgency);
        let (until, ends) = watch::channel(None);
        self.leases.push(Lease { context, request: ticket.request(), is_spoken: false, until });
        let answer = told.is_none().then(|| granted.clone());
        let told = told.map(|told| (told, inbox, granted));
        tasks.spawn(hold(ticket, told, ends));
        answer
    }

    /// Takes note of what a context is told.
    pub(in crate::driver) fn follow(&mut self, command: &TtsCommand) {
        match command {
            TtsCommand::Speak { on, .. } => {
                if let Some(lease) = self.of(on.context) {
                    lease.is_spoken = true;
                }
            }
            TtsCommand::Finish { on } => {
                if let Some(lease) = self.of(on.context) {
                    lease.end_within(FINISH_LIMIT);
                }
            }
            TtsCommand::Cancel { context, .. } => match self.of(*context) {
                Some(lease) if lease.is_spoken => lease.end_within(LINGER),
                Some(_) => self.end(*context),
                None => {}
            },
            TtsCommand::Dial { .. }
            | TtsCommand::HangUp { .. }
            | TtsCommand::Reserve { .. }
            | TtsCommand::Flush { .. }
            | TtsCommand::Play { .. } => {}
        }
    }

    /// The provider is through with the context.
    pub(in crate::driver) fn end(&mut self, context: ContextId) {
        self.leases.retain(|lease| lease.context != context);
    }

    /// The link is gone, and with it everything on it.
    pub(in crate::driver) fn clear(&mut self) {
        self.leases.clear();
    }

    fn of(&mut self, context: ContextId) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|lease| lease.context == context)
    }
}

impl Lease {
    fn end_within(&self, span: Duration) {
        let end = Instant::now() + span;
        self.until.send_modify(|until| *until = Some(until.map_or(end, |until| until.min(end))));
    }
}

/// Waits for the grant, if it was not given at once, then keeps the slot until its lease ends.
async fn hold(
    ticket: Ticket,
    told: Option<(oneshot::Receiver<()>, mpsc::Sender<Input>, Input)>,
    mut ends: watch::Receiver<Option<Instant>>,
) {
    let keep = async move {
        if let Some((told, inbox, granted)) = told
            && (told.await.is_err() || inbox.send(granted).await.is_err())
        {
            return;
        }
        std::future::pending().await
    };
    let ended = async {
        loop {
            let end = *ends.borrow_and_update();
            let due = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return,
                changed = ends.changed() => if changed.is_err() { return },
            }
        }
    };
    tokio::select! { () = keep => {}, () = ended => {} }
    drop(ticket);
}
