//! The player against a server on this machine that does what a test wants.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::http::outbound::{Lookup, Refused, Rules, Special};

/// What the server does with a path.
#[derive(Clone)]
enum Page {
    /// Answers with this head and body, after so long.
    Answer(Duration, String, Vec<u8>),
    /// Answers for ever, a byte at a time.
    Drip,
    /// Takes the connection and says nothing.
    Silence,
}

struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Server {
    async fn start(pages: impl Fn(SocketAddr) -> Vec<(&'static str, Page)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages: BTreeMap<&str, Page> = pages(address).into_iter().collect();
        let (asked, mut serving) = (Arc::<Mutex<Vec<String>>>::default(), JoinSet::new());
        let told = asked.clone();
        serving.spawn(async move {
            let mut answering = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                answering.spawn(answer(stream, pages.clone(), told.clone()));
            }
        });
        Server { address, asked, _serving: serving }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn answer(mut stream: TcpStream, pages: BTreeMap<&'static str, Page>, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(path.clone());
    match pages.get(path.as_str()) {
        Some(Page::Answer(wait, head, body)) => {
            sleep(*wait).await;
            let _ = stream.write_all(&[head.as_bytes(), b"\r\n\r\n", body].concat()).await;
        }
        Some(Page::Drip) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n").await;
            while stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        }
        Some(Page::Silence) => sleep(Duration::from_secs(60)).await,
        None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap(),
    }
}

/// A file of `samples` samples at 8 kHz, each of which is 7.
fn file(samples: usize) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    (0..samples).for_each(|_| writer.write_sample(7_i16).unwrap());
    writer.finalize().unwrap();
    file.into_inner()
}

fn page(headers: &str, body: Vec<u8>) -> Page {
    slow_page(0, headers, body)
}

fn slow_page(ms: u64, headers: &str, body: Vec<u8>) -> Page {
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}{headers}", body.len());
    Page::Answer(Duration::from_millis(ms), head, body)
}

fn redirect(to: &str) -> Page {
    let head = format!("HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: {to}");
    Page::Answer(Duration::ZERO, head, Vec::new())
}

fn player(limit_ms: u64) -> Player {
    let limit = Duration::from_millis(limit_ms);
    let settings = Settings { allow_http: true, file_bytes_max: 20_000, limit, ..Settings::default() };
    Player::new(settings, &Outbound::new(Rules::default().with_loopback())).unwrap()
}

async fn length(player: &Player, url: &str) -> Result<u128, PlayerError> {
    player.recording(url, 8_000).await.map(|(sound, _)| sound.length().as_millis())
}

#[tokio::test]
async fn what_cannot_be_had_says_why_and_never_where() {
    let server = Server::start(|_| {
        vec![
            ("/page", page("\r\nContent-Type: text/html", b"<html>".to_vec())),
            ("/garbage", page("", b"not a recording at all".to_vec())),
            ("/long", page("", file(20_000))),
            (
                "/long-untold",
                Page::Answer(Duration::ZERO, "HTTP/1.1 200 OK\r\nConnection: close".to_owned(), file(20_000)),
            ),
            (
                "/cut",
                Page::Answer(
                    Duration::ZERO,
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9999".to_owned(),
                    file(100),
                ),
            ),
            ("/round", redirect("/round")),
            ("/nowhere", Page::Answer(Duration::ZERO, "HTTP/1.1 302 Found\r\nContent-Length: 0".to_owned(), vec![])),
            ("/to-a-file", redirect("file:///etc/passwd")),
        ]
    })
    .await;
    let player = player(10_000);
    for (path, expected) in [
        ("/no", PlayerError::Fetch(FetchError::Status(404))),
        ("/page", PlayerError::Fetch(FetchError::Kind)),
        ("/garbage", PlayerError::Decode(DecodeError::Unknown)),
        ("/long", PlayerError::Fetch(FetchError::Long)),
        ("/long-untold", PlayerError::Fetch(FetchError::Long)),
        ("/cut", PlayerError::Fetch(FetchError::Cut)),
        ("/round", PlayerError::Fetch(FetchError::Redirect)),
        ("/nowhere", PlayerError::Fetch(FetchError::Redirect)),
        ("/to-a-file", PlayerError::Fetch(FetchError::Url)),
    ] {
        let found = length(&player, &server.url(path)).await;
        assert_eq!(found, Err(expected.clone()), "{path}");
        assert!(!expected.to_string().contains(path));
    }
    assert_eq!(server.asked.lock().unwrap().iter().filter(|path| *path == "/round").count(), 4);
    drop(server);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let found = length(&player, &format!("http://{closed}/a.wav")).await;
    assert_eq!(found, Err(PlayerError::Fetch(FetchError::Unreachable)));
}

