//! The link against the emulated server, over in-memory sockets on a paused clock: every time in them is exact.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::audio::{Encoding, SourceFormat};
use crate::dialect::speech::{Language, openai};
use crate::emulate::speech::{Emulator, End, Journal, RATE, Record, Server, Settings, Voice};
use crate::emulate::tts::tone;
use crate::http::{self, Http, Unreachable};
use crate::ids::{StreamSid, TurnId};
use crate::secret::Secret;

/// Longest wait of a test, in the clock's time.
const LIMIT: Duration = Duration::from_secs(120);
/// What the link's inbox holds.
const INBOX: usize = 64;
/// 20 characters: 1.2 s of tone, 57,600 bytes, 14 chunks.
const TEXT: &str = "Twenty letters, yes.";
const TEXT_BYTES: usize = 57_600;

/// Carries each request over an in-memory socket of its own.
#[derive(Debug)]
struct InMemory {
    emulator: Emulator,
    sockets: Arc<Mutex<JoinSet<()>>>,
}

impl Exchange for InMemory {
    fn exchange(&self, request: reqwest::Request) -> BoxFuture<'static, Result<reqwest::Response, Unreachable>> {
        let (emulator, sockets) = (self.emulator.clone(), self.sockets.clone());
        async move {
            let (near, far) = tokio::io::duplex(16 * 1024);
            let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.map_err(|_| Unreachable)?;
            {
                let mut sockets = sockets.lock().unwrap();
                sockets.spawn(async move { emulator.serve(far, CancellationToken::new()).await });
                sockets.spawn(connection.map(drop));
            }
            let request = hyper::Request::<reqwest::Body>::try_from(request).map_err(|_| Unreachable)?;
            let response = sender.send_request(request).await.map_err(|_| Unreachable)?;
            Ok(response.map(reqwest::Body::wrap).into())
        }
        .boxed()
    }
}

/// Answers every request with the same pieces.
#[derive(Debug)]
struct Canned(&'static [&'static [u8]]);

impl Exchange for Canned {
    fn exchange(&self, _: reqwest::Request) -> BoxFuture<'static, Result<reqwest::Response, Unreachable>> {
        let pieces = self.0.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece)));
        let body = reqwest::Body::wrap_stream(stream::iter(pieces));
        std::future::ready(Ok(hyper::Response::new(body).into())).boxed()
    }
}

struct Rig {
    commands: mpsc::Sender<TtsCommand>,
    inbox: mpsc::Receiver<Input>,
    _link: JoinSet<()>,
}

fn context(turn: u32) -> ContextId {
    ContextId { turn: TurnId(turn), serial: 1 }
}

fn place(turn: u32) -> Place {
    let format = SourceFormat { encoding: Encoding::PcmS16Le, rate: RATE };
    Place { voice: 0, context: context(turn), format, delivery: Arc::default() }
}

impl Rig {
    fn with(url: &str, exchange: Arc<dyn Exchange>) -> Self {
        let settings = openai::Settings {
            url: url.to_owned(),
            api_key: Secret::new("k"),
            model: "tts-1".to_owned(),
            voice: "alloy".to_owned(),
            speed: None,
            instructions: None,
        };
        let Language::Requests(dialect) = settings.language(&StreamSid::parse("MZ1").unwrap()) else {
            panic!("a socket")
        };
        let ((commands, pending), (sender, inbox)) = (mpsc::channel(64), mpsc::channel(INBOX));
        let mut link = JoinSet::new();
        link.spawn(serve((dialect, exchange), Port::Voice { voice: 0, link: 1 }, sender, pending));
        Rig { commands, inbox, _link: link }
    }

    /// A link to an emulated server, and its record.
    async fn to(settings: Settings) -> (Self, Journal) {
        let emulator = Emulator::new(settings).unwrap();
        let journal = emulator.journal();
        let mut rig = Rig::with("http://speech.test/v1", Arc::new(InMemory { emulator, sockets: Arc::default() }));
        assert_eq!(rig.next().await, Body::Up);
        (rig, journal)
    }

    async fn faulty(faults: &[&str]) -> (Self, Journal) {
        Self::to(Settings { faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(), ..tones() }).await
    }

    async fn next(&mut self) -> Body {
        timeout(LIMIT, self.inbox.recv()).await.expect("something in time").expect("a link").body
    }

    fn speak(&self, turn: u32, text: &str) {
        self.commands.try_send(TtsCommand::Speak { on: place(turn), text: text.to_owned() }).unwrap();
    }

    fn finish(&self, turn: u32) {
        self.commands.try_send(TtsCommand::Finish { on: place(turn) }).unwrap();
    }

