//! The store in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub const BINARY: &str = env!("CARGO_BIN_EXE_headwater-local-store");

pub struct Process {
    child: Child,
    pub endpoint: String,
}

impl Process {
    pub fn serving(folder: &Path) -> Process {
        let mut command = Command::new(BINARY);
        command.arg(folder).arg("127.0.0.1:0");
        Process::run(command).expect("the process did not serve")
    }

    /// `None` if it ended without serving.
    pub fn run(mut command: Command) -> Option<Process> {
        let mut child = command.stdout(Stdio::piped()).spawn().ok()?;
        let mut endpoint = String::new();
        BufReader::new(child.stdout.take()?).read_line(&mut endpoint).ok()?;
        let process = Process { child, endpoint: endpoint.trim().to_owned() };
        process.endpoint.starts_with("http://").then_some(process)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
