//! A relay in front of the server that fails as its script says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to the next request.
#[derive(Clone)]
pub enum Step {
    /// The server serves it, and the connection breaks before the answer.
    LoseAnswer,
    /// It is answered with this error and never reaches the server.
    Fail { status: u16, code: &'static str },
}

/// Once its script is at an end, requests pass unharmed.
pub struct Relay {
    pub endpoint: String,
    requests: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    pub async fn start(server: &str, script: Vec<Step>) -> Relay {
        let server: SocketAddr = server.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let counted = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, server, script.clone(), counted.clone()));
            }
        });
        Relay { endpoint, requests, task }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    script: Arc<Mutex<VecDeque<Step>>>,
    requests: Arc<AtomicUsize>,
) {
    while let Some(request) = message(&mut client).await {
        requests.fetch_add(1, Ordering::SeqCst);
        let step = script.lock().unwrap().pop_front();
        if let Some(Step::Fail { status, code }) = step {
            let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"scripted"}}"#);
            let head = format!(
                "HTTP/1.1 {status} Scripted\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            continue;
        }
        let mut upstream = TcpStream::connect(server).await.unwrap();
        upstream.write_all(&request).await.unwrap();
        let answer = message(&mut upstream).await.unwrap();
        if matches!(step, Some(Step::LoseAnswer)) {
            return;
        }
        client.write_all(&answer).await.unwrap();
    }
}

/// One HTTP message of known length, or `None` at the connection's end.
async fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let whole = head + 4 + length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if bytes.len() >= whole {
                return Some(bytes);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
