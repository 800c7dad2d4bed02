//! The reason for streaming: how long the caller waits for an answer when text is spoken while it is being written, and when
//! it is spoken once it is whole. A real gateway, an emulated vendor and an emulated carrier on loopback, in real time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench may fail")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use support::page;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use trunkline::config::{Input, load};
use trunkline::emulate::carrier::{Clip, HangUp, Happening, Log, Logged, Moment, Plan, read_clip, run};
use trunkline::emulate::cartesia;
use trunkline::ids::{CallSid, StreamSid};
use trunkline::{gateway, server};

/// What the agent answers: 50 words, each of them a token with the white space before it.
const ANSWER: &str = "I have found your booking for the fourth of May. You fly from Hamburg to Lisbon in the morning, with \
    one change in Madrid. Your two seats are next to each other, by the window. Would you like me to send the details \
    to your telephone, or to change anything?";
const TOKENS: u32 = 50;
/// From the end of the caller's speech to the first token.
const FIRST_TOKEN: Duration = Duration::from_millis(300);
/// From the first token to the last.
const WRITING: Duration = Duration::from_millis(500);
/// From a text to the vendor's first audio.
const FIRST_BYTE: Duration = Duration::from_millis(75);
/// Calls for each figure.
const RUNS: usize = 10;
/// A call that takes longer is broken.
const CALL_MAX: Duration = Duration::from_secs(20);

/// Who collects tokens, in words and in the gateway's settings.
const BUFFERING: [(&str, &str); 2] = [
    ("the gateway, sentence by sentence (`sentences`)", "\"sentences\""),
    ("the vendor, for at most 3 s (`managed_ms = 3000`)", "{ managed_ms = 3000 }"),
];

/// How the agent hands its answer over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Every token as it comes.
    Tokens,
    /// All at once when the last token has come.
    Whole,
}

fn main() {
    if !page::is_asked_for("overlap") {
        return;
    }
    let busy = page::busy();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let markdown = format!("{}\n\n{busy}", runtime.block_on(Box::pin(measure())));
    if page::is_for_the_page() {
        page::replace("overlap", &markdown);
    } else {
        page::show(&markdown);
    }
}

