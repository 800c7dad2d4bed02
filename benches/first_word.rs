//! How long a caller waits for the greeting when the voice has to be dialled first, when a warm socket is taken over, and when
//! the greeting was spoken before the call. A real gateway, an emulated vendor behind TLS and a network of a stated delay, and an
//! emulated carrier, in real time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench may fail")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use support::page;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use trunkline::config::{Input, load};
use trunkline::emulate::carrier::{HangUp, Log, Logged, Plan, run};
use trunkline::emulate::cartesia;
use trunkline::ids::{CallSid, StreamSid};
use trunkline::{gateway, server};

/// One way to the vendor: a server of another city.
const WAY: Duration = Duration::from_millis(20);
/// From a text to the vendor's first audio.
const FIRST_BYTE: Duration = Duration::from_millis(75);
/// Calls for each figure.
const RUNS: usize = 20;
/// Between two calls of one gateway, so that a warm socket is there again.
const REST: Duration = Duration::from_millis(400);
/// A call that takes longer is broken.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Longest piece that the network carries at once.
const PIECE_BYTES: usize = 16 * 1024;

/// How the voice is reached, in words and in the gateway's settings.
const WAYS: [(&str, &str); 3] = [
    ("dialled when the call starts", "speech.phrase_cache_mib = 0\n"),
    ("a warm socket is taken over", "speech.phrase_cache_mib = 0\nspeech.cartesia.warm = 1\n"),
    ("not at all: the greeting was spoken when the server started", ""),
];

fn main() {
    if !page::is_asked_for("first_word") {
        return;
    }
    let busy = page::busy();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let markdown = format!("{}\n\n{busy}", runtime.block_on(Box::pin(measure())));
    if page::is_for_the_page() {
        page::replace("first_word", &markdown);
    } else {
        page::show(&markdown);
    }
}

async fn measure() -> String {
    let (mut servers, stop) = (JoinSet::new(), CancellationToken::new());
    let (vendor, authority) = vendor(&mut servers, &stop).await;
    let mut gateways = Vec::new();
    for (_, setting) in WAYS {
        gateways.push(gateway(vendor, &authority, setting, &mut servers, &stop).await);
    }
    let mut waits: Vec<Vec<Duration>> = vec![Vec::new(); WAYS.len()];
    for run in 0..RUNS {
        // One after the other, so that whatever else the machine does falls on all of them.
        for (n, (gateway, waits)) in gateways.iter().zip(&mut waits).enumerate() {
            sleep(REST).await;
            waits.push(timeout(CALL_MAX, wait(*gateway, run * WAYS.len() + n)).await.unwrap());
        }
    }
    stop.cancel();
    servers.join_all().await;
    std::fs::remove_file(authority).unwrap();
    table(&waits)
}

fn table(waits: &[Vec<Duration>]) -> String {
    let mut lines = vec![
        "| how the voice is reached | from `start` to the first media, ms | of the wait when it is dialled |"
            .to_owned(),
        "|---|---|---|".to_owned(),
    ];
    let cold = waits.first().map(|waits| spread(waits.clone()).1).unwrap();
    for ((words, _), waits) in WAYS.iter().zip(waits) {
        let (text, median) = spread(waits.clone());
        let ratio = median / cold;
        lines.push(format!("| {words} | {text} | {ratio:.*} |", if ratio < 0.1 { 4 } else { 2 }));
    }
    lines.push(format!(
        "\nMedian of {RUNS} calls each (least to most). The vendor is {} ms away, each way, behind TLS, and has its first audio \
         {} ms after a text, so that nobody who asks it for speech could be faster than {} ms; TCP, TLS 1.3 and the WebSocket \
         take one journey there and back each.",
        WAY.as_millis(),
        FIRST_BYTE.as_millis(),
        (WAY * 2 + FIRST_BYTE).as_millis(),
    ));
    lines.join("\n")
}

/// Median, with the least and the most, in words; and the median in milliseconds.
fn spread(mut values: Vec<Duration>) -> (String, f64) {
    values.sort_unstable();
    let ms: Vec<f64> = values.iter().map(|value| value.as_secs_f64() * 1e3).collect();
    let middle = ms.get(ms.len() / 2 - 1..=ms.len() / 2).unwrap();
    let median = middle.iter().sum::<f64>() / 2.0;
    let digits = if median < 10.0 { 2 } else { 0 };
    (format!("{median:.digits$} ({:.digits$} - {:.digits$})", ms.first().unwrap(), ms.last().unwrap()), median)
}

fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// An emulated vendor behind the network: the port that leads to it, and the file with its authority.
async fn vendor(servers: &mut JoinSet<()>, stop: &CancellationToken) -> (u16, PathBuf) {
    let authority = std::env::temp_dir().join(format!("trunkline-first-word-{}.pem", std::process::id()));
    let settings = cartesia::Settings {
        voice: cartesia::Voice::Tone,
        first_byte: FIRST_BYTE,
        tls: Some(cartesia::TlsSettings { names: vec!["localhost".to_owned()], ca_out: Some(authority.clone()) }),
        ..cartesia::Settings::default()
    };
    let vendor = cartesia::Server::bind(any(), settings).await.unwrap();
    let to = vendor.local_addr();
    servers.spawn(vendor.run(stop.clone()));
    let network = TcpListener::bind(any()).await.unwrap();
    let port = network.local_addr().unwrap().port();
    let until = stop.clone();
    servers.spawn(async move {
        let mut connections = JoinSet::new();
        while let Some(accepted) = until.run_until_cancelled(network.accept()).await {
            connections.spawn(carry(accepted.unwrap().0, to));
        }
        connections.shutdown().await;
    });
    (port, authority)
}

/// Carries bytes both ways, each later than it came.
async fn carry(ours: TcpStream, to: SocketAddr) {
    // Loopback answers a SYN at once.
    sleep(WAY * 2).await;
    let theirs = TcpStream::connect(to).await.unwrap();
    for stream in [&ours, &theirs] {
        stream.set_nodelay(true).unwrap();
    }
    let ((our_reader, our_writer), (their_reader, their_writer)) = (ours.into_split(), theirs.into_split());
    tokio::join!(delay(our_reader, their_writer), delay(their_reader, our_writer));
}

async fn delay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(1_024);
    let read = async move {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            let bytes = piece.get(..length).unwrap().to_vec();
            if sender.send((Instant::now() + WAY, bytes)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

/// A gateway that greets through the vendor.
async fn gateway(
    vendor: u16,
    authority: &std::path::Path,
    setting: &str,
    servers: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> SocketAddr {
    let toml = format!(
        "speech.chain = [\"cartesia\"]\nspeech.cartesia.url = \"wss://localhost:{vendor}{}\"\n\
         speech.cartesia.api_key = \"k\"\nspeech.cartesia.ca_file = '{}'\n{setting}\
         agent.kind = \"script\"\nagent.script.greeting = \"Good morning, how may I help you?\"\n",
        cartesia::PATH,
        authority.display(),
    );
    let input = Input { file: Some(("bench.toml".to_owned(), toml)), ..Input::default() };
    let node = gateway::node(&load(&input).unwrap_or_else(|problems| panic!("{problems}")).config).unwrap();
    let listener = TcpListener::bind(any()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let until = stop.clone();
    servers.spawn(async move { server::serve(listener, node, until).await.unwrap() });
    address
}

/// One call that is greeted; how long the caller waited.
async fn wait(gateway: SocketAddr, number: usize) -> Duration {
    let names =
        (CallSid::parse(&format!("CA{number:04}")).unwrap(), StreamSid::parse(&format!("MZ{number:04}")).unwrap());
    let mut plan = Plan::new(format!("ws://{gateway}/twilio/media"), names.0, names.1);
    (plan.hang_up, plan.duration_max) = (HangUp::After(Duration::from_millis(1_000)), CALL_MAX);
    let outcome = run(plan, None, CancellationToken::new()).await.unwrap();
    waited(&outcome.log).unwrap_or_else(|| panic!("the caller was not greeted: {:?}", outcome.report.ended))
}

/// From `start` to the first media message.
fn waited(log: &Log) -> Option<Duration> {
    let mut entries = log.entries().iter();
    let started = entries.find(|entry| matches!(entry.logged, Logged::Started))?;
    let media = entries.find(|entry| matches!(entry.logged, Logged::Media { .. }))?;
    Some(media.at.since(started.at))
}
