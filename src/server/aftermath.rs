//! How sessions ended, kept until the carrier asks what to do with their calls.
//!
//! The two race: the carrier asks as soon as the stream is closed, while whoever ran the call may still be busy ending it.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::node::lock;
use super::remembered::Remembered;
use crate::ids::CallSid;

/// Endings kept at one time: thirty calls a second for all of their time.
const ENDINGS_MAX: usize = 10_000;
/// How long an ending is kept. The carrier asks within seconds.
const ENDING_LIFE: Duration = Duration::from_secs(300);

/// How a session of an agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Name of the session, as the agent was told it.
    pub session_id: String,
    /// How it ended.
    pub status: Status,
    /// How long it lasted; told in whole seconds.
    pub duration: Duration,
}

/// The ways in which a session ends.
#[derive(Clone, PartialEq, Eq)]
pub enum Status {
    /// The caller hung up, or the call ended elsewhere.
    Completed,
    /// The agent ended it.
    Ended {
        /// What it left for whoever is next. Not for logs.
        handoff: Option<String>,
    },
    /// It never began: there was no seat for its call. No app is asked about it.
    TurnedAway,
    /// It broke off.
    Failed {
        /// The carrier's code for what happened, such as 39001 for an agent that cannot be reached.
        code: u32,
        /// The same in words, without anybody's text or numbers.
        message: String,
    },
}

impl Status {
    /// Its name in forms.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Status::Completed => "completed",
            Status::Ended { .. } => "ended",
            Status::TurnedAway => "turned-away",
            Status::Failed { .. } => "failed",
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The latest endings of a node.
#[derive(Debug)]
pub struct Aftermath {
    endings: Mutex<Remembered<Ended>>,
    /// Changes with them.
    version: watch::Sender<u64>,
}

impl Default for Aftermath {
    fn default() -> Self {
        Aftermath { endings: Mutex::new(Remembered::new(ENDINGS_MAX, ENDING_LIFE)), version: watch::Sender::new(0) }
    }
}

impl Aftermath {
    /// Keeps how the session of a call ended, in place of an earlier one of the same call. To be called before the stream is
    /// closed, or at most two seconds later.
    pub fn record(&self, call: &CallSid, ended: Ended) {
        lock(&self.endings).put(call.clone(), ended, Instant::now());
        self.version.send_modify(|version| *version += 1);
    }

    /// A call finds no seat: its session never begins.
    pub(super) fn turn_away(&self, call: &CallSid) {
        let ended = Ended { session_id: String::new(), status: Status::TurnedAway, duration: Duration::ZERO };
        self.record(call, ended);
    }

    /// How the session of a call ended, once.
    pub fn take(&self, call: &CallSid) -> Option<Ended> {
        lock(&self.endings).take(call, Instant::now())
    }

    /// The same, waiting for it if it is not there yet. Cancel-safe.
    pub(super) async fn wait(&self, call: &CallSid, limit: Duration) -> Option<Ended> {
        let mut changes = self.version.subscribe();
        let recorded = async {
            loop {
                if let Some(ended) = self.take(call) {
                    return Some(ended);
                }
                changes.changed().await.ok()?;
            }
        };
        timeout(limit, recorded).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(session: &str) -> Ended {
        let handoff = Some("a secret".to_owned());
        Ended { session_id: session.to_owned(), status: Status::Ended { handoff }, duration: Duration::from_secs(7) }
    }

    #[tokio::test(start_paused = true)]
    async fn an_ending_is_waited_for_and_taken_once() {
        let (aftermath, call) = (Aftermath::default(), CallSid::parse("CA1").unwrap());
        let limit = Duration::from_secs(2);
        let recording = async {
            aftermath.record(&CallSid::parse("CA2").unwrap(), ended("other"));
            tokio::time::sleep(Duration::from_secs(1)).await;
            aftermath.record(&call, ended("first"));
        };
        let (taken, ()) = tokio::join!(aftermath.wait(&call, limit), recording);
        assert_eq!(taken, Some(ended("first")));
        let asked = Instant::now();
        assert_eq!(aftermath.wait(&call, limit).await, None);
        assert_eq!(asked.elapsed(), limit);

        aftermath.record(&call, ended("second"));
        tokio::time::advance(ENDING_LIFE).await;
        assert_eq!(aftermath.take(&call), None);
    }

    #[test]
    fn debug_shows_no_handoff() {
        assert!(!format!("{:?}", ended("VX1")).contains("secret"));
    }
}
