//! The account as links use it: over pipes, on the paused clock.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::call::action::TtsCommand;
use crate::dialect::{Body, Input, Port};
use crate::driver::ByteStream;
use crate::ids::{ContextId, TurnId};

/// What a provider does with those who dial it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Welcomes,
    Refuses,
    Answers(u16),
}

/// A provider at the other end of pipes.
struct Provider {
    manner: Mutex<Manner>,
    dials: AtomicU32,
    accepted: mpsc::Sender<WebSocketStream<DuplexStream>>,
    servers: Mutex<JoinSet<()>>,
}

impl Provider {
    fn new() -> (Arc<Self>, mpsc::Receiver<WebSocketStream<DuplexStream>>) {
        let (accepted, sockets) = mpsc::channel(512);
        let provider = Provider {
            manner: Mutex::new(Manner::Welcomes),
            dials: AtomicU32::new(0),
            accepted,
            servers: Mutex::default(),
        };
        (Arc::new(provider), sockets)
    }

    fn is(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn dials(&self) -> u32 {
        self.dials.load(Ordering::Relaxed)
    }
}

impl Connect for Provider {
    fn connect<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Box<dyn ByteStream>>> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let (ours, mut theirs) = duplex(4_096);
        match *self.manner.lock().unwrap() {
            Manner::Refuses => return async { Err(io::ErrorKind::ConnectionRefused.into()) }.boxed(),
            Manner::Welcomes => {
                let accepted = self.accepted.clone();
                self.servers.lock().unwrap().spawn(async move {
                    if let Ok(socket) = tokio_tungstenite::accept_async(theirs).await {
                        let _ = accepted.send(socket).await;
                    }
                });
            }
            Manner::Answers(status) => {
                self.servers.lock().unwrap().spawn(async move {
                    let _ = theirs.read(&mut [0; 2_048]).await;
                    let _ = theirs.write_all(format!("HTTP/1.1 {status} No\r\n\r\n").as_bytes()).await;
                });
            }
        }
        async move { Ok(Box::new(ours) as Box<dyn ByteStream>) }.boxed()
    }
}

fn handshake() -> Handshake {
    Handshake { url: "ws://voice.test/".to_owned(), headers: Vec::new() }
}

struct Bench {
    provider: Arc<Provider>,
    sockets: mpsc::Receiver<WebSocketStream<DuplexStream>>,
    account: Arc<Account>,
    meter: Meter,
}

fn bench(settings: Settings) -> Bench {
    let (provider, sockets) = Provider::new();
    let meter = Meter::default();
    let dialler = Arc::new(Dialler::new(None).unwrap().over(provider.clone()));
    Bench { account: Account::new(settings, dialler, &meter), provider, sockets, meter }
}

impl Bench {
    async fn dial(&self) -> Result<Line, Refusal> {
        self.account.dial(handshake()).await
    }

    #[track_caller]
    fn counts(&self, line: &str) {
        let text = self.meter.render();
        assert!(text.lines().any(|other| other == line), "{line} is not so:\n{text}");
    }
}

fn followed() -> Settings {
    Settings { succession: Succession::Followed, ..Settings::plain("v") }
}

const SPARED: &str = "it failed too often of late";

