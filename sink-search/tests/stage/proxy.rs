//! HTTP in front of the real server: a rule says what becomes of each request, of single items of a bulk request too.
//!
//! Each request goes to the server over a connection of its own, so that what a rule says is exactly one request's. With
//! [`Proxy::tls`] it speaks TLS to its client, as a server with a certificate does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use headwater_tests::http_faults::{ask, request_head};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// From 0, since the rule was made.
    pub number: usize,
    pub method: String,
    /// With its query.
    pub path: String,
    pub head: String,
    pub body: String,
}

#[derive(Clone, Debug)]
pub enum Fate {
    Pass,
    /// This is the answer; the server hears nothing of it.
    Answer(u16, String),
    /// The connection is reset; the server hears nothing of it.
    Reset,
    /// The server carries it out, and this is the answer.
    DoneAndAnswer(u16, String),
    /// The server carries it out, and the connection ends half-way through the answer.
    DoneAndCut,
    /// The server carries it out, and the connection is reset without an answer.
    DoneAndReset,
    /// Items of a bulk request that the server hears nothing of, by their place, with their answers.
    Items(BTreeMap<usize, Value>),
}

type Rule = Box<dyn FnMut(&Asked) -> Fate + Send>;

struct State {
    rule: Rule,
    asked: Vec<Asked>,
}

/// Ends with everything it carries when dropped.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    running: JoinHandle<()>,
}

impl Asked {
    pub fn is_bulk(&self) -> bool {
        self.path.contains("/_bulk")
    }

    /// A bulk request of documents, and not of progress.
    pub fn has_documents(&self) -> bool {
        self.is_bulk() && !self.body.contains("@progress-")
    }

    /// Versions of the documents in a bulk request, in their order.
    pub fn versions(&self) -> Vec<u64> {
        let actions = self.body.lines().step_by(2);
        actions.map(|line| serde_json::from_str::<Value>(line).unwrap()["index"]["version"].as_u64().unwrap()).collect()
    }
}

impl Proxy {
    pub async fn start(upstream: &str) -> Proxy {
        Proxy::serve(upstream, None).await
    }

    pub async fn tls(upstream: &str, acceptor: TlsAcceptor) -> Proxy {
        Proxy::serve(upstream, Some(acceptor)).await
    }

    async fn serve(upstream: &str, acceptor: Option<TlsAcceptor>) -> Proxy {
        let upstream: SocketAddr = upstream.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { rule: Box::new(|_| Fate::Pass), asked: Vec::new() }));
        let shared = state.clone();
        let running = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (state, acceptor) = (shared.clone(), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => carry(client, upstream, &state).await,
                        Some(acceptor) => carry(acceptor.accept(client).await?, upstream, &state).await,
                    }
                });
            }
        });
        Proxy { address, state, running }
    }

    /// From now on, and counted from 0 again.
    pub fn rule(&self, rule: impl FnMut(&Asked) -> Fate + Send + 'static) {
        *self.state.lock() = State { rule: Box::new(rule), asked: Vec::new() };
    }

    /// The `nth` request has this fate, the others pass.
    pub fn strike(&self, nth: usize, fate: Fate) {
        self.rule(move |asked| if asked.number == nth { fate.clone() } else { Fate::Pass });
    }

    /// Requests since the rule was made.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().asked.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A stream that can end without a goodbye.
trait Client: AsyncRead + AsyncWrite + Unpin {
    fn reset(&self) -> std::io::Result<()>;
}

impl Client for TcpStream {
    fn reset(&self) -> std::io::Result<()> {
        self.set_zero_linger()
    }
}

impl Client for TlsStream<TcpStream> {
    fn reset(&self) -> std::io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }
}

async fn carry(mut client: impl Client, upstream: SocketAddr, state: &Mutex<State>) -> std::io::Result<()> {
    let mut read = Vec::new();
    let Some((head, length)) = request_head(&mut client, &mut read).await? else { return Ok(()) };
    while read.len() < length {
        if client.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
    read.truncate(length);
    let fate = arrives(state, &head, &read);
    let answer = match &fate {
        Fate::Answer(status, body) => answer(*status, body),
        Fate::Reset => return client.reset(),
        Fate::Items(withheld) => without(upstream, &head, &read, withheld).await?,
        _ => closing(ask(upstream, &head, &read).await?),
    };
    match fate {
        Fate::DoneAndAnswer(status, body) => client.write_all(&self::answer(status, &body)).await?,
        Fate::DoneAndCut => return client.write_all(&answer[..answer.len() - answer.len() / 4]).await,
        Fate::DoneAndReset => return client.reset(),
        _ => client.write_all(&answer).await?,
    }
    // The answer has said that the connection ends.
    client.shutdown().await
}

fn arrives(state: &Mutex<State>, head: &str, body: &[u8]) -> Fate {
    let mut words = head.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let body = String::from_utf8_lossy(body).into_owned();
    let mut state = state.lock();
    let asked = Asked { number: state.asked.len(), method, path, head: head.to_owned(), body };
    let fate = (state.rule)(&asked);
    state.asked.push(asked);
    fate
}

/// The server ends its connection without saying so in its answer.
fn closing(mut answer: Vec<u8>) -> Vec<u8> {
    if let Some(end) = answer.windows(2).position(|pair| pair == b"\r\n") {
        answer.splice(end..end, b"\r\nconnection: close".iter().copied());
    }
    answer
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} As Told\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The answer to a bulk request whose withheld items the server never saw.
async fn without(
    upstream: SocketAddr,
    head: &str,
    body: &[u8],
    withheld: &BTreeMap<usize, Value>,
) -> std::io::Result<Vec<u8>> {
    let lines: Vec<&str> = std::str::from_utf8(body).unwrap().lines().collect();
    let kept: String = lines
        .chunks(2)
        .enumerate()
        .filter(|(at, _)| !withheld.contains_key(at))
        .flat_map(|(_, lines)| lines.iter().flat_map(|line| [line, "\n"]))
        .collect();
    let mut items = Vec::new();
    if !kept.is_empty() {
        let length = |line: &str| line.to_ascii_lowercase().starts_with("content-length:");
        let others: Vec<&str> = head.lines().filter(|line| !length(line)).collect();
        let head = format!("{}\r\ncontent-length: {}", others.join("\r\n"), kept.len());
        let answered = ask(upstream, &head, kept.as_bytes()).await?;
        let text = String::from_utf8(answered).unwrap();
        let (status, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(status.starts_with("HTTP/1.1 200"), "{text}");
        let mut answered: Value = serde_json::from_str(body).unwrap();
        items = std::mem::take(answered["items"].as_array_mut().unwrap());
    }
    for (at, item) in withheld {
        items.insert(*at, json!({ "index": item }));
    }
    Ok(answer(200, &json!({ "errors": true, "items": items }).to_string()))
}
