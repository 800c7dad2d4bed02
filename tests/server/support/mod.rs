//! What the tests of the server are made of: a gateway on a free port, and everybody who talks to it.

pub(crate) mod carrier;
pub(crate) mod collector;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod logs;
pub(crate) mod phone;
pub(crate) mod program;
pub(crate) mod proxy;

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Longer than anything takes on a busy machine; a test that waits so long has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match timeout(LIMIT, wait).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come in time"),
    }
}

/// Asks again and again for something that must come.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}