fn is_spared(dialled: Result<Line, Refusal>, words: &str) -> bool {
    dialled.err() == Some(Refusal::Spared(words.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_refuses_is_spared_at_once_and_found_again_by_one_probe() {
    let bench = bench(followed());
    bench.provider.is(Manner::Refuses);
    for _ in 0..5 {
        assert!(matches!(bench.dial().await.err(), Some(Refusal::Unreachable(_))));
    }
    assert_eq!(bench.account.view().breaker, Condition::Open);
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(is_spared(bench.dial().await, SPARED));
    }
    assert_eq!((begun.elapsed(), bench.provider.dials()), (Duration::ZERO, 5));
    bench.counts("trunkline_tts_breaker{voice=\"v\"} 2");
    bench.counts("trunkline_tts_breaker_opens_total{voice=\"v\"} 1");
    bench.counts("trunkline_tts_dials_spared_total{voice=\"v\",kind=\"breaker\"} 100");

    // It is still away: one dial finds out for everybody.
    sleep(Duration::from_secs(5)).await;
    let dialled = futures_util::future::join_all((0..20).map(|_| bench.dial())).await;
    assert_eq!((dialled.iter().filter(|dialled| dialled.is_ok()).count(), bench.provider.dials()), (0, 6));

    bench.provider.is(Manner::Welcomes);
    sleep(Duration::from_secs(10)).await;
    assert!(bench.dial().await.is_ok());
    assert_eq!(bench.account.view().breaker, Condition::Closed);
    bench.counts("trunkline_tts_breaker{voice=\"v\"} 0");
}

#[tokio::test(start_paused = true)]
async fn a_voice_that_nobody_stands_in_for_is_always_tried() {
    let bench = bench(Settings::plain("v"));
    bench.provider.is(Manner::Refuses);
    for _ in 0..30 {
        assert!(matches!(bench.dial().await.err(), Some(Refusal::Unreachable(_))));
    }
    assert_eq!((bench.account.view().breaker, bench.provider.dials()), (Condition::Open, 30));
    bench.provider.is(Manner::Welcomes);
    assert!(bench.dial().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn where_speech_fails_on_every_link_a_made_link_is_not_enough() {
    let bench = bench(followed());
    for _ in 0..5 {
        drop(bench.dial().await.ok().unwrap());
        bench.account.fell_silent();
    }
    assert!(is_spared(bench.dial().await, SPARED));
    sleep(Duration::from_secs(5)).await;
    let probe = bench.dial().await.ok().unwrap();
    assert_eq!(bench.account.view().breaker, Condition::HalfOpen);
    assert!(is_spared(bench.dial().await, SPARED));
    // A call with nothing to say leaves the question to the next.
    drop(probe);
    let _probe = bench.dial().await.ok().unwrap();
    bench.account.spoke();
    assert_eq!(bench.account.view().breaker, Condition::Closed);
    assert!(bench.dial().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn sockets_are_limited_and_free_again_when_a_link_ends_in_whichever_way() {
    let bench = bench(Settings { max_sockets: Some(2), ..followed() });
    let (first, _second) = (bench.dial().await.ok().unwrap(), bench.dial().await.ok().unwrap());
    assert!(is_spared(bench.dial().await, "all sockets of the account are in use"));
    bench.counts("trunkline_tts_sockets{voice=\"v\"} 2");
    bench.counts("trunkline_tts_sockets_limit{voice=\"v\"} 2");
    bench.counts("trunkline_tts_dials_spared_total{voice=\"v\",kind=\"sockets\"} 1");
    drop(first);
    // Given up in the middle.
    drop(tokio::time::timeout(Duration::ZERO, bench.dial()).await);
    assert!(bench.dial().await.is_ok());
    let panicking = std::panic::AssertUnwindSafe(async {
        let _line = bench.dial().await.ok().unwrap();
        panic!("as a task of a call might");
    });
    assert!(panicking.catch_unwind().await.is_err());
    assert_eq!(bench.account.view().sockets.in_use, 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_has_too_many_sockets_gets_fewer_for_a_while() {
    let bench = bench(Settings { max_sockets: Some(10), ..followed() });
    let lines = [bench.dial().await, bench.dial().await, bench.dial().await];
    bench.provider.is(Manner::Answers(429));
    assert_eq!(bench.dial().await.err(), Some(Refusal::Status(429)));
    assert_eq!(bench.account.view().sockets, Use { in_use: 3, limit: Some(3), most: Some(10) });
    assert!(is_spared(bench.dial().await, "all sockets of the account are in use"));
    bench.counts("trunkline_tts_refusals_total{voice=\"v\",kind=\"socket\"} 1");
    bench.provider.is(Manner::Welcomes);
    sleep(Duration::from_secs(5)).await;
    assert!(bench.dial().await.is_ok());
    drop(lines);
}

#[tokio::test(start_paused = true)]
async fn a_warm_socket_is_there_at_once_with_what_was_said_on_it_and_is_replaced() {
    let mut bench = bench(Settings { warm: 1, max_sockets: Some(2), ..followed() });
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(bench.account.clone().keep_warm(handshake(), stop.clone()));
    let mut theirs = bench.sockets.recv().await.unwrap();
    theirs.send(WsMessage::text("ready")).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.account.view().warm, bench.account.view().sockets.in_use), (1, 1));
    bench.counts("trunkline_tts_sockets_warm{voice=\"v\"} 1");

    // Nobody can be reached any more, and still there is a link.
    bench.provider.is(Manner::Refuses);
    let elsewhere = Handshake { url: "ws://other.test/".to_owned(), headers: Vec::new() };
    assert!(bench.account.dial(elsewhere).await.is_err());
    let mut line = bench.dial().await.ok().unwrap();
    assert_eq!(line.early.as_slice(), [WsMessage::text("ready")]);
    theirs.send(WsMessage::text("more")).await.unwrap();
    assert_eq!(line.socket.next().await.unwrap().unwrap(), WsMessage::text("more"));
    bench.counts("trunkline_tts_warm_adoptions_total{voice=\"v\"} 1");

    bench.provider.is(Manner::Welcomes);
    let _next = bench.sockets.recv().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.account.view().warm, bench.account.view().sockets.in_use), (1, 2));
    drop(line);
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    assert_eq!((bench.account.view().warm, bench.account.view().sockets.in_use), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn warm_sockets_answer_pings_go_in_good_order_when_they_are_old_and_are_renewed_when_they_die() {
    let mut bench = bench(Settings { warm: 1, warm_age: Duration::from_secs(100), ..followed() });
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(bench.account.clone().keep_warm(handshake(), stop.clone()));

    // The first one is pinged, pings, and grows old.
    let mut theirs = bench.sockets.recv().await.unwrap();
    let born = Instant::now();
    theirs.send(WsMessage::Ping("?".into())).await.unwrap();
    assert_eq!(theirs.next().await.unwrap().unwrap(), WsMessage::Pong("?".into()));
    let goodbye = loop {
        match theirs.next().await.unwrap().unwrap() {
            WsMessage::Ping(_) => {}
            other => break other,
        }
    };
    assert!(matches!(goodbye, WsMessage::Close(None)), "{goodbye:?}");
    assert!((75..=100).contains(&born.elapsed().as_secs()), "{:?}", born.elapsed());
    drop(theirs);

    // The second one is closed by the provider, the third one says nothing any more.
    drop(bench.sockets.recv().await.unwrap());
    let silent = bench.sockets.recv().await.unwrap();
    let born = Instant::now();
    let _theirs = bench.sockets.recv().await.unwrap();
    assert!(born.elapsed() < Duration::from_secs(60), "{:?}", born.elapsed());
    drop(silent);
    stop.cancel();
    while tasks.join_next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_is_not_dialled_in_vain_for_warm_sockets_all_the_time() {
    let bench = bench(Settings { warm: 3, ..followed() });
    bench.provider.is(Manner::Refuses);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(bench.account.clone().keep_warm(handshake(), stop.clone()));
    sleep(Duration::from_secs(60)).await;
    let dials = bench.provider.dials();
    assert!((6..=12).contains(&dials), "{dials}");
    bench.provider.is(Manner::Welcomes);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.account.view().warm, 3);
    // It was the warm sockets' dial that found out: no call had to.
    assert_eq!(bench.account.view().breaker, Condition::Closed);
    tasks.shutdown().await;
    assert_eq!(bench.account.view().sockets.in_use, 0);
}

/// A link's leases, and where its grants come.
struct Side {
    leases: Leases,
    inbox: mpsc::Sender<Input>,
    told: mpsc::Receiver<Input>,
    tasks: JoinSet<()>,
}

const PORT: Port = Port::Voice { voice: 0, link: 1 };

fn side(account: &Arc<Account>) -> Side {
    let (inbox, told) = mpsc::channel(8);
    Side { leases: Leases::new(Some(account.clone())), inbox, told, tasks: JoinSet::new() }
}

fn context(turn: u32) -> ContextId {
    ContextId { turn: TurnId(turn), serial: 1 }
}

fn granted(turn: u32) -> Input {
    Input { port: PORT, body: Body::Voice(crate::call::event::TtsEvent::Granted { context: context(turn) }) }
}

impl Side {
    fn reserve(&mut self, turn: u32, ahead: bool, within_ms: u64) -> Option<Input> {
        let urgency = Urgency { ahead, due: Instant::now() + Duration::from_millis(within_ms) };
        self.leases.reserve(context(turn), urgency, (PORT, self.inbox.clone()), &mut self.tasks)
    }

    fn speak(&mut self, turn: u32) {
        let on = crate::call::action::Place {
            voice: 0,
            context: context(turn),
            format: crate::audio::SourceFormat { encoding: crate::audio::Encoding::PcmS16Le, rate: 8_000 },
            delivery: Arc::default(),
        };
        self.leases.follow(&TtsCommand::Speak { on, text: "Hi.".to_owned() });
    }

    fn cancel(&mut self, turn: u32) {
        self.leases.follow(&TtsCommand::Cancel { voice: 0, context: context(turn) });
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_one_call_gives_back_goes_to_the_most_urgent_of_the_others() {
    let bench = bench(Settings { max_contexts: Some(1), ..followed() });
    let [mut a, mut b, mut c] = [(); 3].map(|()| side(&bench.account));
    assert_eq!(a.reserve(1, false, 0), Some(granted(1)));
    assert_eq!((b.reserve(7, true, 0), c.reserve(9, true, 100)), (None, None));
    bench.counts("trunkline_tts_contexts{voice=\"v\"} 1");
    bench.counts("trunkline_tts_contexts_waiting{voice=\"v\"} 2");
    // Its time has come: what was asked for is more urgent now, and asked for once.
    assert_eq!(c.reserve(9, false, 500), None);
    assert_eq!(bench.account.view().waiting, 2);
    sleep(Duration::from_millis(300)).await;
    a.speak(1);
    a.leases.end(context(1));
    assert_eq!(c.told.recv().await, Some(granted(9)));
    assert!(b.told.try_recv().is_err());
    bench.counts("trunkline_tts_context_wait_seconds_sum{voice=\"v\"} 0.3");
    // The call ends, or panics: everything that it holds is dropped.
    drop(c);
    assert_eq!(b.told.recv().await, Some(granted(7)));
    b.leases.clear();
    while b.tasks.join_next().await.is_some() {}
    assert_eq!((bench.account.view().contexts.in_use, bench.account.view().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_context_counts_until_its_provider_lets_go_of_it_but_not_for_long() {
    let bench = bench(Settings { max_contexts: Some(2), ..followed() });
    let mut call = side(&bench.account);
    let in_use = || bench.account.view().contexts.in_use;
    assert!(call.reserve(1, false, 0).is_some() && call.reserve(2, false, 0).is_some());
    assert!(call.reserve(3, false, 0).is_none() && call.reserve(4, true, 0).is_none());
    // Taken back while it waits.
    call.cancel(4);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.account.view().waiting, 1);
    // Nothing was said on the first one: its provider knows nothing of it.
    call.cancel(1);
    assert_eq!(call.told.recv().await, Some(granted(3)));
    call.speak(2);
    call.speak(3);
    call.cancel(2);
    call.cancel(3);
    let begun = Instant::now();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(in_use(), 2);
    call.leases.end(context(2));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(in_use(), 1);
    while call.tasks.join_next().await.is_some() {}
    assert_eq!((in_use(), begun.elapsed()), (0, Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_context_lowers_the_limit_for_a_while() {
    let bench = bench(Settings { max_contexts: Some(15), ..followed() });
    let mut call = side(&bench.account);
    for turn in 1..=10 {
        assert!(call.reserve(turn, false, 0).is_some());
    }
    bench.account.refused_context();
    call.leases.end(context(10));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.account.view().contexts, Use { in_use: 9, limit: Some(9), most: Some(15) });
    assert!(call.reserve(11, false, 0).is_none());
    bench.counts("trunkline_tts_refusals_total{voice=\"v\",kind=\"context\"} 1");
    bench.counts("trunkline_tts_contexts_limit{voice=\"v\"} 9");
    assert_eq!(bench.account.view().breaker, Condition::Closed);
}
