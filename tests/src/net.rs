//! A TCP proxy that cuts connections: before a request reaches the server, or after, so that its answer is lost.
//!
//! Cuts come by a seeded chance for each piece that passes, and a lost answer's request has been carried out when the
//! client learns that it is lost.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::error::Error;

#[derive(Clone, Debug)]
pub struct Cuts {
    pub seed: u64,
    /// The chance of each piece of a request to be cut off.
    pub requests: f64,
    /// The chance of each piece of an answer to be cut off.
    pub answers: f64,
}

/// Ends with everything it carries when dropped.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    cuts: Arc<Mutex<u64>>,
    running: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(upstream: SocketAddr, plan: Cuts) -> Result<Proxy, Error> {
        let failed = |error| Error::server("the proxy", error);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let cuts = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&cuts);
        let running = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let mut seed = plan.seed;
            while let Ok((client, _)) = listener.accept().await {
                seed = seed.wrapping_add(1);
                let (plan, counter) = (Cuts { seed, ..plan.clone() }, Arc::clone(&counter));
                connections.spawn(async move {
                    if carry(client, upstream, &plan).await == End::Cut {
                        *counter.lock() += 1;
                    }
                });
            }
        });
        Ok(Proxy { address, cuts, running })
    }

    /// Connections cut so far.
    pub fn cuts(&self) -> u64 {
        *self.cuts.lock()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Cut,
}

async fn carry(mut client: TcpStream, upstream: SocketAddr, plan: &Cuts) -> End {
    let Ok(mut server) = TcpStream::connect(upstream).await else { return End::Closed };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    // Whichever direction ends first takes the whole connection with it.
    tokio::select! {
        end = pass(&mut from_client, &mut to_server, StdRng::seed_from_u64(plan.seed), plan.requests) => end,
        end = pass(&mut from_server, &mut to_client, StdRng::seed_from_u64(!plan.seed), plan.answers) => end,
    }
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut rng: StdRng,
    chance: f64,
) -> End {
    let mut piece = vec![0; 64 * 1024];
    loop {
        match from.read(&mut piece).await {
            Ok(0) | Err(_) => return End::Closed,
            Ok(_) if rng.random_bool(chance) => return End::Cut,
            Ok(length) => {
                if to.write_all(&piece[..length]).await.is_err() {
                    return End::Closed;
                }
            }
        }
    }
}