#[tokio::test]
async fn a_server_that_takes_its_time_is_not_waited_for() {
    let server = Server::start(|_| vec![("/silence", Page::Silence), ("/drip", Page::Drip)]).await;
    let player = player(300);
    for path in ["/silence", "/drip"] {
        assert_eq!(length(&player, &server.url(path)).await, Err(PlayerError::Slow), "{path}");
    }
}

#[tokio::test]
async fn redirects_are_followed_and_checked_like_the_first_url() {
    let server = Server::start(|address| {
        vec![
            ("/1", redirect("/2")),
            ("/2", redirect("3?x=y")),
            ("/3?x=y", redirect(&format!("http://{address}/a.wav"))),
            ("/a.wav", page("\r\nContent-Type: audio/wav", file(800))),
        ]
    })
    .await;
    assert_eq!(length(&player(10_000), &server.url("/1")).await, Ok(100));
    let strict = Player::new(Settings::default(), &Outbound::default()).unwrap();
    assert_eq!(length(&strict, &server.url("/1")).await, Err(PlayerError::Fetch(FetchError::Plain)));
    assert_eq!(server.asked(), 4, "the strict one asked nobody");
}

#[tokio::test]
async fn a_hundred_calls_fetch_their_hold_music_once() {
    let server = Server::start(|_| vec![("/hold.wav", slow_page(200, "", file(8_000)))]).await;
    let (player, url) = (player(10_000), server.url("/hold.wav"));
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (player, url) = (player.clone(), url.clone());
        calls.spawn(async move { player.recording(&url, 8_000).await.unwrap() });
    }
    let heard = calls.join_all().await;
    assert_eq!(heard.iter().filter(|(_, origin)| *origin == Origin::Fetched).count(), 1);
    assert!(heard.iter().all(|(sound, _)| sound.length() == Duration::from_secs(1)));
    assert_eq!(player.recording(&url, 8_000).await.unwrap().1, Origin::Cached);
    assert_eq!(server.asked(), 1);
    assert_eq!(player.recording(&url, 16_000).await.unwrap().1, Origin::Fetched);
}

#[tokio::test]
async fn who_waits_goes_on_when_the_one_who_fetches_goes_away() {
    let server = Server::start(|_| vec![("/hold.wav", slow_page(200, "", file(800)))]).await;
    let (player, url) = (player(10_000), server.url("/hold.wav"));
    let mut calls = JoinSet::new();
    let spawn = |calls: &mut JoinSet<_>| {
        let (player, url) = (player.clone(), url.clone());
        calls.spawn(async move { player.recording(&url, 8_000).await.map(|(_, origin)| origin) })
    };
    let first = spawn(&mut calls);
    sleep(Duration::from_millis(50)).await;
    spawn(&mut calls);
    sleep(Duration::from_millis(50)).await;
    first.abort();
    assert!(calls.join_next().await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(calls.join_next().await.unwrap().unwrap(), Ok(Origin::Fetched));
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn what_failed_or_must_not_be_kept_is_fetched_again() {
    let server = Server::start(|_| {
        vec![("/fresh.wav", page("\r\nCache-Control: no-store", file(800))), ("/bad", page("", b"bad".to_vec()))]
    })
    .await;
    let player = player(10_000);
    for _ in 0..2 {
        assert_eq!(player.recording(&server.url("/fresh.wav"), 8_000).await.unwrap().1, Origin::Fetched);
        assert!(length(&player, &server.url("/bad")).await.is_err());
    }
    assert_eq!(server.asked(), 4);
}

#[tokio::test]
async fn a_redirect_to_this_host_is_not_followed() {
    let server = Server::start(|address| {
        let port = address.port();
        vec![
            ("/number", redirect(&format!("http://127.0.0.1:{port}/a.wav"))),
            ("/name", redirect(&format!("http://localhost:{port}/a.wav"))),
            ("/hidden", redirect(&format!("http://2130706433:{port}/a.wav"))),
            ("/mapped", redirect(&format!("http://[::ffff:127.0.0.1]:{port}/a.wav"))),
            ("/a.wav", page("\r\nContent-Type: audio/wav", file(800))),
        ]
    })
    .await;
    // The name may be asked, wherever it leads; nothing else on this host may.
    struct Home;
    impl Lookup for Home {
        fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
            async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) }.boxed()
        }
    }
    let mut rules = Rules::default();
    rules.exempt("library.test").unwrap();
    let outbound = Outbound::new(rules).looking_up(Arc::new(Home));
    let player = Player::new(Settings { allow_http: true, ..Settings::default() }, &outbound).unwrap();
    let url = |path: &str| server.url(path).replace("127.0.0.1", "library.test");
    assert_eq!(length(&player, &url("/a.wav")).await, Ok(100));
    let refused = PlayerError::Fetch(FetchError::Refused(Refused::Address(Special::Loopback)));
    for path in ["/number", "/name", "/hidden", "/mapped"] {
        assert_eq!(length(&player, &url(path)).await, Err(refused.clone()), "{path}");
    }
    assert_eq!(server.asked(), 5, "the recording was asked for once");
}
