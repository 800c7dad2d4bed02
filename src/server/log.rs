//! The level of the log while the node runs: raised for a while, and back by itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::Level;

use super::api::ApiError;
use super::fields::Fields;
use super::node::Node;

/// How long another level holds if nobody says how long.
const FOR_S: u32 = 600;
/// Longest time for which another level holds: a day. A node that writes all it can fills a disk.
const FOR_S_MAX: u32 = 86_400;

const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

/// A level other than that of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Borrowed {
    level: Level,
    until: Instant,
}

/// Sets the level of this process's log.
#[derive(Clone)]
pub struct LogSwitch {
    usual: Level,
    set: Arc<dyn Fn(Level) + Send + Sync>,
    borrowed: watch::Sender<Option<Borrowed>>,
}

impl fmt::Debug for LogSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSwitch").field("usual", &self.usual).finish_non_exhaustive()
    }
}

impl LogSwitch {
    /// A log whose level is `usual` now, and which `set` gives another one.
    pub fn new(usual: Level, set: impl Fn(Level) + Send + Sync + 'static) -> Self {
        LogSwitch { usual, set: Arc::new(set), borrowed: watch::Sender::new(None) }
    }

    /// Another level for a while, from now on.
    fn borrow(&self, level: Level, span: Duration) {
        let until = Instant::now() + span;
        // Of two changes at once, the log has the level of the one that is remembered.
        self.borrowed.send_modify(|borrowed| {
            (self.set)(level);
            *borrowed = Some(Borrowed { level, until });
        });
    }

    /// Gives the log its usual level back whenever another one has held for long enough. Never ends; cancel-safe.
    pub(super) async fn keep(self) {
        let mut changes = self.borrowed.subscribe();
        loop {
            let borrowed = *changes.borrow_and_update();
            tokio::select! {
                // The sender is ours: it does not go away.
                _ = changes.changed() => {}
                () = passed(borrowed) => {
                    self.borrowed.send_modify(|now| {
                        // It may have been changed again meanwhile.
                        if *now == borrowed {
                            (self.set)(self.usual);
                            *now = None;
                        }
                    });
                    tracing::info!(level = name(self.usual), "the log has its usual level again");
                }
            }
        }
    }

    fn show(&self) -> Response {
        let borrowed = *self.borrowed.borrow();
        let level = borrowed.map_or(self.usual, |borrowed| borrowed.level);
        let left =
            borrowed.map(|borrowed| borrowed.until.saturating_duration_since(Instant::now()).as_secs_f64().ceil());
        Json(json!({ "level": name(level), "usual": name(self.usual), "for_s": left })).into_response()
    }
}

async fn passed(borrowed: Option<Borrowed>) {
    match borrowed {
        Some(borrowed) => sleep_until(borrowed.until).await,
        None => std::future::pending().await,
    }
}

fn name(level: Level) -> &'static str {
    LEVELS.iter().find(|(_, known)| *known == level).map_or("info", |(name, _)| name)
}

fn switch(node: &Node) -> Result<&LogSwitch, ApiError> {
    node.settings().log.as_ref().ok_or(ApiError::NoLog)
}

/// `GET /v1/log`: the level, and for how long it holds if it is not the usual one.
pub(super) async fn show(State(node): State<Node>) -> Result<Response, ApiError> {
    Ok(switch(&node)?.show())
}

/// `PUT /v1/log`: another level for a while.
pub(super) async fn set(State(node): State<Node>, request: Request) -> Result<Response, ApiError> {
    let switch = switch(&node)?;
    let mut body = Fields::of_request(request).await?;
    let level = body.one_of("level", &LEVELS)?.ok_or_else(|| ApiError::field("level", "is missing"))?;
    let for_s = body.whole("for_s")?.unwrap_or(FOR_S);
    body.finish()?;
    if for_s > FOR_S_MAX {
        return Err(ApiError::field("for_s", &format!("must be at most {FOR_S_MAX}")));
    }
    switch.borrow(level, Duration::from_secs(for_s.into()));
    // So that whoever reads the log knows why it changes.
    tracing::warn!(level = name(level), for_s, "the log has another level for a while");
    Ok(switch.show())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_usual_level_comes_back_by_itself_and_the_last_wish_counts() {
        let set = Arc::<Mutex<Vec<Level>>>::default();
        let sink = set.clone();
        let switch = LogSwitch::new(Level::WARN, move |level| sink.lock().unwrap().push(level));
        let wishes = switch.clone();
        let story = async {
            wishes.borrow(Level::TRACE, Duration::from_secs(100));
            sleep(Duration::from_secs(60)).await;
            wishes.borrow(Level::DEBUG, Duration::from_secs(100));
            sleep(Duration::from_secs(99)).await;
            assert_eq!(*set.lock().unwrap(), [Level::TRACE, Level::DEBUG]);
            sleep(Duration::from_secs(2)).await;
            assert_eq!(*set.lock().unwrap(), [Level::TRACE, Level::DEBUG, Level::WARN]);
            assert_eq!(*wishes.borrowed.borrow(), None);
            sleep(Duration::from_secs(1_000)).await;
        };
        tokio::select! {
            () = switch.keep() => panic!("it never ends"),
            () = story => {}
        }
        assert_eq!(set.lock().unwrap().len(), 3);
    }
}
