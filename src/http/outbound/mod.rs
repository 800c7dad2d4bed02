//! Asking where somebody else said: whoever uses the API, an app or a model chooses URLs, and must not reach through us what
//! only we can reach.
//!
//! The rules hold where a connection is made. A URL is looked at first: whether its host is listed, and its address if it is
//! one. A name is looked up by us, and its addresses that may not be dialled are left out before anybody dials, so that a name
//! which leads to another place every time helps nobody: what was looked at is what is dialled. No proxy is used, since a proxy
//! would look the name up itself.

mod rules;
mod special;

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};

pub use rules::{Refused, RuleError, Rules};
pub use special::Special;

use super::{HttpError, Settings};

/// Hosts of refusals that are remembered, so that each is logged once. When there are more, all are forgotten.
const LOGGED_MAX: usize = 256;

/// What is asked where somebody else said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A recording that is to be played.
    Play,
    /// A tool of a model.
    Tool,
    /// What follows a session with an app.
    Action,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Purpose; 3] = [Purpose::Play, Purpose::Tool, Purpose::Action];

    /// Its name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Play => "play",
            Purpose::Tool => "tool",
            Purpose::Action => "action",
        }
    }
}

/// Whoever counts refusals.
pub trait Watch: Send + Sync {
    /// Somebody was not asked.
    fn outbound_refused(&self, purpose: Purpose);
}

/// Whoever knows the addresses of names: the system, or what a test puts in its place.
pub trait Lookup: Send + Sync {
    /// The addresses of a name, in the order in which they are to be tried. Dropping the future gives the attempt up.
    ///
    /// # Errors
    /// Why there are none.
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// As the system looks them up.
struct System;

impl Lookup for System {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) }.boxed()
    }
}

/// Who may be asked, for all who ask. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    rules: Arc<Rules>,
    lookup: Arc<dyn Lookup>,
    watch: Option<Arc<dyn Watch>>,
    logged: Arc<Mutex<HashSet<(Purpose, String)>>>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Default for Outbound {
    /// The public web, and nobody counts.
    fn default() -> Self {
        Outbound::new(Rules::default())
    }
}

impl Outbound {
    /// By these rules, with the names that the system knows.
    pub fn new(rules: Rules) -> Self {
        Outbound { rules: Arc::new(rules), lookup: Arc::new(System), watch: None, logged: Arc::default() }
    }

    /// The same, and `watch` counts.
    #[must_use]
    pub fn watched(self, watch: Arc<dyn Watch>) -> Self {
        Outbound { watch: Some(watch), ..self }
    }

    /// The same with other names.
    #[must_use]
    pub fn looking_up(self, lookup: Arc<dyn Lookup>) -> Self {
        Outbound { lookup, ..self }
    }

    /// Told once for each time that somebody is not asked. The log names the host once, and nothing else of a URL.
    fn refuse(&self, purpose: Purpose, host: &str, refused: Refused) -> Refused {
        if let Some(watch) = &self.watch {
            watch.outbound_refused(purpose);
        }
        // Each change under the lock is whole by itself.
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() >= LOGGED_MAX {
            logged.clear();
        }
        if logged.insert((purpose, host.to_owned())) {
            tracing::warn!(kind = purpose.name(), host, reason = %refused, "an outbound request was refused");
        }
        refused
    }
}

/// A client for URLs that somebody else chose. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Guarded {
    client: Client,
    outbound: Outbound,
    purpose: Purpose,
}

impl Guarded {
    /// A client that has asked nobody yet. Whatever `settings` say, it uses no proxy.
    ///
    /// # Errors
    /// [`HttpError::Trust`] and [`HttpError::Client`].
    pub fn new(settings: Settings<'_>, outbound: &Outbound, purpose: Purpose) -> Result<Self, HttpError> {
        let names = Names { outbound: outbound.clone(), purpose };
        let client = super::builder(settings)?.no_proxy().dns_resolver(Arc::new(names)).build()?;
        Ok(Guarded { client, outbound: outbound.clone(), purpose })
    }

    /// The client for `url`, unless it may not be asked. A name is looked at again when it is looked up.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn client(&self, url: &Url) -> Result<&Client, Refused> {
        match self.outbound.rules.admit(url) {
            Ok(()) => Ok(&self.client),
            Err(refused) => Err(self.outbound.refuse(self.purpose, url.host_str().unwrap_or_default(), refused)),
        }
    }
}

/// Why a request of a [`Guarded`] client failed, if it was for the rules.
pub fn refusal_of(error: &reqwest::Error) -> Option<Refused> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(*refused);
        }
        cause = error.source();
    }
    None
}

/// Looks names up, and leaves out the addresses that may not be dialled.
struct Names {
    outbound: Outbound,
    purpose: Purpose,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (outbound, purpose) = (self.outbound.clone(), self.purpose);
        async move {
            let name = name.as_str();
            let found = outbound.lookup.lookup(name.to_owned()).await?;
            let admitted = outbound.rules.of_name(name, found);
            let admitted = admitted.map_err(|refused| outbound.refuse(purpose, name, refused))?;
            Ok(Box::new(admitted.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
