//! Signals that end the process.

use std::convert::Infallible;

use tokio_util::sync::CancellationToken;

/// Exit code of a process that was interrupted.
const INTERRUPTED: i32 = 130;

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Does `what` at each SIGHUP, for ever. From the call on, not from the first poll, the signal does not end the process.
pub(crate) fn at_hangup(what: impl Fn()) -> impl Future<Output = Infallible> {
    use tokio::signal::unix::{SignalKind, signal};
    let hangups = signal(SignalKind::hangup());
    async move {
        let Ok(mut hangups) = hangups else { return std::future::pending().await };
        loop {
            match hangups.recv().await {
                Some(()) => what(),
                None => std::future::pending::<()>().await,
            }
        }
    }
}

/// Runs `work` with a token that is cancelled by SIGINT or SIGTERM. A second signal ends the process at once: whoever
/// presses the keys twice does not want to wait for calls to finish.
pub(crate) async fn until_stopped<T, F: Future<Output = T>>(work: impl FnOnce(CancellationToken) -> F) -> T {
    let token = CancellationToken::new();
    let work = work(token.clone());
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = stopped() => token.cancel(),
    }
    tokio::select! {
        done = work => done,
        () = stopped() => std::process::exit(INTERRUPTED),
    }
}
