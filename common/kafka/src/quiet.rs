//! The client's own log lines, each kind at most once in a while: it repeats a refused connection many times a second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const EVERY: Duration = Duration::from_secs(30);

/// Lets a line of each kind through, then counts the ones that it holds back.
#[derive(Default)]
pub(crate) struct Quiet(Mutex<HashMap<String, (Instant, u64)>>);

impl Quiet {
    /// How many lines of this kind were held back since the last one that passed; `None` for a line that does not pass.
    pub(crate) fn passes(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock();
        match kinds.get_mut(kind) {
            Some((passed, held)) if now.duration_since(*passed) < EVERY => {
                *held += 1;
                None
            }
            Some((passed, held)) => {
                *passed = now;
                Some(std::mem::take(held))
            }
            None => {
                kinds.insert(kind.to_owned(), (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_line_passes_once_in_a_while_and_says_how_often_it_was_held_back() {
        let (quiet, start) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.passes("FAIL", start), Some(0));
        assert_eq!(quiet.passes("FAIL", start + Duration::from_secs(1)), None);
        assert_eq!(quiet.passes("GETPID", start), Some(0), "another kind is not held back");
        assert_eq!(quiet.passes("FAIL", start + Duration::from_secs(31)), Some(1));
    }
}
