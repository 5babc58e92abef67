//! What benchmark programs share: a way to do something, run as a process of its own, and what it used.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::error::Error;

/// Killed when dropped.
pub struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(command: &mut Command) -> Result<Running, Error> {
        let started = command.stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| Error::process(format!("{command:?}"), error))?;
        let output = child.stdout.take().ok_or_else(|| Error::process("a child", "it has no output"))?;
        Ok(Running { child, output: BufReader::new(output) })
    }

    /// What follows `word`, once a line begins with it.
    pub fn line(&mut self, word: &str) -> Result<String, Error> {
        let fault = |reason: String| Error::process(format!("waiting for {word:?}"), reason);
        let mut line = String::new();
        while self.output.read_line(&mut line).map_err(|error| fault(error.to_string()))? > 0 {
            if let Some(rest) = line.trim_end().strip_prefix(word) {
                return Ok(rest.trim_start().to_owned());
            }
            line.clear();
        }
        Err(fault("the child ended before it said that".into()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended can't be killed, which is as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A child's line to its parent.
pub fn say(text: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout();
    writeln!(output, "{text}")?;
    output.flush()
}

/// Seconds of processor time, user and system, that all threads of a process have used, in steps of 10 ms; 0 of a process
/// that is not there.
pub fn processor_seconds(pid: u32) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// Seconds of processor time that this thread has used.
pub fn thread_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

/// The most memory that a process has had resident so far, in bytes; 0 of a process that is not there.
pub fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// The process ids of the brokers that `infra/servers/up` started; none where the environment names no servers.
pub fn brokers() -> Vec<u32> {
    let Some(folder) = std::env::var_os("SERVERS_FOLDER") else { return Vec::new() };
    let pid = |folder: &Path| std::fs::read_to_string(folder.join("pid")).ok()?.lines().next()?.parse().ok();
    let servers = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let kafka = servers.filter(|server| server.file_name().to_string_lossy().starts_with("kafka-"));
    kafka.filter_map(|server| pid(&server.path())).collect()
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Processes that wanted a processor in the last minute, and how many processors there are.
pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("load {} on {processors} processors", load.split(' ').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert!(median([]).is_nan());
    }

    #[test]
    fn work_shows_as_processor_time_and_memory_as_its_peak() {
        let pid = std::process::id();
        let (process, thread) = (processor_seconds(pid), thread_seconds());
        let mut sum = 0_u64;
        while thread_seconds() < thread + 0.1 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(processor_seconds(pid) > process);
        const LARGE: usize = 64 << 20;
        let before = peak_memory(pid);
        drop(std::hint::black_box(vec![1_u8; LARGE]));
        assert!(before > 0 && peak_memory(pid) >= LARGE as u64, "{before}, then {}", peak_memory(pid));
    }

    #[test]
    fn a_childs_line_is_found_and_its_end_is_told() {
        let mut child = Running::start(Command::new("/bin/sh").args(["-c", "echo other; echo done 1.5"])).unwrap();
        assert_eq!(child.line("done").unwrap(), "1.5");
        assert!(child.line("more").unwrap_err().to_string().contains("ended before"));
    }
}
