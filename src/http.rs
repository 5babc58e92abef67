//! `/livez`, `/readyz`, `/metrics` and `/status` of a running stack.
//!
//! Liveness says that the process answers and nothing else: it never depends on an outside system.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use headwater_common::health::Health;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

#[derive(Clone)]
struct Board {
    health: Health,
    metrics: Option<Arc<PrometheusHandle>>,
}

/// Binds `address`; port 0 takes any free one.
pub async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::environment(format!("can't listen on {address}: {error}"))
            .at(format!("setting {setting}"))
            .remedy("stop who uses the port, or set another one (0 takes any that is free)")
    })
}

/// Serves until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Option<PrometheusHandle>,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let board = Board { health, metrics: metrics.map(Arc::new) };
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/status", get(status))
        .with_state(board);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(|error| Failure::failed(format!("the status server ended: {error}")))
}

async fn ready(State(board): State<Board>) -> Response {
    let code = if board.health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": board.health.is_ready(), "parts": board.health.parts() }))).into_response()
}

async fn metrics_text(State(board): State<Board>) -> Response {
    let text = board.metrics.as_ref().map(|handle| handle.render()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn status(State(board): State<Board>) -> Json<serde_json::Value> {
    Json(status_of(&board.health))
}

/// What `/status` answers: readiness, and what each part published.
pub fn status_of(health: &Health) -> serde_json::Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "ready": health.is_ready(),
        "parts": health.parts(),
        "status": health.status(),
    })
}
