//! What stands in front of replicas: connections go to one after the other of those that are ready.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::replica::Replica;

/// A balancer of connections, as a Service of Kubernetes is. Dropping it cuts them.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    _task: JoinSet<()>,
}

impl Balancer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let targets = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let mut task = JoinSet::new();
        task.spawn(accept(listener, targets.clone()));
        Balancer { address, targets, _task: task }
    }

    /// From now on connections go to these.
    pub(crate) fn lead_to(&self, replicas: &[Replica]) {
        *self.targets.lock().unwrap() = replicas.iter().map(|replica| replica.public).collect();
    }
}

async fn accept(listener: TcpListener, targets: Arc<Mutex<Vec<SocketAddr>>>) {
    let (mut connections, next) = (JoinSet::new(), AtomicUsize::new(0));
    loop {
        let (mut inbound, _) = listener.accept().await.unwrap();
        let targets = targets.lock().unwrap().clone();
        let first = next.fetch_add(1, Ordering::Relaxed);
        connections.spawn(async move {
            inbound.set_nodelay(true).unwrap();
            // One that refuses the connection has closed its port: the next one takes it.
            for n in 0..targets.len() {
                if let Ok(mut outbound) = TcpStream::connect(targets[(first + n) % targets.len()]).await {
                    outbound.set_nodelay(true).unwrap();
                    let _ = copy_bidirectional(&mut inbound, &mut outbound).await;
                    return;
                }
            }
        });
    }
}
