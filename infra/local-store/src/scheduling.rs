//! Who goes first where the server and the pipeline share a machine's processors.
//!
//! Every producer and reader waits for the server's one thread. Under Linux's default policy a thread of the pipeline
//! that wakes up, which each does thousands of times a second, may interrupt it; one under `SCHED_BATCH` waits for its
//! turn. Other systems are left as they are.

use std::io;

/// From now on this thread, and those that it starts, do not interrupt others when they wake up.
pub fn give_way() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    set(libc::SCHED_BATCH)?;
    Ok(())
}

/// Takes back what this thread has inherited.
pub(crate) fn take_turns() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    set(libc::SCHED_OTHER)?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn set(policy: std::ffi::c_int) -> io::Result<()> {
    // SAFETY: all of the parameter is numbers, of which 0 is one.
    let parameter: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the parameter lives for the whole call; 0 stands for the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
