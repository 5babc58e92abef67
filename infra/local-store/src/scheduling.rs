//! Who goes first where the server and the pipeline share a machine's processors.
//!
//! Every producer and reader waits for the server's one thread. Under Linux's default policy a thread of the pipeline
//! that wakes up, which each does thousands of times a second, may interrupt it; one under `SCHED_BATCH` waits for its
//! turn. Other systems are left as they are.

use std::io;

/// From now on this thread, and those that it starts, do not interrupt others when they wake up.
pub fn give_way() -> io::Result<()> {
    set(Policy::Batch)
}

/// Takes back what this thread has inherited.
pub(crate) fn take_turns() -> io::Result<()> {
    set(Policy::Other)
}

enum Policy {
    Batch,
    Other,
}

#[cfg(target_os = "linux")]
fn set(policy: Policy) -> io::Result<()> {
    let policy = match policy {
        Policy::Batch => libc::SCHED_BATCH,
        Policy::Other => libc::SCHED_OTHER,
    };
    // SAFETY: all of the parameter is numbers, of which 0 is one.
    let parameter: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the parameter lives for the whole call; 0 stands for the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn set(policy: Policy) -> io::Result<()> {
    match policy {
        Policy::Batch | Policy::Other => Ok(()),
    }
}
