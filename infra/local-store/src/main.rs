//! The local store alone: `headwater-local-store FOLDER [ADDRESS]`. Prints its endpoint, and serves until it is told to
//! end by SIGTERM or SIGINT.

use std::path::PathBuf;
use std::process::ExitCode;

use headwater_local_store::{LocalStore, Settings};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("headwater-local-store: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: headwater-local-store FOLDER [ADDRESS]")?;
    let mut settings = Settings { folder: PathBuf::from(folder), ..Settings::default() };
    if let Some(address) = arguments.next() {
        settings.address = address.parse().map_err(|error| format!("address {address}: {error}"))?;
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let store = LocalStore::start(settings)?;
    println!("{}", store.endpoint());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    store.shutdown().await?;
    Ok(())
}
