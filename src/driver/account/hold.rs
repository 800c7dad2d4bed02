//! What calls hold of an account: each a guard, so that nothing stays taken however a link or a call ends.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Account, Request};

/// What a link holds for as long as it lives.
pub(in crate::driver) struct Hold {
    _seat: Seat,
    probe: Option<Probe>,
}

impl Hold {
    pub(super) fn new(seat: Seat, probe: Option<Probe>) -> Self {
        Hold { _seat: seat, probe }
    }

    /// It waits for a call, which is no verdict: another link may find out.
    pub(super) fn settle(&mut self) {
        self.probe = None;
    }
}

/// A place among the account's sockets.
pub(super) struct Seat {
    account: Arc<Account>,
}

impl Seat {
    /// One that was counted.
    pub(super) fn new(account: Arc<Account>) -> Self {
        Seat { account }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.account.state();
        state.sockets = state.sockets.saturating_sub(1);
        self.account.show_sockets(&state, Instant::now());
    }
}

/// A link that finds out whether the provider is back.
pub(in crate::driver) struct Probe {
    account: Arc<Account>,
    number: u64,
}

impl Probe {
    /// The breaker's probe of this number.
    pub(super) fn new(account: Arc<Account>, number: u64) -> Self {
        Probe { account, number }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut state = self.account.state();
        state.breaker.probe_over(self.number);
        self.account.show_breaker(&state);
    }
}

/// A request for a slot, or the slot.
pub(super) struct Ticket {
    account: Arc<Account>,
    request: Request,
}

impl Ticket {
    /// That of a request that was made.
    pub(super) fn new(account: Arc<Account>, request: Request) -> Self {
        Ticket { account, request }
    }

    /// Which request.
    pub(super) fn request(&self) -> Request {
        self.request
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (mut state, now) = (self.account.state(), Instant::now());
        state.told.remove(&self.request);
        state.slots.leave(self.request);
        self.account.share_out(&mut state, now);
    }
}
