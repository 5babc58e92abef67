//! One request, for the status endpoints of the process under test and the control ports of servers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: String,
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Where a server answers, of a URL without a path.
pub fn address(url: &str) -> Result<SocketAddr, std::net::AddrParseError> {
    url.trim_start_matches("http://").parse()
}

pub async fn get(address: SocketAddr, path: &str) -> Result<Response, Error> {
    request("GET", address, path, "").await
}

/// Without a body.
pub async fn post(address: SocketAddr, path: &str) -> Result<Response, Error> {
    request("POST", address, path, "").await
}

pub async fn post_json(address: SocketAddr, path: &str, body: &serde_json::Value) -> Result<Response, Error> {
    request("POST", address, path, &body.to_string()).await
}

pub async fn put_json(address: SocketAddr, path: &str, body: &serde_json::Value) -> Result<Response, Error> {
    request("PUT", address, path, &body.to_string()).await
}

pub async fn delete(address: SocketAddr, path: &str) -> Result<Response, Error> {
    request("DELETE", address, path, "").await
}

async fn request(method: &str, address: SocketAddr, path: &str, body: &str) -> Result<Response, Error> {
    let what = || format!("{method} http://{address}{path}");
    let answer = tokio::time::timeout(PATIENCE, exchange(method, address, path, body)).await;
    let bytes =
        answer.map_err(|_| Error::server(what(), "no answer"))?.map_err(|error| Error::server(what(), error))?;
    parse(&bytes).ok_or_else(|| Error::server(what(), "not an HTTP answer"))
}

/// HTTP 1.0, so that the server neither chunks the body nor keeps the connection.
async fn exchange(method: &str, address: SocketAddr, path: &str, body: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n{kind}Content-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_real_server_answers_and_a_closed_port_is_an_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new()
            .route("/status", axum::routing::get(|| async { axum::Json(serde_json::json!({"a": 1})) }))
            .route("/echo", axum::routing::post(|body: axum::Json<serde_json::Value>| async { body }));
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        assert_eq!(get(address, "/status").await.unwrap(), Response { status: 200, body: r#"{"a":1}"#.into() });
        let body = serde_json::json!({"b": "ü"});
        assert_eq!(post_json(address, "/echo", &body).await.unwrap().body, body.to_string());
        assert_eq!(get(address, "/nothing").await.unwrap().status, 404);
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
        assert!(get(address, "/status").await.is_err());
    }
}
