//! The rules where connections are made.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// Answers with one list after the other, and with the last for ever.
struct Script(Mutex<VecDeque<Vec<&'static str>>>);

impl Lookup for Script {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut lists = self.0.lock().unwrap();
        let list = if lists.len() > 1 { lists.pop_front().unwrap() } else { lists.front().unwrap().clone() };
        async move { Ok(list.into_iter().map(|address| address.parse().unwrap()).collect()) }.boxed()
    }
}

#[derive(Default)]
struct Count(AtomicU32);

impl Watch for Count {
    fn outbound_refused(&self, purpose: Purpose) {
        assert_eq!(purpose, Purpose::Play);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A server on loopback that answers with a body and closes; its port.
async fn server(serving: &mut JoinSet<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1_024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    port
}

struct Bench {
    guarded: Guarded,
    count: Arc<Count>,
    port: u16,
    _serving: JoinSet<()>,
}

impl Bench {
    async fn new(rules: Rules, lists: &[&[&'static str]]) -> Self {
        let mut serving = JoinSet::new();
        let port = server(&mut serving).await;
        let script = Script(Mutex::new(lists.iter().map(|list| list.to_vec()).collect()));
        let count = Arc::<Count>::default();
        let outbound = Outbound::new(rules).looking_up(Arc::new(script)).watched(count.clone());
        let settings = Settings { connect: std::time::Duration::from_millis(500), ..Settings::default() };
        let guarded = Guarded::new(settings, &outbound, Purpose::Play).unwrap();
        Bench { guarded, count, port, _serving: serving }
    }

    /// Asks a host at the server's port: an answer, a refusal, or nobody there.
    async fn ask(&self, host: &str) -> Result<(), Option<Refused>> {
        let url = Url::parse(&format!("http://{host}:{}/secret?key=hunter2", self.port)).unwrap();
        let client = self.guarded.client(&url).map_err(Some)?;
        client.get(url).send().await.map(drop).map_err(|error| refusal_of(&error))
    }

    fn refused(&self) -> u32 {
        self.count.0.load(Ordering::Relaxed)
    }
}

const LOOPBACK: Option<Refused> = Some(Refused::Address(Special::Loopback));

#[tokio::test]
async fn a_name_that_leads_to_loopback_is_refused_however_often_it_is_asked() {
    // 127.0.0.2 stands for somebody who may be asked, but is not there; the server waits at 127.0.0.1.
    let mut rules = Rules::default();
    rules.exempt("127.0.0.2").unwrap();
    let bench = Bench::new(rules, &[&["127.0.0.2"], &["127.0.0.1"]]).await;
    assert_eq!(bench.ask("rebind.test").await, Err(None), "nobody is there, and nothing was refused");
    assert_eq!(bench.refused(), 0);
    for times in 1..=3 {
        assert_eq!(bench.ask("rebind.test").await, Err(LOOPBACK));
        assert_eq!(bench.refused(), times);
    }
}

#[tokio::test]
async fn the_same_server_answers_where_it_is_listed() {
    for entry in ["127.0.0.0/8", "127.0.0.1", "home.test", "*.test"] {
        let mut rules = Rules::default();
        rules.exempt(entry).unwrap();
        let bench = Bench::new(rules, &[&["127.0.0.1"]]).await;
        assert_eq!(bench.ask("home.test").await, Ok(()), "{entry}");
        assert_eq!(bench.ask("home.test.").await, Ok(()), "{entry}");
        assert_eq!(bench.refused(), 0);
    }
    let bench = Bench::new(Rules::default().with_loopback(), &[&["127.0.0.1"]]).await;
    assert_eq!(bench.ask("home.test").await, Ok(()));
    assert_eq!(bench.ask("127.0.0.1").await, Ok(()));
    assert_eq!(bench.ask("localhost").await, Ok(()));
}

#[tokio::test]
async fn of_several_addresses_only_those_are_dialled_that_may_be() {
    let mut rules = Rules::default();
    rules.exempt("127.0.0.1").unwrap();
    // Whoever dialled the first one would wait for nobody.
    let bench = Bench::new(rules, &[&["10.255.255.1", "fd00::1", "127.0.0.1", "169.254.169.254"]]).await;
    assert_eq!(bench.ask("mixed.test").await, Ok(()));
    assert_eq!(bench.refused(), 0);
}

#[tokio::test]
async fn an_address_in_a_url_is_looked_at_without_a_lookup() {
    let bench = Bench::new(Rules::default(), &[&["127.0.0.1"]]).await;
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "[::1]"] {
        assert_eq!(bench.ask(host).await, Err(LOOPBACK), "{host}");
    }
    assert_eq!(bench.refused(), 5);
}

#[tokio::test]
async fn a_name_that_is_not_listed_is_not_even_looked_up() {
    let mut rules = Rules::default();
    rules.allow("example.com").unwrap();
    let bench = Bench::new(rules.with_loopback(), &[&["127.0.0.1"]]).await;
    assert_eq!(bench.ask("other.test").await, Err(Some(Refused::Host)));
    assert_eq!(bench.refused(), 1);
    assert_eq!(bench.ask("example.com").await, Ok(()), "its address is exempt, its name is listed");
}

#[test]
fn a_refusal_tells_nothing_of_the_url() {
    for refused in [Refused::Host, Refused::Address(Special::Metadata)] {
        let text = refused.to_string();
        assert!(text.contains("outbound.") && !text.contains("http"), "{text}");
    }
}

#[test]
fn what_is_remembered_for_the_log_has_a_limit() {
    let outbound = Outbound::default();
    for n in 0..3 * LOGGED_MAX {
        outbound.refuse(Purpose::Tool, &format!("host{n}.test"), Refused::Host);
        assert!(outbound.logged.lock().unwrap().len() <= LOGGED_MAX);
    }
}
