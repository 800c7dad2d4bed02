//! The contexts of one connection: who lives, who is told what, who is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::connection::Outgoing;
use super::context::{Context, Seat};
use super::journal::End;
use super::order::{Input, Lifetime, Order, Stop};
use super::tone;
use super::wording::Wording;
use super::{Place, Shared, Voice};

/// Inputs waiting for a context, which takes them at once.
const INPUTS: usize = 256;

/// What a connection gives to whoever speaks on it.
#[derive(Clone, Debug)]
pub(in crate::emulate) struct Line {
    /// Number of the connection.
    pub(in crate::emulate) connection: u64,
    pub(in crate::emulate) shared: Arc<Shared>,
    pub(in crate::emulate) outbox: mpsc::Sender<Vec<Outgoing>>,
}

/// A context as its connection sees it; `T` is what the vendor keeps about it.
#[derive(Debug)]
pub(in crate::emulate) struct Entry<T> {
    /// Its number in the journal.
    pub(in crate::emulate) number: u32,
    pub(in crate::emulate) kept: T,
    /// Its last input has come.
    pub(in crate::emulate) finished: bool,
    inputs: mpsc::Sender<Input>,
    stop: oneshot::Sender<Stop>,
    place: Arc<Place>,
}

/// A context that is over.
#[derive(Debug)]
pub(in crate::emulate) struct Over<T> {
    pub(in crate::emulate) key: String,
    pub(in crate::emulate) end: End,
    /// What the vendor kept about it; `None` if it was stopped, or its id is used again.
    pub(in crate::emulate) kept: Option<T>,
}

/// When a new context may begin to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulate) enum Queueing {
    /// At once, beside the others.
    Beside,
    /// When the one begun before it on the connection is over.
    Behind,
}

/// The place that a context has among the active ones of its server.
pub(in crate::emulate) type Granted = Arc<Place>;

/// The contexts of one connection, by keys that the vendor's side gives them: the client's ids, mostly.
#[derive(Debug)]
pub(in crate::emulate) struct Roster<T> {
    line: Line,
    live: BTreeMap<String, Entry<T>>,
    tasks: JoinSet<(String, u32, End)>,
    /// Ends with the context begun last.
    last: Option<oneshot::Receiver<()>>,
}

impl<T> Roster<T> {
    pub(in crate::emulate) fn new(line: Line) -> Self {
        Self { line, live: BTreeMap::new(), tasks: JoinSet::new(), last: None }
    }

    /// The context of this key that was neither stopped nor seen to be over.
    pub(in crate::emulate) fn get(&mut self, key: &str) -> Option<&mut Entry<T>> {
        self.live.get_mut(key)
    }

    /// The same, if its last message is not on its way yet either.
    pub(in crate::emulate) fn active(&mut self, key: &str) -> Option<&mut Entry<T>> {
        self.live.get_mut(key).filter(|entry| entry.place.is_held())
    }

    /// How many have not sent their last message.
    pub(in crate::emulate) fn active_count(&self) -> usize {
        self.live.values().filter(|entry| entry.place.is_held()).count()
    }

    /// Whether every task of a context has ended, stopped ones included.
    pub(in crate::emulate) fn is_quiet(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Contexts neither stopped nor seen to be over.
    pub(in crate::emulate) fn len(&self) -> usize {
        self.live.len()
    }

    /// Keys of the contexts neither stopped nor seen to be over.
    pub(in crate::emulate) fn keys(&self) -> Vec<String> {
        self.live.keys().cloned().collect()
    }

    /// Begins a context on its place, kept under `key`; `id` is what the journal calls it. An older one of the same key,
    /// which must have sent its last message, is forgotten.
    pub(in crate::emulate) fn begin<W: Wording>(
        &mut self,
        key: &str,
        id: &str,
        place: Granted,
        (order, lifetime, queueing): (Order, Lifetime, Queueing),
        kept: T,
        wording: W,
    ) -> &mut Entry<T> {
        let shared = &self.line.shared;
        let is_tone = shared.settings.voice == Voice::Tone;
        let tone = |number| is_tone.then_some(number % tone::TONES);
        let number = shared.journal.begin(id, self.line.connection, tone, order.rate);
        let (after, over) = oneshot::channel();
        let before = self.last.replace(over).filter(|_| queueing == Queueing::Behind);
        let seat = Seat {
            number,
            shared: Arc::clone(shared),
            outbox: self.line.outbox.clone(),
            place: Arc::clone(&place),
            before,
            _after: after,
        };
        let (inputs, waiting) = mpsc::channel(INPUTS);
        let (stop, stopped) = oneshot::channel();
        let context = Context::new(seat, order, lifetime, wording);
        let name = key.to_owned();
        self.tasks.spawn(async move { (name, number, context.run(waiting, stopped).await) });
        let entry = Entry { number, kept, finished: false, inputs, stop, place };
        self.live.remove(key);
        self.live.entry(key.to_owned()).or_insert(entry)
    }

    /// Hands an input to a context; `false` if there is none or it has just ended. Waits while too many inputs wait.
    pub(in crate::emulate) async fn input(&mut self, key: &str, input: Input) -> bool {
        let Some(entry) = self.live.get_mut(key) else { return false };
        entry.finished |= !input.more;
        entry.inputs.send(input).await.is_ok()
    }

    /// Cancels all contexts and waits until none says anything any more. Others may not be begun meanwhile.
    pub(in crate::emulate) async fn cancel_all(&mut self) {
        for key in self.keys() {
            self.stop(&key, Stop::Cancel);
        }
        while !self.is_quiet() {
            self.reap().await;
        }
    }

    /// Ends a context from outside, if it lives; its place is free at once.
    pub(in crate::emulate) fn stop(&mut self, key: &str, stop: Stop) -> Option<T> {
        let entry = self.live.remove(key)?;
        entry.place.release();
        // A context that has just ended by itself needs no telling.
        entry.stop.send(stop).ok();
        Some(entry.kept)
    }

    /// Waits for a context to end; for ever if none lives. Cancel-safe.
    pub(in crate::emulate) async fn reap(&mut self) -> Over<T> {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((key, number, end))) => {
                    let is_same = self.live.get(&key).is_some_and(|entry| entry.number == number);
                    let entry = if is_same { self.live.remove(&key) } else { None };
                    return Over { key, end, kept: entry.map(|entry| entry.kept) };
                }
                // A context that panicked is gone with its id still known as alive: its next input finds nobody.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}
