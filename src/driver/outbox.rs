//! What waits for the carrier: a short channel to the writer, and behind it what the channel has no room for.
//!
//! A carrier that reads slowly must not turn `clear` into the last of a long queue: each `clear` begins a new epoch, and
//! audio of an older one is thrown away wherever it waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use crate::call::action::CarrierCommand;

/// Close code of a call that ended in order (RFC 6455, section 7.4.1).
const CLOSE_NORMAL: u16 = 1000;
/// A carrier for which messages have been waiting behind a full channel for so long plays us that much too late, or never.
const STALL_LIMIT: Duration = Duration::from_secs(5);
/// Frames beyond the lead that the channel holds: those of one late wake-up.
const FRAMES_SPARE: usize = 5;
/// Shortest frame of any carrier in milliseconds; more of them fit into a lead than of longer ones.
const FRAME_MS_MIN: u128 = 20;

/// What both ends know.
#[derive(Debug)]
struct Shared {
    /// Counts the `clear`s.
    epoch: AtomicU64,
    close_code: AtomicU16,
    /// Messages that a `clear` overtook, by their epoch: they never left.
    withdrawn: Mutex<BTreeMap<u64, u64>>,
}

impl Shared {
    fn withdraw(&self, outgoing: &Outgoing) {
        *self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner).entry(outgoing.epoch).or_default() += 1;
    }
}

#[derive(Debug)]
struct Outgoing {
    epoch: u64,
    text: String,
}

/// The driver's end.
#[derive(Debug)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
    epoch: u64,
    /// What the channel has no room for. It grows at the pace of speech and is cut off at [`STALL_LIMIT`].
    backlog: VecDeque<Outgoing>,
    /// Since when there has been a backlog.
    stalled_since: Option<Instant>,
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct Pending {
    receiver: mpsc::Receiver<Outgoing>,
    shared: Arc<Shared>,
}

/// Counts what a `clear` overtook.
pub(super) struct Withdrawn(Arc<Shared>);

impl Withdrawn {
    /// For each epoch, that is number of `clear`s before, how many of its last messages never left.
    pub(super) fn counts(&self) -> Vec<(u64, u64)> {
        let withdrawn = self.0.withdrawn.lock().unwrap_or_else(PoisonError::into_inner);
        withdrawn.iter().map(|(epoch, count)| (*epoch, *count)).collect()
    }
}

/// An outbox with room for `lead`, what one late wake-up adds to it, and the marks of both.
pub(super) fn outbox(lead: Duration) -> (Outbox, Pending) {
    let frames = usize::try_from(lead.as_millis() / FRAME_MS_MIN).unwrap_or(0) + FRAMES_SPARE;
    // At most one mark a frame, and a `clear`.
    let (sender, receiver) = mpsc::channel(2 * frames + 1);
    let shared = Arc::new(Shared {
        epoch: AtomicU64::new(0),
        close_code: AtomicU16::new(CLOSE_NORMAL),
        withdrawn: Mutex::default(),
    });
    let pending = Pending { receiver, shared: shared.clone() };
    (Outbox { sender, shared, epoch: 0, backlog: VecDeque::new(), stalled_since: None }, pending)
}

impl Outbox {
    /// Takes a command as the carrier will read it.
    pub(super) fn push(&mut self, command: &CarrierCommand, text: String) {
        match command {
            CarrierCommand::Clear { .. } => {
                self.epoch += 1;
                self.shared.epoch.store(self.epoch, Ordering::Release);
                self.backlog.drain(..).for_each(|outgoing| self.shared.withdraw(&outgoing));
            }
            CarrierCommand::Media { .. } | CarrierCommand::Mark(_) => {}
        }
        self.backlog.push_back(Outgoing { epoch: self.epoch, text });
        self.refill();
    }

    /// Waits for room for what is behind the channel; for ever if nothing is. Cancel-safe.
    pub(super) async fn room(&self) {
        if self.backlog.is_empty() || self.sender.reserve().await.is_err() {
            // Without a writer there is no more room; the writer itself has told why it ended.
            std::future::pending().await
        }
    }

