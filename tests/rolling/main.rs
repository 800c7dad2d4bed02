//! A rolling restart as an orchestrator does it: real processes, real signals, a balancer in front, and calls all the while.
//! Not one of them is dropped or stutters because of it, and every tape is whole.
//!
//! `TRUNKLINE_ROLLING_CALLS=300` makes it a load: all of them are live at one time.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

mod balancer;
mod replica;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trunkline::emulate::carrier::{
    AuthToken, EndedBy, HangUp, Incoming, Line, Outcome, Plan, Route, ask, random_sid, run,
};
use trunkline::ids::{CallSid, StreamSid};

use balancer::Balancer;
use replica::Replica;

/// What the webhook is known by; nobody looks the name up, because the balancer stands where it leads.
const PUBLIC_URL: &str = "https://gw.example.com";
const AUTH_TOKEN: &str = "12345";
const REPLICAS: usize = 3;
const CALLS: usize = 50;
/// How long a call lasts: longer than a replica is there after its stop signal, were it not for the call.
const CALL: Duration = Duration::from_secs(18);
/// New calls come evenly over so long: the first replica is stopped while they do, the others while all of them are live.
const ARRIVALS: Duration = Duration::from_secs(9);
/// Between two stops, apart from the start of a replica.
const PAUSE: Duration = Duration::from_millis(3_500);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

fn line(at: std::net::SocketAddr) -> Line {
    Line { route: Route::Plain(at.to_string()), auth_token: Some(AuthToken::new(AUTH_TOKEN)), ..Line::default() }
}

/// One call as the carrier makes it: the webhook, then the stream that it names, each by way of the balancer.
async fn call(balancer: std::net::SocketAddr) -> Outcome {
    let sid = |prefix| random_sid(prefix).unwrap();
    let (call, stream) = (CallSid::parse(&sid("CA")).unwrap(), StreamSid::parse(&sid("MZ")).unwrap());
    let incoming = Incoming {
        call_sid: call.clone(),
        account_sid: format!("AC{:032}", 1),
        from: "+15550100001".to_owned(),
        to: "+15550100002".to_owned(),
    };
    let offer = ask(&format!("{PUBLIC_URL}/twilio/voice"), &line(balancer), &incoming).await.expect("a stream");
    let plan = Plan {
        line: line(balancer),
        custom_parameters: offer.parameters,
        hang_up: HangUp::After(CALL),
        ..Plan::new(offer.url, call, stream)
    };
    Box::pin(run(plan, None, CancellationToken::new())).await.expect("a call")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_drops_no_call() {
    let calls = std::env::var("TRUNKLINE_ROLLING_CALLS").map_or(CALLS, |calls| calls.parse().unwrap());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rolling-{}", std::process::id()));
    let mut replicas = Vec::new();
    for n in 0..REPLICAS {
        replicas.push(Replica::start(&folder, n).await);
    }
    let balancer = Balancer::start().await;
    balancer.lead_to(&replicas);

    let mut carrier = JoinSet::new();
    let live = Arc::new(AtomicUsize::new(0));
    for n in 0..calls {
        let (at, live) = (balancer.address, live.clone());
        let wait = ARRIVALS.mul_f64(n as f64 / calls as f64);
        carrier.spawn(async move {
            sleep(wait).await;
            live.fetch_add(1, Ordering::Relaxed);
            let outcome = timeout(PATIENCE, call(at)).await.expect("a call ends");
            live.fetch_sub(1, Ordering::Relaxed);
            outcome
        });
    }

    // One after the other: a new one is there and ready before an old one is told to stop. Nobody waits for the old one's
    // calls, as no orchestrator does: it has its grace period.
    let mut leaving = JoinSet::new();
    let mut live_at_stops = Vec::new();
    for n in 0..REPLICAS {
        sleep(PAUSE).await;
        let new = Replica::start(&folder, REPLICAS + n).await;
        let old = std::mem::replace(&mut replicas[n], new);
        // As `preStop` does: the balancer hears of it first, and what is on its way is answered. A node that drains sends new
        // calls away.
        balancer.lead_to(&replicas);
        sleep(Duration::from_secs(1)).await;
        live_at_stops.push(live.load(Ordering::Relaxed));
        old.terminate().await;
        leaving.spawn(async move {
            sleep(Duration::from_millis(500)).await;
            (n, old.leave().await)
        });
    }

    assert!(live_at_stops.contains(&calls), "all calls were live when a replica was stopped: {live_at_stops:?}");
    let outcomes = timeout(PATIENCE, carrier.join_all()).await.expect("all calls end");
    assert_eq!(outcomes.len(), calls);
    let (mut heard, mut worst) = (0.0_f64, 0.0_f64);
    for outcome in &outcomes {
        let report = &outcome.report;
        assert_eq!(report.ended, EndedBy::Caller, "{report:?}");
        assert!(report.first_audio_ms.is_some() && report.warnings_total == 0, "{report:?}");
        heard += report.audio_played_ms;
        worst = worst.max(report.lateness_ms.map_or(0.0, |late| late.max));
    }

    // The old ones left by themselves once their last call was over, and the others do so now.
    for (n, replica) in replicas.into_iter().enumerate() {
        replica.terminate().await;
        leaving.spawn(async move { (REPLICAS + n, replica.leave().await) });
    }
    let mut left = timeout(PATIENCE, leaving.join_all()).await.expect("every process ends");
    // They come in the order in which they ended.
    left.sort_by_key(|(n, _)| *n);
    let left: Vec<_> = left.into_iter().map(|(_, left)| left).collect();
    assert_eq!(left.len(), 2 * REPLICAS);
    let counted: u64 = left.iter().map(|left| left.calls_ended).sum();
    assert_eq!(
        counted,
        u64::try_from(calls).unwrap(),
        "the last numbers of all replicas together are all calls: {left:?}"
    );
    assert!(left.iter().all(|left| left.code == Some(0) && left.panics == 0), "{left:?}");
    let busy = left.iter().take(REPLICAS).filter(|left| left.live_at_stop > 0).count();
    assert_eq!(busy, REPLICAS, "each was stopped in the middle of calls: {left:?}");
    let tapes = replica::whole_tapes(&folder).await;
    assert_eq!(tapes, calls, "each call left a tape that replays to what it sent");
    println!(
        "{calls} calls, of which {live_at_stops:?} were live when a replica was stopped, {:?} of them on it; {:.0} s heard, worst \
         frame {worst:.0} ms late",
        left.iter().take(REPLICAS).map(|left| left.live_at_stop).collect::<Vec<_>>(),
        heard / 1_000.0
    );
    let _ = std::fs::remove_dir_all(folder);
}
