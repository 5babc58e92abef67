//! The Python side: a boto3 writer and readers with `deltalake` and Polars, in an environment made once for the
//! versions that `requirements.txt` pins.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::error::Error;

/// A Python with what the scripts need.
#[derive(Clone, Debug)]
pub struct Python {
    scripts: PathBuf,
    python: PathBuf,
}

impl Python {
    /// Finds the environment for these requirements under `$HOME/.cache/headwater`, or makes it: python3 with venv and
    /// a reachable package index are needed then.
    pub async fn prepare() -> Result<Python, Error> {
        // Tests of one process that run at once share the one making.
        static PREPARED: OnceCell<Python> = OnceCell::const_new();
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
        PREPARED.get_or_try_init(|| find_or_make(&scripts)).await.cloned()
    }

    /// The same for another folder of scripts with its `requirements.txt`.
    pub async fn of(scripts: &Path) -> Result<Python, Error> {
        find_or_make(scripts).await
    }

    /// One of the scripts, for whoever runs it by himself.
    pub fn command(&self, script: &str) -> std::process::Command {
        let mut command = std::process::Command::new(&self.python);
        command.arg(self.scripts.join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Runs one of the scripts; what it prints is JSON.
    pub async fn run(&self, script: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Json, Error> {
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(script)).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
        let text = output(script, command).await?;
        serde_json::from_str(&text).map_err(|error| Error::answer(format!("what {script} prints"), error))
    }
}

async fn find_or_make(scripts: &Path) -> Result<Python, Error> {
    let requirements = scripts.join("requirements.txt");
    let text = std::fs::read(&requirements).map_err(|error| Error::file(&requirements, error))?;
    let digest: String = Sha256::digest(&text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let home = std::env::var_os("HOME").ok_or_else(|| Error::process("the Python environment", "no $HOME"))?;
    let cache = Path::new(&home).join(".cache/headwater");
    let folder = cache.join(format!("python-{digest}"));
    if !folder.is_dir() {
        make(&cache, &folder, &requirements).await?;
    }
    Ok(Python { scripts: scripts.to_owned(), python: folder.join("bin/python") })
}

/// Made beside its place and then moved there, so that a half-made one is never used.
async fn make(cache: &Path, folder: &Path, requirements: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(cache).map_err(|error| Error::file(cache, error))?;
    let half = cache.join(format!("python-making-{}", std::process::id()));
    let mut command = Command::new("python3");
    command.args(["-m", "venv", "--clear"]).arg(&half);
    output("python3 -m venv (needs Python 3 with venv)", command).await?;
    let mut command = Command::new(half.join("bin/python"));
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements);
    output("pip install (needs a package index)", command).await?;
    match std::fs::rename(&half, folder) {
        Ok(()) => Ok(()),
        // Another process was faster.
        Err(_) if folder.is_dir() => std::fs::remove_dir_all(&half).map_err(|error| Error::file(&half, error)),
        Err(error) => Err(Error::file(folder, error)),
    }
}

async fn output(what: &str, mut command: Command) -> Result<String, Error> {
    let output = command.kill_on_drop(true).output().await.map_err(|error| Error::process(what, error))?;
    if !output.status.success() {
        let reason = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        return Err(Error::process(what, reason));
    }
    String::from_utf8(output.stdout).map_err(|error| Error::answer(format!("what {what} prints"), error))
}
