//! How an account stands, for those who watch.

use std::borrow::Cow;

use tokio::time::Instant;

use super::{Account, Condition};

/// How many of something there are, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// In use.
    pub in_use: u32,
    /// There may be now; `None`: any number.
    pub limit: Option<u32>,
    /// There may be by the operator's word.
    pub most: Option<u32>,
}

/// How an account stands, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Name of the voice.
    pub voice: Cow<'static, str>,
    /// The breaker.
    pub breaker: Condition,
    /// Contexts that were shared out.
    pub contexts: Use,
    /// Contexts that wait for a slot.
    pub waiting: u32,
    /// Sockets, warm ones included.
    pub sockets: Use,
    /// Sockets that wait for the next calls.
    pub warm: u32,
}

impl Account {
    /// How it stands.
    pub fn view(&self) -> View {
        let (state, now) = (self.state(), Instant::now());
        View {
            voice: self.settings.voice.clone(),
            breaker: state.breaker.condition(),
            contexts: Use { in_use: state.slots.in_use(), limit: state.slots.limit(now), most: state.slots.most() },
            waiting: state.slots.waiting(),
            sockets: Use { in_use: state.sockets, limit: state.sockets_max.at(now), most: state.sockets_max.most() },
            warm: u32::try_from(self.pool.len()).unwrap_or(u32::MAX),
        }
    }

    /// Brings the metrics up to date: limits rise with time, which nobody tells of.
    pub fn show(&self) {
        let (state, now) = (self.state(), Instant::now());
        self.show_breaker(&state);
        self.show_slots(&state, now);
        self.show_sockets(&state, now);
    }
}
