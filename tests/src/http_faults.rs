//! An HTTP proxy that makes one request go wrong: before it reaches the server, or after the server has carried it out.
//!
//! Each request goes to the server over a connection of its own, so that a fault is exactly one request's. For servers
//! whose clients send a body's length ahead, as those of object stores do.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::error::Error;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The answer is 503 SlowDown; the server hears nothing of it.
    Refused,
    /// The server carries it out, and the answer is 503 SlowDown.
    DoneAndRefused,
    /// The connection is reset before the server hears of it.
    Reset,
    /// The server carries it out, and the connection ends half-way through the answer.
    DoneAndCut,
    /// The server carries it out, and there is no answer until the client gives up.
    DoneAndSilent,
}

impl Fate {
    pub const ALL: [Fate; 5] =
        [Fate::Refused, Fate::DoneAndRefused, Fate::Reset, Fate::DoneAndCut, Fate::DoneAndSilent];
}

#[derive(Default)]
struct Plan {
    fault: Option<(usize, Fate)>,
    struck: usize,
    seen: Vec<Seen>,
}

/// A request as the proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// With its query.
    pub path: String,
    /// The server's status; none where the server did not hear of it.
    pub status: Option<u16>,
}

/// Ends with everything it carries when dropped.
pub struct HttpFaults {
    pub address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    running: JoinHandle<()>,
}

impl HttpFaults {
    pub async fn start(upstream: SocketAddr) -> Result<HttpFaults, Error> {
        let failed = |error| Error::server("the proxy", error);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let plan: Arc<Mutex<Plan>> = Arc::default();
        let shared = Arc::clone(&plan);
        let running = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let plan = Arc::clone(&shared);
                connections.spawn(async move { carry(client, upstream, &plan).await });
            }
        });
        Ok(HttpFaults { address, plan, running })
    }

    /// Counts requests from 0 again; the `nth` has this fate.
    pub fn strike(&self, fault: Option<(usize, Fate)>) {
        *self.plan.lock() = Plan { fault, ..Plan::default() };
    }

    /// Requests that went wrong since.
    pub fn struck(&self) -> usize {
        self.plan.lock().struck
    }

    /// Requests since, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.plan.lock().seen.clone()
    }
}

impl Drop for HttpFaults {
    fn drop(&mut self) {
        self.running.abort();
    }
}

const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code></Error>";

async fn carry(mut client: TcpStream, upstream: SocketAddr, plan: &Mutex<Plan>) -> std::io::Result<()> {
    let mut read = Vec::new();
    let Some((head, length)) = request_head(&mut client, &mut read).await? else { return Ok(()) };
    let (number, fate) = arrives(plan, &head);
    if fate == Some(Fate::Reset) {
        return client.set_zero_linger();
    }
    // What came with the head is the body's beginning.
    while read.len() < length {
        if client.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
    let rest = read.split_off(length);
    let body = std::mem::replace(&mut read, rest);
    if fate == Some(Fate::Refused) {
        return refuse(&mut client).await;
    }
    let answer = ask(upstream, &head, &body).await?;
    let status = answer.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    if let Some(seen) = plan.lock().seen.get_mut(number) {
        seen.status = status;
    }
    match fate {
        None => client.write_all(&answer).await?,
        Some(Fate::DoneAndRefused) => return refuse(&mut client).await,
        Some(Fate::DoneAndCut) => return client.write_all(&answer[..answer.len() / 2]).await,
        Some(Fate::DoneAndSilent) => {
            // Until the client closes.
            client.read_buf(&mut read).await?;
            return Ok(());
        }
        Some(Fate::Refused | Fate::Reset) => {}
    }
    // The server has said that its connection ends, so this one does.
    client.shutdown().await
}

fn arrives(plan: &Mutex<Plan>, head: &str) -> (usize, Option<Fate>) {
    let mut words = head.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut plan = plan.lock();
    let number = plan.seen.len();
    plan.seen.push(Seen { method, path, status: None });
    let fate = plan.fault.filter(|(nth, _)| *nth == number).map(|(_, fate)| fate);
    plan.struck += usize::from(fate.is_some());
    (number, fate)
}

/// The next request's head without the empty line, and its body's length; `None` at the connection's end. What was read
/// beyond stays in `read`.
pub async fn request_head(
    client: &mut (impl AsyncRead + Unpin),
    read: &mut Vec<u8>,
) -> std::io::Result<Option<(String, usize)>> {
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            let head = String::from_utf8_lossy(&std::mem::replace(read, rest)[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            return Ok(Some((head, length.unwrap_or(0))));
        }
        if client.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

/// The server's whole answer.
pub async fn ask(upstream: SocketAddr, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    server.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

async fn refuse(client: &mut TcpStream) -> std::io::Result<()> {
    let length = SLOW_DOWN.len();
    let answer = format!(
        "HTTP/1.1 503 Slow Down\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{SLOW_DOWN}"
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}
