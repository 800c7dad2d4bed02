//! Who gets a seat. A call that gets none is refused before it is answered if that can be, and never left in silence.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::node::Node;
use super::seldom::Seldom;
use crate::driver::Rates;
use crate::driver::meter::Limit;

/// Calls without a seat that are told so at one time: one more for each so many seats.
const APOLOGIES_ONE_IN: usize = 20;
/// At least so many.
const APOLOGIES_MIN: usize = 4;
/// Streams that have not begun yet.
const ARRIVALS_MAX: usize = 1_024;

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The node is about to stop.
    Draining,
    /// Every seat is taken, or promised.
    Full,
    /// Frames of live calls are late.
    Strained,
    /// Its account has too many new calls a second.
    AccountRate,
}

impl Refused {
    /// Its name in metrics and logs.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Refused::Draining => "draining",
            Refused::Full => "full",
            Refused::Strained => "strained",
            Refused::AccountRate => "account_rate",
        }
    }

    /// The same for whoever asked for a call.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Refused::Draining => "this server is about to stop",
            Refused::Full => "no more calls",
            Refused::Strained => "this server is too busy for more calls",
            Refused::AccountRate => "too many calls a second of one account",
        }
    }
}

/// The seats of a node, and who may take one.
#[derive(Debug)]
pub(super) struct Admission {
    seats: Arc<Semaphore>,
    apologies: Arc<Semaphore>,
    arrivals: Arc<Semaphore>,
    accounts: Option<Rates<String>>,
    is_strained: AtomicBool,
    told: Seldom,
}

impl Admission {
    /// So many seats, and so many new calls a second for each account of the carrier; `None`: as many as come.
    pub(super) fn new(seats: usize, account_rate: Option<NonZeroU32>) -> Self {
        let apologies = (seats / APOLOGIES_ONE_IN).max(APOLOGIES_MIN);
        Admission {
            seats: Arc::new(Semaphore::new(seats)),
            apologies: Arc::new(Semaphore::new(apologies)),
            arrivals: Arc::new(Semaphore::new(ARRIVALS_MAX)),
            accounts: account_rate.map(Rates::new),
            is_strained: AtomicBool::new(false),
            told: Seldom::default(),
        }
    }

    pub(super) fn strain(&self, is_strained: bool) {
        self.is_strained.store(is_strained, Ordering::Relaxed);
    }

    /// Room for a stream that has not begun yet.
    pub(super) fn arrival(&self) -> Option<OwnedSemaphorePermit> {
        self.arrivals.clone().try_acquire_owned().ok()
    }

    /// Room to tell a call that there is none for it.
    pub(super) fn apology(&self) -> Option<OwnedSemaphorePermit> {
        self.apologies.clone().try_acquire_owned().ok()
    }

    fn seat(&self) -> Result<OwnedSemaphorePermit, Refused> {
        self.seats.clone().try_acquire_owned().map_err(|_| Refused::Full)
    }

    /// Whether live calls are well enough for one more.
    fn is_calm(&self) -> Result<(), Refused> {
        if self.is_strained.load(Ordering::Relaxed) { Err(Refused::Strained) } else { Ok(()) }
    }

    fn is_within_rate(&self, account: Option<&str>) -> Result<(), Refused> {
        match (&self.accounts, account) {
            (Some(rates), Some(account)) if !rates.take(&account.to_owned()) => Err(Refused::AccountRate),
            (_, _) => Ok(()),
        }
    }
}

impl Node {
    /// Whether a new call of `account` may be promised a seat.
    ///
    /// # Errors
    /// [`Refused`], which is counted and logged.
    pub(super) fn welcome(&self, account: Option<&str>) -> Result<(), Refused> {
        let free = self.admission().seats.available_permits();
        let welcome = if self.stopping().drain.is_cancelled() {
            Err(Refused::Draining)
        } else if free <= self.promised_seats() {
            Err(Refused::Full)
        } else {
            self.admission().is_calm().and_then(|()| self.admission().is_within_rate(account))
        };
        welcome.inspect_err(|refused| self.count(*refused))
    }

    /// A seat for a stream that begins. One that this node promised it is not asked for anything else; for one that another
    /// replica answered, live calls have to be well enough. The rate of its account was asked for with the promise, since only
    /// a signed request proves an account.
    ///
    /// # Errors
    /// [`Refused`], which is counted and logged.
    pub(super) fn seat(&self, is_promised: bool) -> Result<OwnedSemaphorePermit, Refused> {
        let welcome = if is_promised { Ok(()) } else { self.admission().is_calm() };
        welcome.and_then(|()| self.admission().seat()).inspect_err(|refused| self.count(*refused))
    }

    /// Writes a line of the log about something that a flood repeats: each `kind` at most once a second, with the number of
    /// those that were not told.
    pub(super) fn tell(&self, kind: &'static str, line: impl FnOnce(u64)) {
        self.admission().told.tell(kind, line);
    }

    /// Somebody was refused because of a limit.
    pub(super) fn refused_by(&self, limit: Limit) {
        self.meter().limit(limit);
        self.admission().told.tell(limit.name(), |more| tracing::warn!(limit = limit.name(), more, "a limit is met"));
    }

    fn count(&self, refused: Refused) {
        self.meter().refused(refused.kind());
        if refused == Refused::AccountRate {
            self.meter().limit(Limit::AccountRate);
        }
        self.admission().told.tell(refused.kind(), |more| {
            tracing::warn!(reason = refused.kind(), calls = self.running().len(), more, "a call is refused");
        });
    }
}
