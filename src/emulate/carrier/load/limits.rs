//! What a load may not do, found out before the first call.

use std::net::IpAddr;
use std::time::Duration;

use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::http::uri::Authority;

use super::super::dial::Route;
use super::super::plan::Plan;
use super::process::descriptors_max;
use super::{Lasting, LoadError, LoadPlan};

/// Descriptors beside those of calls: the runtime's, listeners, files that are looked into.
const SPARE: u64 = 64;

/// How long a short call takes beside its length: to be made and to be closed.
const AROUND: Duration = Duration::from_secs(1);

/// Whether `plan` may be begun.
///
/// # Errors
/// [`LoadError::NotLoopback`], [`LoadError::Descriptors`].
pub(super) fn check(plan: &LoadPlan) -> Result<(), LoadError> {
    if !is_on_loopback(&plan.base) {
        return Err(LoadError::NotLoopback);
    }
    let needed = descriptors(plan);
    match descriptors_max() {
        Some(allowed) if allowed < needed => Err(LoadError::Descriptors { allowed, needed }),
        Some(_) | None => Ok(()),
    }
}

/// Whether calls go to this machine only. A name other than `localhost` may lead anywhere.
fn is_on_loopback(plan: &Plan) -> bool {
    let host = match &plan.line.route {
        Route::Direct => plan.url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)),
        Route::Plain(address) | Route::Tls(address) => {
            address.parse::<Authority>().ok().map(|authority| authority.host().to_owned())
        }
    };
    host.is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    })
}

/// Descriptors that are in use at a time: for each call its own socket and that of the voice.
fn descriptors(plan: &LoadPlan) -> u64 {
    let calls = u64::from(plan.calls);
    let at_a_time = match plan.lasting {
        Lasting::Window(_) => calls,
        Lasting::Each(each) => calls.min(u64::from(plan.ramp).saturating_mul((each + AROUND).as_secs() + 1)),
    };
    2 * at_a_time + SPARE
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    #[test]
    fn only_this_machine_is_loaded() {
        for (url, route, expected) in [
            ("ws://127.0.0.1:80/m", Route::Direct, true),
            ("ws://127.9.9.9/m", Route::Direct, true),
            ("ws://[::1]:80/m", Route::Direct, true),
            ("ws://LocalHost:80/m", Route::Direct, true),
            ("ws://gw.example.com/m", Route::Direct, false),
            ("ws://localhost.example.com/m", Route::Direct, false),
            ("ws://10.0.0.1/m", Route::Direct, false),
            ("no url", Route::Direct, false),
            ("ws://gw.example.com/m", Route::Plain("127.0.0.1:80".to_owned()), true),
            ("ws://gw.example.com/m", Route::Plain("[::1]:80".to_owned()), true),
            ("ws://127.0.0.1/m", Route::Plain("10.0.0.1:80".to_owned()), false),
            ("ws://127.0.0.1/m", Route::Tls("gw.example.com:443".to_owned()), false),
        ] {
            let mut plan = plan(url.to_owned(), 1, Lasting::Each(Duration::from_secs(1)));
            plan.base.line.route = route;
            let outcome = check(&plan);
            assert_eq!(outcome.is_ok(), expected, "{url}");
            assert!(expected || matches!(outcome, Err(LoadError::NotLoopback)), "{url}");
        }
    }

    #[test]
    fn descriptors_are_counted_for_calls_that_are_live_together() {
        let needed = |calls, lasting| descriptors(&plan("ws://127.0.0.1/".to_owned(), calls, lasting));
        assert_eq!(needed(500, Lasting::Window(Duration::from_secs(20))), 1_064);
        // 100 new ones a second, each there for up to three.
        assert_eq!(needed(10_000, Lasting::Each(Duration::from_secs(1))), 664);
        assert_eq!(needed(10, Lasting::Each(Duration::from_secs(60))), 84);
    }
}