    fn cancel(&self, turn: u32) {
        self.commands.try_send(TtsCommand::Cancel { voice: 0, context: context(turn) }).unwrap();
    }

    /// What is said up to the end of the context, or its failure.
    async fn said(&mut self) -> Said {
        let mut said = Said::default();
        loop {
            match self.next().await {
                Body::Voice(TtsEvent::Audio { audio, .. }) => {
                    assert!(audio.len() <= 9_600 && audio.len().is_multiple_of(2), "{} bytes", audio.len());
                    said.audio.extend_from_slice(&audio);
                }
                Body::Voice(TtsEvent::Spoken { texts, .. }) => said.spoken.push((texts, said.audio.len())),
                Body::Voice(TtsEvent::Done { context }) => {
                    said.done = Some(context);
                    return said;
                }
                Body::Voice(TtsEvent::Failed { fault, .. }) => {
                    said.fault = Some(fault);
                    return said;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[derive(Debug, Default)]
struct Said {
    audio: Vec<u8>,
    /// Texts spoken, and how much audio there was by then.
    spoken: Vec<(usize, usize)>,
    done: Option<ContextId>,
    fault: Option<Fault>,
}

impl Said {
    /// The tones of its texts, in the order in which they are heard.
    fn tones(&self) -> Vec<Option<u32>> {
        let mut begin = 0;
        let classify = |begin: usize| {
            let samples = self.audio[begin + 9_600..begin + 11_520].chunks_exact(2);
            let samples: Vec<i16> = samples.map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
            tone::classify(&samples, RATE)
        };
        self.spoken.iter().map(|(_, end)| classify(std::mem::replace(&mut begin, *end))).collect()
    }
}

fn tones() -> Settings {
    Settings { voice: Voice::Tone, ..Settings::default() }
}

async fn all_ended(journal: &Journal) -> Vec<Record> {
    let waiting = async {
        loop {
            let records = journal.records();
            if records.iter().all(|record| record.ended.is_some()) {
                return records;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LIMIT, waiting).await.expect("an end in time")
}

#[tokio::test(start_paused = true)]
async fn texts_are_spoken_in_order_and_the_next_is_asked_for_meanwhile() {
    let (mut rig, journal) = Rig::to(tones()).await;
    let texts = [" One, a first sentence.", " Two, a second one.", " Three, the third of them.", " Four, the last."];
    texts.iter().for_each(|text| rig.speak(7, text));
    rig.finish(7);
    let said = rig.said().await;
    assert_eq!((said.done, &said.fault), (Some(context(7)), &None));
    let ends: Vec<usize> = texts
        .iter()
        .scan(0, |at, text| {
            *at += text.trim().len() * 60 * 48;
            Some(*at)
        })
        .collect();
    assert_eq!(said.spoken, (1..=4).zip(ends).collect::<Vec<_>>());
    assert_eq!(said.tones(), [Some(0), Some(1), Some(2), Some(3)]);

    let records = all_ended(&journal).await;
    let asked: Vec<&str> = records.iter().map(|record| record.input.as_str()).collect();
    assert_eq!(asked, texts.map(str::trim));
    for pair in records.windows(2) {
        // Not before the one in front is heard, which would slow it down, but long before it is over.
        assert!(pair[1].at >= pair[0].first_at.unwrap(), "{pair:?}");
        assert!(pair[1].at < pair[0].ended.unwrap().0, "{pair:?}");
    }
    assert_eq!(journal.counts().active_most, 2);
}

#[tokio::test(start_paused = true)]
async fn the_next_turn_is_asked_for_while_this_one_ends() {
    let (mut rig, journal) = Rig::to(tones()).await;
    rig.speak(1, TEXT);
    rig.finish(1);
    rig.speak(2, TEXT);
    rig.finish(2);
    assert_eq!(rig.said().await.done, Some(context(1)));
    let second = rig.said().await;
    assert_eq!((second.done, second.spoken), (Some(context(2)), vec![(1, TEXT_BYTES)]));
    let records = all_ended(&journal).await;
    assert!(records[1].at < records[0].ended.unwrap().0);
}

#[tokio::test(start_paused = true)]
async fn audio_comes_as_it_is_made() {
    let (mut rig, _) = Rig::to(tones()).await;
    let began = Instant::now();
    rig.speak(1, TEXT);
    assert!(matches!(rig.next().await, Body::Voice(TtsEvent::Audio { audio, .. }) if audio.len() == 4_320));
    assert_eq!(began.elapsed().as_millis(), 150);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_context_takes_its_connections_with_it_at_once() {
    let (mut rig, journal) = Rig::to(tones()).await;
    (0..3).for_each(|_| rig.speak(1, TEXT));
    rig.next().await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!((journal.records().len(), journal.counts().closed), (2, 0));
    rig.cancel(1);
    rig.speak(2, "Hi.");
    rig.finish(2);
    sleep(Duration::from_millis(1)).await;
    let records = journal.records();
    assert_eq!((records.len(), journal.counts().closed), (3, 2));
    let ends: Vec<_> = records[..2].iter().map(|record| record.ended.map(|(_, end)| end)).collect();
    assert_eq!(ends, [Some(End::Cancelled); 2]);
    let said = rig.said().await;
    assert_eq!((said.done, said.spoken, said.audio.len()), (Some(context(2)), vec![(1, 8_640)], 8_640));
    // The third text of the first context was never asked for.
    assert_eq!(journal.records().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_dropped_closes_its_connections() {
    let (mut rig, journal) = Rig::to(tones()).await;
    rig.speak(1, TEXT);
    rig.next().await;
    drop(rig);
    assert_eq!(all_ended(&journal).await[0].ended.unwrap().1, End::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn faults_that_are_none_for_the_caller() {
    for fault in ["odd-chunks", "burst", "close-each", "answer-slow=3000", "first-byte-slow=3000", "slow-reader=3000"] {
        let (mut rig, journal) = Rig::faulty(&[fault]).await;
        rig.speak(1, TEXT);
        rig.speak(1, TEXT);
        rig.finish(1);
        let said = rig.said().await;
        assert_eq!(
            (said.done, said.spoken.as_slice()),
            (Some(context(1)), &[(1, TEXT_BYTES), (2, 2 * TEXT_BYTES)][..]),
            "{fault}"
        );
        assert_eq!(said.tones(), [Some(0), Some(1)], "{fault}");
        assert!(all_ended(&journal).await.iter().all(|record| record.ended.unwrap().1 == End::Complete), "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_fail_their_context_and_the_link_goes_on() {
    use FaultKind::{Busy, Fatal, Retryable};
    let cases = [
        ("refuse=401:1", Fatal, "invalid_request_error (status 401)", 0),
        ("refuse=404:1", Fatal, "invalid_request_error (status 404)", 0),
        ("refuse=429:1", Busy, "rate_limit_exceeded (status 429)", 0),
        ("refuse=503:1", Retryable, "server_error (status 503)", 0),
        ("limited=0:1", Busy, "rate_limit_exceeded (status 429)", 0),
        ("answer-slow=9000:1", Retryable, "no answer in time", 0),
        ("slow-reader=9000:1", Retryable, "no answer in time", 0),
        ("first-byte-slow=9000:1", Retryable, "the speech stopped in its middle", 0),
        ("stall-first:1", Retryable, "the speech stopped in its middle", 0),
        ("stall=3:1", Retryable, "the speech stopped in its middle", 3 * 4_320),
        ("drop=3:1", Retryable, "the speech broke off", 3 * 4_320),
        ("error-midway=3:1", Retryable, "an error in place of speech", 3 * 4_320),
        ("garbage:1", Retryable, "the answer is no speech", 0),
        ("empty:1", Retryable, "an answer without speech", 0),
    ];
    for (fault, kind, reason, bytes) in cases {
        let (mut rig, journal) = Rig::faulty(&[fault]).await;
        rig.speak(1, TEXT);
        rig.speak(1, "More of the same.");
        rig.finish(1);
        let said = rig.said().await;
        assert_eq!(said.fault, Some(Fault { kind, reason: reason.to_owned() }), "{fault}");
        assert_eq!((said.audio.len(), said.spoken.len()), (bytes, 0), "{fault}");
        // What was still on its way for the context asks nobody, and has no answer of its own.
        let asked = journal.records().len();
        rig.speak(1, TEXT);
        rig.finish(1);
        rig.speak(2, TEXT);
        rig.finish(2);
        let said = rig.said().await;
        assert_eq!((said.done, said.spoken), (Some(context(2)), vec![(1, TEXT_BYTES)]), "{fault}");
        assert_eq!(all_ended(&journal).await.len(), asked + 1, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_left() {
    for (fault, times) in [("endless:1", 19_usize), ("huge=1024:1", 19)] {
        let (mut rig, journal) = Rig::faulty(&[fault]).await;
        rig.speak(1, TEXT);
        let said = rig.said().await;
        assert_eq!(said.fault.unwrap().reason, "more speech than the text can be", "{fault}");
        // Ten seconds, and eight for the characters.
        assert!(said.audio.len() >= TEXT_BYTES && said.audio.len() <= times * 48_000, "{fault}: {}", said.audio.len());
        let records = all_ended(&journal).await;
        assert!(matches!(records[0].ended.unwrap().1, End::Cancelled | End::Complete), "{fault}");
        rig.speak(2, TEXT);
        rig.finish(2);
        assert_eq!(rig.said().await.spoken, [(1, TEXT_BYTES)], "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_of_one_request_is_asked_again_in_turn() {
    let (mut rig, journal) = Rig::to(Settings { requests_max: Some(1), ..tones() }).await;
    rig.speak(1, TEXT);
    rig.speak(1, TEXT);
    rig.finish(1);
    let said = rig.said().await;
    assert_eq!((said.done, said.spoken.len(), said.fault), (Some(context(1)), 2, None));
    let statuses: Vec<_> = all_ended(&journal).await.iter().map(|record| record.status).collect();
    assert_eq!(statuses, [Some(200), Some(429), Some(200)]);
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_stops_the_reading() {
    let text = "word ".repeat(800);
    let settings = Settings { speed_factor: 1_000.0, ..tones() };
    let (mut rig, journal) = Rig::to(settings).await;
    rig.speak(1, &text);
    rig.finish(1);
    sleep(Duration::from_secs(3_600)).await;
    // The inbox, what the HTTP library holds, and the two ends of the socket; not the eleven megabytes.
    let sent = journal.last().unwrap().samples_sent * 2;
    assert!(sent < (INBOX * 9_600 + 1_000_000) as u64, "{sent} bytes");
    let said = rig.said().await;
    assert_eq!((said.done, said.audio.len()), (Some(context(1)), text.trim().len() * 60 * 48));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_heard_asks_nobody() {
    let (mut rig, journal) = Rig::to(tones()).await;
    rig.speak(1, " ... ");
    rig.speak(1, "Hi.");
    rig.finish(1);
    assert_eq!(rig.said().await.spoken, [(1, 0), (2, 8_640)]);
    assert_eq!(all_ended(&journal).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn half_a_sample_at_the_end_does_not_shift_the_next_text() {
    let mut rig = Rig::with("http://speech.test/v1", Arc::new(Canned(&[&[1], &[0, 2, 0, 3], &[], &[0, 4]])));
    assert_eq!(rig.next().await, Body::Up);
    rig.speak(1, "Hi.");
    rig.speak(1, "Hi.");
    rig.finish(1);
    let said = rig.said().await;
    assert_eq!(said.audio, [1, 0, 2, 0, 3, 0, 1, 0, 2, 0, 3, 0]);
    assert_eq!(said.spoken, [(1, 6), (2, 12)]);

    let mut rig = Rig::with("http://speech.test/v1", Arc::new(Canned(&[b"RIFF\xff\xff\xff\xffWAVE"])));
    assert_eq!(rig.next().await, Body::Up);
    rig.speak(1, "Hi.");
    let fault = rig.said().await.fault.unwrap();
    assert_eq!(
        (fault.kind, fault.reason.as_str()),
        (FaultKind::Fatal, "the answer is a wav file, not headerless samples")
    );
}

#[tokio::test]
async fn it_speaks_over_loopback_on_connections_that_are_kept() {
    let server =
        Server::bind("127.0.0.1:0".parse().unwrap(), Settings { speed_factor: 50.0, ..tones() }).await.unwrap();
    let (journal, url, stop) = (server.journal(), server.url(), CancellationToken::new());
    let mut running = JoinSet::new();
    running.spawn(server.run(stop.clone()));
    let mut rig = Rig::with(&url, Arc::new(Http::new(http::Settings::default()).unwrap()));
    assert_eq!(rig.next().await, Body::Up);
    (0..4).for_each(|_| rig.speak(1, TEXT));
    rig.finish(1);
    let said = rig.said().await;
    assert_eq!((said.done, said.audio.len()), (Some(context(1)), 4 * TEXT_BYTES));
    // Two are used at once; one more may be made in vain while another comes free.
    assert_eq!(journal.counts().requests, 4);
    assert!((2..=3).contains(&journal.counts().connections), "{:?}", journal.counts());

    rig.speak(2, &"word ".repeat(400));
    rig.next().await;
    rig.cancel(2);
    assert_eq!(all_ended(&journal).await[4].ended.unwrap().1, End::Cancelled);
    stop.cancel();
    rig.speak(3, TEXT);
    running.join_next().await;
    let fault = rig.said().await.fault.unwrap();
    assert_eq!(fault.kind, FaultKind::Retryable);
}
