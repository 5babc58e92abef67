//! The server on its own thread.
//!
//! dynoxide runs each request to its end on the thread that read it, on its one connection to SQLite, so it must not
//! run on the threads of the pipelines: a checkpoint or a large read would stop their timers. A second thread would
//! mostly wait for that connection, and costs a switch for each request.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use dynoxide::Database;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::error::Error;

const BACKLOG: u32 = 1024;

/// What the server's threads live on, all of it opened before the first request.
pub(crate) struct Parts {
    pub runtime: Runtime,
    pub listener: TcpListener,
    pub database: Database,
    pub lock: File,
}

pub(crate) fn runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread()
        .thread_name("local-store")
        .enable_all()
        .build()
        .map_err(|error| Error::Server(format!("cannot start a runtime: {error}")))
}

/// Listens, or says who is in the way.
pub(crate) fn listen(runtime: &Runtime, address: SocketAddr) -> Result<TcpListener, Error> {
    let _inside = runtime.enter();
    bind(address).map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::AddressInUse(address),
        _ => Error::Listen { address, source },
    })
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop`, then closes the store and gives up the lock.
pub(crate) fn serve(
    parts: Parts,
    stop: &CancellationToken,
    drain: Duration,
    housekeeping: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let Parts { runtime, listener, database, lock } = parts;
    let served = runtime.block_on(async {
        let housekeeping = tokio::spawn(housekeeping);
        let stopped = stop.clone().cancelled_owned();
        let mut server = tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, stopped));
        let served = tokio::select! {
            served = &mut server => served,
            () = after(stop, drain) => Ok(Ok(())),
        };
        stop.cancel();
        if let Err(error) = housekeeping.await {
            tracing::error!(%error, "housekeeping of the local store ended by itself");
        }
        served.unwrap_or_else(|error| Err(error.to_string()))
    });
    // Ends the connections that did not finish in time; the last of them closes SQLite's file.
    drop(runtime);
    drop(lock);
    served.map_err(Error::Server)
}

async fn after(stop: &CancellationToken, drain: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(drain).await;
}
