//! Error kinds say what went wrong, directives what to do; one match maps the one to the other.

use std::io;

/// What went wrong, as far as it decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Passes by itself: a time-out, a throttle, a server that restarts.
    Transient,
    /// The client's own state is stale: an expired iterator, a table that moved on.
    Stale,
    /// This record or item can never succeed.
    Poison,
    /// No room on a disk: passes when there is room again.
    NoSpace,
    /// Another worker owns the work now.
    Fenced,
    /// A person must act: authorisation, a missing object, a damaged file.
    Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Directive {
    /// The same again, after a back-off.
    Retry,
    /// Again after the client's state was built anew.
    Rebuild,
    /// Set the record aside, with its place and reason, and go on.
    DeadLetter,
    /// Stop writing, turn readiness off, and try again until it works.
    Hold,
    /// End this piece of work and nothing else.
    Abandon,
    /// Stop, turn readiness off, and wait for a person.
    Halt,
}

impl Kind {
    pub fn directive(self) -> Directive {
        match self {
            Kind::Transient => Directive::Retry,
            Kind::Stale => Directive::Rebuild,
            Kind::Poison => Directive::DeadLetter,
            Kind::NoSpace => Directive::Hold,
            Kind::Fenced => Directive::Abandon,
            Kind::Operator => Directive::Halt,
        }
    }
}

/// "No space left on device", on Linux and macOS alike.
const ENOSPC: i32 = 28;

/// Whether an I/O error means that the disk is full.
pub fn is_disk_full(error: &io::Error) -> bool {
    let full =
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge);
    full || says_disk_full(&error.to_string())
}

/// Whether a library that keeps only the text of an I/O error, or wraps it in another, says that the disk is full.
pub fn says_disk_full(text: &str) -> bool {
    text.contains(&io::Error::from_raw_os_error(ENOSPC).to_string())
}

/// The pause before attempt `attempt` (from 0): exponential from `base` to `cap`, with `jitter` in 0..=1 taking up
/// to half of it away, so that workers do not come back together.
pub fn backoff(attempt: u32, base: std::time::Duration, cap: std::time::Duration, jitter: f64) -> std::time::Duration {
    let full = base.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(cap);
    full.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(5);

    #[test]
    fn a_pause_doubles_up_to_its_cap() {
        let pauses: Vec<u128> = (0..8).map(|attempt| backoff(attempt, BASE, CAP, 0.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff(u32::MAX, BASE, CAP, 0.0), CAP);
        assert!(backoff(u32::MAX, Duration::MAX, Duration::MAX, 0.5) > CAP);
    }

    #[test]
    fn jitter_takes_at_most_half_away() {
        for attempt in [0, 3, 40] {
            let full = backoff(attempt, BASE, CAP, 0.0);
            assert_eq!(backoff(attempt, BASE, CAP, 1.0), full / 2);
            assert_eq!(backoff(attempt, BASE, CAP, -3.0), full);
            assert_eq!(backoff(attempt, BASE, CAP, 7.0), full / 2);
            let half = backoff(attempt, BASE, CAP, 0.5);
            assert!(half > full / 2 && half < full);
        }
    }

    #[test]
    fn only_trouble_that_passes_is_tried_again_as_it_is() {
        assert_eq!(Kind::Transient.directive(), Directive::Retry);
        assert_eq!(Kind::NoSpace.directive(), Directive::Hold);
        assert_eq!(Kind::Poison.directive(), Directive::DeadLetter);
        assert_eq!(Kind::Operator.directive(), Directive::Halt);
    }

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        assert!(is_disk_full(&std::io::Error::from(std::io::ErrorKind::StorageFull)));
        assert!(!is_disk_full(&std::io::Error::from(std::io::ErrorKind::PermissionDenied)));
        let wrapped = std::io::Error::other(format!("flush: {}", std::io::Error::from_raw_os_error(ENOSPC)));
        assert!(is_disk_full(&wrapped));
        assert!(!is_disk_full(&std::io::Error::other("flush: a thread ended")));
    }
}