    /// Moves what there is room for.
    pub(super) fn refill(&mut self) {
        while let Some(outgoing) = self.backlog.pop_front() {
            match self.sender.try_send(outgoing) {
                Ok(()) => {}
                Err(TrySendError::Full(outgoing)) => {
                    self.backlog.push_front(outgoing);
                    break;
                }
                Err(TrySendError::Closed(_)) => self.backlog.clear(),
            }
        }
        self.stalled_since = match (self.backlog.is_empty(), self.stalled_since) {
            (true, _) => None,
            (false, since) => Some(since.unwrap_or_else(Instant::now)),
        };
    }

    /// When the carrier counts as gone, unless it takes what waits.
    pub(super) fn hopeless_at(&self) -> Option<Instant> {
        self.stalled_since.map(|since| since + STALL_LIMIT)
    }

    /// A way to what never left, for when everything else is over.
    pub(super) fn withdrawn(&self) -> Withdrawn {
        Withdrawn(self.shared.clone())
    }

    /// The close code to say goodbye with.
    pub(super) fn set_close_code(&self, code: u16) {
        self.shared.close_code.store(code, Ordering::Relaxed);
    }
}

impl Pending {
    /// The next message; `None` when there will be none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            let outgoing = self.receiver.recv().await?;
            if self.is_current(&outgoing) {
                return Some(outgoing.text);
            }
        }
    }

    /// The next message if one waits.
    pub(super) fn next_now(&mut self) -> Option<String> {
        loop {
            let outgoing = self.receiver.try_recv().ok()?;
            if self.is_current(&outgoing) {
                return Some(outgoing.text);
            }
        }
    }

    /// The close code to say goodbye with.
    pub(super) fn close_code(&self) -> u16 {
        self.shared.close_code.load(Ordering::Relaxed)
    }

    fn is_current(&self, outgoing: &Outgoing) -> bool {
        let is_current = outgoing.epoch >= self.shared.epoch.load(Ordering::Acquire);
        if !is_current {
            self.shared.withdraw(outgoing);
        }
        is_current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const MEDIA: CarrierCommand = CarrierCommand::Media { frame: Bytes::new(), late: Duration::ZERO };
    const CLEAR: CarrierCommand = CarrierCommand::Clear { held: Duration::ZERO };

    fn taken(pending: &mut Pending) -> Vec<String> {
        std::iter::from_fn(|| pending.next_now()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_waits_in_order_and_too_long_a_wait_is_hopeless() {
        let (mut outbox, mut pending) = outbox(Duration::from_millis(20));
        for n in 0..20 {
            outbox.push(&MEDIA, n.to_string());
        }
        let hopeless = outbox.hopeless_at().unwrap();
        assert_eq!(hopeless - Instant::now(), STALL_LIMIT);
        let mut got = taken(&mut pending);
        assert_eq!(got.len(), 13);
        outbox.room().await;
        outbox.refill();
        assert_eq!(outbox.hopeless_at(), None);
        got.extend(taken(&mut pending));
        assert_eq!(got, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn clear_overtakes_all_that_waits_and_audio_after_it_follows() {
        for media in [1, 13, 40] {
            let (mut outbox, mut pending) = outbox(Duration::from_millis(20));
            for _ in 0..media {
                outbox.push(&MEDIA, "old".to_owned());
            }
            outbox.push(&CLEAR, "clear".to_owned());
            outbox.push(&MEDIA, "new".to_owned());
            let mut got = taken(&mut pending);
            outbox.refill();
            got.extend(taken(&mut pending));
            assert_eq!(got, ["clear", "new"], "{media}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_writer_nothing_is_kept() {
        let (mut outbox, pending) = outbox(Duration::from_millis(20));
        drop(pending);
        outbox.push(&MEDIA, String::new());
        assert!(outbox.backlog.is_empty() && outbox.hopeless_at().is_none());
    }
}
