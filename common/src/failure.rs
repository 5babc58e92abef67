//! Error kinds say what went wrong, directives what to do; one match maps the one to the other.

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

/// Whether an I/O error means that the disk is full.
pub fn is_disk_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::FileTooLarge
    )
}

/// The pause before attempt `attempt` (from 0): exponential from `base` to `cap`, with `jitter` in 0..=1 taking up
/// to half of it away, so that workers do not come back together.
pub fn backoff(attempt: u32, base: std::time::Duration, cap: std::time::Duration, jitter: f64) -> std::time::Duration {
    let full = base.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(cap);
    full.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0))
}
