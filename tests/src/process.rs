//! The real binary as a child process: started, asked, stopped, killed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::error::Error;
use crate::http;
use crate::wait;

/// How the process is started, the same way after every kill.
#[derive(Clone, Debug)]
pub struct Launch {
    pub binary: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Where `/livez`, `/readyz` and `/status` answer.
    pub status: SocketAddr,
    /// Standard output and error are appended here.
    pub log: PathBuf,
    /// How long a start may take.
    pub patience: Duration,
}

/// Killed when dropped.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    child: Child,
}

impl Process {
    /// Starts it and does not wait.
    pub fn start(launch: &Launch) -> Result<Process, Error> {
        let log = || {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&launch.log);
            file.map(Stdio::from).map_err(|error| Error::file(&launch.log, error))
        };
        let mut command = Command::new(&launch.binary);
        // What sets a test's own size is no setting of the binary.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEADWATER_")) {
            command.env_remove(name);
        }
        let child = command
            .args(&launch.arguments)
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Error::file(&launch.binary, error))?;
        Ok(Process { launch: launch.clone(), child })
    }

    /// Waits until `path` answers 200. A process that ends meanwhile is an error with the end of its log.
    pub async fn wait_for(&mut self, path: &str) -> Result<(), Error> {
        let (address, patience) = (self.launch.status, self.launch.patience);
        let what = format!("{path} answering 200");
        let child = &mut self.child;
        let ended = wait::until(&what, patience, || {
            let ended = child.try_wait();
            async move {
                if let Some(status) = ended.map_err(|error| error.to_string())? {
                    return Ok(Some(status));
                }
                match http::get(address, path).await {
                    Ok(response) if response.status == 200 => Ok(None),
                    Ok(response) => Err(format!("{}: {}", response.status, response.body)),
                    Err(error) => Err(error.to_string()),
                }
            }
        });
        match ended.await {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failure(format!("ended by itself: {status}"))),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.launch.status
    }

    /// `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    pub async fn status(&self) -> Result<serde_json::Value, Error> {
        status(self.launch.status).await
    }

    /// SIGKILL, and the process is gone when this returns.
    pub async fn kill(mut self) -> Result<(), Error> {
        let killed = self.child.kill().await;
        killed.map_err(|error| Error::process(self.launch.binary.display().to_string(), error))
    }

    /// SIGTERM; one that has not ended within `deadline` is an error, and is killed.
    pub async fn stop(self, deadline: Duration) -> Result<ExitStatus, Error> {
        self.signal("TERM").await?;
        self.ended(deadline).await
    }

    /// Waits for the end of one that was sent SIGTERM; later than `deadline` is an error, and it is killed.
    pub async fn ended(mut self, deadline: Duration) -> Result<ExitStatus, Error> {
        let fault = |reason: String| Error::process("stopping the process".to_owned(), reason);
        match tokio::time::timeout(deadline, self.child.wait()).await {
            Ok(ended) => ended.map_err(|error| fault(error.to_string())),
            Err(_) => Err(self.failure(format!("still running {deadline:?} after SIGTERM"))),
        }
    }

    /// Sends a signal by its name: `STOP`, `CONT`, `TERM`.
    pub async fn signal(&self, name: &str) -> Result<(), Error> {
        let fault = |reason: String| Error::process(format!("sending SIG{name}"), reason);
        let id = self.child.id().ok_or_else(|| fault("the process has ended already".into()))?;
        let sent = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().await;
        match sent.map_err(|error| fault(error.to_string()))?.success() {
            true => Ok(()),
            false => Err(fault("kill refused".into())),
        }
    }

    fn failure(&self, reason: impl ToString) -> Error {
        let what = self.launch.binary.display().to_string();
        Error::process(what, format!("{}; its log ends:\n{}", reason.to_string(), self.log_tail()))
    }

    fn log_tail(&self) -> String {
        const LINES: usize = 30;
        let text = std::fs::read(&self.launch.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// `/status` of a running process.
pub async fn status(address: SocketAddr) -> Result<serde_json::Value, Error> {
    let response = http::get(address, "/status").await?;
    serde_json::from_str(&response.body).map_err(|error| Error::answer("/status", error))
}

/// A port that was free a moment ago; whoever starts a process on it soon gets it nearly always.
pub fn free_port() -> Result<u16, Error> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| Error::server("a free port", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(folder: &tempfile::TempDir, script: &str) -> Launch {
        Launch {
            binary: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("GREETING".into(), "hello".into())],
            status: SocketAddr::from(([127, 0, 0, 1], free_port().unwrap())),
            log: folder.path().join("log"),
            patience: Duration::from_secs(20),
        }
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_reported_with_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(&launch(&folder, "echo $GREETING; echo no disk >&2; exit 3")).unwrap();
        let error = process.wait_for("/livez").await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("hello") && error.contains("no disk"), "{error}");
    }

    #[tokio::test]
    async fn sigterm_lets_a_process_finish_and_sigkill_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let launch = launch(&folder, "trap 'echo drained; exit 7' TERM; echo up; while :; do sleep 0.05; done");
        let started = |log: PathBuf, times| async move {
            let up = async || {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                if text.matches("up").count() == times { Ok(()) } else { Err(text) }
            };
            wait::until("the start", Duration::from_secs(20), up).await.unwrap();
        };
        let process = Process::start(&launch).unwrap();
        started(launch.log.clone(), 1).await;
        assert_eq!(process.stop(Duration::from_secs(20)).await.unwrap().code(), Some(7));
        let process = Process::start(&launch).unwrap();
        started(launch.log.clone(), 2).await;
        process.kill().await.unwrap();
        assert_eq!(std::fs::read_to_string(&launch.log).unwrap().matches("drained").count(), 1);
    }
}