async fn measure() -> String {
    assert_eq!(tokens().len(), TOKENS as usize);
    let mut lines = vec![
        "| who waits for whole sentences | as tokens come, ms | whole at the end, ms | the wait is shorter by | times |"
            .to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for (words, setting) in BUFFERING {
        let mut servers = JoinSet::new();
        let stop = CancellationToken::new();
        let address = start(setting, &mut servers, &stop).await;
        let (mut streamed, mut whole) = (Vec::new(), Vec::new());
        for turn in 0..RUNS {
            // Side by side, so that whatever else the machine does falls on both.
            streamed.push(timeout(CALL_MAX, wait(address, Manner::Tokens, 2 * turn)).await.unwrap());
            whole.push(timeout(CALL_MAX, wait(address, Manner::Whole, 2 * turn + 1)).await.unwrap());
        }
        stop.cancel();
        servers.join_all().await;
        let ((streamed, streamed_ms), (whole, whole_ms)) = (spread(streamed), spread(whole));
        let saved = whole_ms - streamed_ms;
        lines.push(format!("| {words} | {streamed} | {whole} | {saved:.0} ms | {:.2} |", whole_ms / streamed_ms));
    }
    lines.push(format!(
        "\nFrom the last sample of the caller's speech on the wire to the first media message at the carrier: median of {RUNS} \
         calls (least to most). The agent learns of the end of speech at once, has its first token after {} ms and {TOKENS} \
         tokens over {} ms; the vendor's first audio comes {} ms after a text. So nobody could be faster than {} ms, and who \
         waits for the whole text no faster than {} ms. A real agent hears of the end of speech later, by what its detector \
         waits for, which is the same for both.",
        FIRST_TOKEN.as_millis(),
        WRITING.as_millis(),
        FIRST_BYTE.as_millis(),
        (FIRST_TOKEN + FIRST_BYTE).as_millis(),
        (FIRST_TOKEN + WRITING + FIRST_BYTE).as_millis(),
    ));
    lines.join("\n")
}

/// Median, with the least and the most, in words; and the median in milliseconds.
fn spread(mut values: Vec<Duration>) -> (String, f64) {
    values.sort_unstable();
    let ms: Vec<f64> = values.iter().map(|value| value.as_secs_f64() * 1e3).collect();
    let middle = ms.get(ms.len() / 2 - 1..=ms.len() / 2).unwrap();
    let median = middle.iter().sum::<f64>() / 2.0;
    (format!("{median:.0} ({:.0} - {:.0})", ms.first().unwrap(), ms.last().unwrap()), median)
}

fn tokens() -> Vec<String> {
    let words = ANSWER.split_whitespace().enumerate();
    words.map(|(n, word)| if n == 0 { word.to_owned() } else { format!(" {word}") }).collect()
}

fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A gateway that speaks through an emulated vendor.
async fn start(buffering: &str, servers: &mut JoinSet<()>, stop: &CancellationToken) -> SocketAddr {
    let vendor =
        cartesia::Settings { voice: cartesia::Voice::Tone, first_byte: FIRST_BYTE, ..cartesia::Settings::default() };
    let vendor = cartesia::Server::bind(any(), vendor).await.unwrap();
    let toml = format!(
        "speech.chain = [\"cartesia\"]\nspeech.cartesia.url = \"{}\"\nspeech.cartesia.api_key = \"k\"\n\
         speech.cartesia.buffering = {buffering}\nagent.kind = \"api\"\n",
        vendor.url()
    );
    servers.spawn(vendor.run(stop.clone()));
    let input = Input { file: Some(("bench.toml".to_owned(), toml)), ..Input::default() };
    let node = gateway::node(&load(&input).unwrap_or_else(|problems| panic!("{problems}")).config).unwrap();
    let listener = TcpListener::bind(any()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let until = stop.clone();
    servers.spawn(async move { server::serve(listener, node, until).await.unwrap() });
    address
}

/// One call: the caller says "no", the agent answers; how long the caller waited.
async fn wait(gateway: SocketAddr, manner: Manner, number: usize) -> Duration {
    let call = format!("CA{number:04}");
    let names = (CallSid::parse(&call).unwrap(), StreamSid::parse(&format!("MZ{number:04}")).unwrap());
    let mut plan = Plan::new(format!("ws://{gateway}/twilio/media"), names.0, names.1);
    plan.caller = vec![Clip { at: Moment::AfterStart(Duration::from_millis(300)), samples: question() }];
    (plan.hang_up, plan.duration_max) = (HangUp::WhenGatewayCloses, CALL_MAX);
    let (progress, mut told) = mpsc::channel(64);
    let hang_up = CancellationToken::new();
    let mut caller = JoinSet::new();
    let cancel = hang_up.clone();
    caller.spawn(Box::pin(async move { run(plan, Some(progress), cancel).await.unwrap() }));
    let mut agent = JoinSet::new();
    while let Some(entry) = told.recv().await {
        match entry.happening {
            Happening::CallerStops => {
                agent.spawn(answer(gateway, call.clone(), manner, Instant::now()));
            }
            Happening::FirstAudio => hang_up.cancel(),
            Happening::Started
            | Happening::CallerSpeaks
            | Happening::Clear { .. }
            | Happening::SpeechAgain
            | Happening::Dtmf { .. }
            | Happening::Warning { .. }
            | Happening::Ended { .. } => {}
        }
    }
    let outcome = caller.join_next().await.unwrap().unwrap();
    agent.shutdown().await;
    waited(&outcome.log).unwrap_or_else(|| panic!("the caller got no answer: {:?}", outcome.report.ended))
}

/// A word of a recorded voice, without the silence around it; `fixtures/audio/README.md` says where it lies.
fn question() -> Vec<i16> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/audio/no.wav");
    read_clip(&file).unwrap().get(178 * 8..697 * 8).unwrap().to_vec()
}

/// From the end of the caller's speech to the first media message.
fn waited(log: &Log) -> Option<Duration> {
    let mut entries = log.entries().iter();
    let stopped = entries.find(|entry| matches!(entry.logged, Logged::CallerStops { .. }))?;
    let media = entries.find(|entry| matches!(entry.logged, Logged::Media { .. }))?;
    Some(media.at.since(stopped.at))
}

/// The agent: an answer written token by token from `asked` on, given to the gateway in a streamed request.
async fn answer(gateway: SocketAddr, call: String, manner: Manner, asked: Instant) {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let head = format!(
        "POST /v1/calls/{call}/say HTTP/1.1\r\nhost: {gateway}\r\ncontent-type: text/plain\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let first = asked + FIRST_TOKEN;
    let mut held = String::new();
    for (n, token) in (0..TOKENS).zip(tokens()) {
        sleep_until(first + WRITING * n / (TOKENS - 1)).await;
        held.push_str(&token);
        if manner == Manner::Tokens || n == TOKENS - 1 {
            let chunk = format!("{:x}\r\n{held}\r\n", held.len());
            stream.write_all(chunk.as_bytes()).await.unwrap();
            held.clear();
        }
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 202"), "the gateway answered {reply}");
}
