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

    async fn ended(&self) -> Record {
        let waiting = async {
            loop {
                match self.journal.last() {
                    Some(record) if record.ended.is_some() => return record,
                    Some(_) | None => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(LIMIT, waiting).await.expect("an end in time")
    }
}

fn quick() -> Settings {
    Settings { first_byte: Duration::ZERO, speed_factor: 1_000.0, ..tones() }
}

#[tokio::test]
async fn answers_come_over_tcp_one_after_the_other() {
    let running = start(quick()).await;
    assert_eq!(running.url, format!("http://{}/v1", running.addr));
    let mut client = running.client().await;
    for _ in 0..3 {
        let (bytes, is_whole) = bytes(client.post(&request(TEXT)).await).await;
        assert_eq!((bytes.len(), is_whole), (1_200 * 48, true));
    }
    assert_eq!((running.journal.counts().connections, running.journal.counts().requests), (1, 3));
}

#[tokio::test]
async fn a_closed_connection_cancels_although_nothing_is_written() {
    let running = start(Settings { speed_factor: 0.001, ..quick() }).await;
    let mut client = running.client().await;
    let mut body = client.post(&request(TEXT)).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop((body, client));
    let record = running.ended().await;
    assert_eq!((record.ended.unwrap().1, record.samples_sent), (End::Cancelled, 2_160));
    assert_eq!(running.journal.counts().closed, 1);
}

#[tokio::test]
async fn it_stops_when_told_in_the_middle_of_an_answer() {
    let mut running = start(Settings { speed_factor: 0.001, ..quick() }).await;
    let mut client = running.client().await;
    let response = client.post(&request(TEXT)).await;
    running.stop.cancel();
    assert!(!bytes(response).await.1);
    timeout(LIMIT, running.task.join_next()).await.expect("it stops").unwrap().unwrap();
    assert_eq!(running.ended().await.ended.unwrap().1, End::Stopped);
    assert!(TcpStream::connect(running.addr).await.is_err());
}
