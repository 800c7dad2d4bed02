//! The one clock: where real time becomes `CallTime`.

use tokio::time::Instant;

use crate::ids::CallTime;

/// The time of one call.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now. It is tokio's, so that tests can pause it.
    pub fn start() -> Self {
        Clock { start: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> CallTime {
        CallTime::ZERO + self.start.elapsed()
    }

    /// The moment of `at`.
    pub fn instant(&self, at: CallTime) -> Instant {
        self.start + at.since(CallTime::ZERO)
    }
}
