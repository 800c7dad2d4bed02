//! The same server behind real loopback sockets.

use tokio::net::TcpStream;

use super::*;

struct Running {
    journal: Journal,
    url: String,
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinSet<()>,
}

async fn start(settings: Settings) -> Running {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
    let (journal, url, addr) = (server.journal(), server.url(), server.local_addr());
    let stop = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(server.run(stop.clone()));
    Running { journal, url, addr, stop, task }
}

impl Running {
    async fn client(&self) -> Client {
        Client::over(TcpStream::connect(self.addr).await.unwrap()).await
    }

    async fn ended(&self) -> Exchange {
        let waiting = async {
            loop {
                match self.journal.last() {
                    Some(exchange) if exchange.ended.is_some() => return exchange,
                    Some(_) | None => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(LIMIT, waiting).await.expect("an end in time")
    }
}

fn quick() -> Settings {
    Settings { first_token: Duration::ZERO, token: Duration::ZERO, ..settings() }
}

#[tokio::test]
async fn answers_come_over_tcp_one_after_the_other() {
    let running = start(quick()).await;
    assert_eq!(running.url, format!("http://{}/v1", running.addr));
    let mut client = running.client().await;
    for _ in 0..3 {
        let (said, _, is_whole) = said(client.post(&streamed("x")).await).await;
        assert!(is_whole && said.is_done && said.text.starts_with("One two"));
    }
    assert_eq!(running.journal.begun(), 3);
}

#[tokio::test]
async fn a_cut_is_the_end_of_the_connection_and_not_of_the_body() {
    let running = start(Settings { faults: vec!["drop=3".parse().unwrap()], ..quick() }).await;
    let mut client = running.client().await;
    let (said, _, is_whole) = said(client.post(&streamed("x")).await).await;
    assert_eq!((said.text.as_str(), is_whole), ("One two three", false));
    assert_eq!(running.ended().await.ended.unwrap().1, End::Failed);
    assert!(client.send(chat(&streamed("x"))).await.is_err());
}

#[tokio::test]
async fn a_closed_connection_cancels_although_nothing_is_written() {
    let running = start(Settings { token: Duration::from_secs(3_600), ..quick() }).await;
    let mut client = running.client().await;
    let mut body = client.post(&streamed("x")).await.into_body();
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
    }
    drop((body, client));
    let exchange = running.ended().await;
    assert_eq!((exchange.ended.unwrap().1, exchange.tokens_sent), (End::Cancelled, 1));
}

#[tokio::test]
async fn it_stops_when_told_in_the_middle_of_an_answer() {
    let mut running = start(Settings { token: Duration::from_secs(3_600), ..quick() }).await;
    let mut client = running.client().await;
    let response = client.post(&streamed("x")).await;
    running.stop.cancel();
    assert!(!said(response).await.2);
    timeout(LIMIT, running.task.join_next()).await.expect("it stops").unwrap().unwrap();
    assert_eq!(running.ended().await.ended.unwrap().1, End::Stopped);
    assert!(TcpStream::connect(running.addr).await.is_err());
}
