//! How many bulk requests go out at once: one more for each round that goes well, a part less when the server refuses
//! or slows down (additive increase, multiplicative decrease).
//!
//! Pure: what is observed goes in, the limit comes out. A round is as many answers as the limit, so that one burst of
//! refusals lowers the limit once and not by each.

use std::time::Duration;

/// A request counts for as many bytes at least: small ones cost their round trip.
const LEAST_BYTES: usize = 256 << 10;
/// Slower than usual by so much is too slow.
const TOO_SLOW: f64 = 4.0;
/// How fast what is usual rises to what is seen, so that a server that became slow for good is usual some day.
const RISE: f64 = 1.01;

#[derive(Clone, Debug)]
pub struct Concurrency {
    limit: f64,
    min: f64,
    max: f64,
    /// Seconds for a byte, the best of late.
    usual: Option<f64>,
    /// Answers since the limit was lowered.
    since: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The request was taken, after so long.
    Taken { latency: Duration, bytes: usize },
    /// The server had no room for it, or for some of it.
    Refused,
    /// No answer, or that of a broken server.
    Failed,
}

impl Concurrency {
    pub fn new(min: usize, max: usize) -> Concurrency {
        let (min, max) = (min.max(1) as f64, max.max(1) as f64);
        Concurrency { limit: 2.0_f64.clamp(min, max.max(min)), min, max: max.max(min), usual: None, since: 0 }
    }

    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    pub fn observe(&mut self, seen: Seen) {
        self.since = self.since.saturating_add(1);
        match seen {
            Seen::Taken { latency, bytes } => {
                let cost = latency.as_secs_f64() / bytes.max(LEAST_BYTES) as f64;
                let usual = self.usual.map_or(cost, |usual| (usual * RISE).min(cost));
                self.usual = Some(usual);
                if cost > usual * TOO_SLOW {
                    self.lower(0.8);
                } else {
                    self.limit = (self.limit + 1.0 / self.limit).min(self.max);
                }
            }
            Seen::Refused | Seen::Failed => self.lower(0.5),
        }
    }

    fn lower(&mut self, by: f64) {
        if f64::from(self.since) >= self.limit {
            self.limit = (self.limit * by).max(self.min);
            self.since = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(millis: u64) -> Seen {
        Seen::Taken { latency: Duration::from_millis(millis), bytes: 1 << 20 }
    }

    fn at_most() -> Concurrency {
        let mut limit = Concurrency::new(1, 16);
        (0..1000).for_each(|_| limit.observe(taken(100)));
        limit
    }

    #[test]
    fn it_rises_by_one_a_round_up_to_its_bound() {
        let mut limit = Concurrency::new(1, 16);
        assert_eq!(limit.limit(), 2);
        (0..3).for_each(|_| limit.observe(taken(100)));
        assert_eq!(limit.limit(), 3);
        assert_eq!(at_most().limit(), 16);
    }

    #[test]
    fn a_burst_of_refusals_halves_it_once() {
        let mut limit = at_most();
        (0..8).for_each(|_| limit.observe(Seen::Refused));
        assert_eq!(limit.limit(), 8);
        (0..200).for_each(|_| limit.observe(Seen::Refused));
        assert_eq!(limit.limit(), 1, "and no lower than its bound");
    }

    #[test]
    fn a_server_that_slows_down_gets_less_and_then_more_again() {
        let mut limit = at_most();
        (0..16).for_each(|_| limit.observe(taken(500)));
        assert!(limit.limit() < 16);
        (0..400).for_each(|_| limit.observe(taken(100)));
        assert_eq!(limit.limit(), 16);
    }

    #[test]
    fn small_requests_do_not_make_large_ones_look_slow() {
        let mut limit = at_most();
        (0..64).for_each(|_| limit.observe(Seen::Taken { latency: Duration::from_millis(30), bytes: 100 }));
        (0..64).for_each(|_| limit.observe(taken(100)));
        assert_eq!(limit.limit(), 16);
    }

    #[test]
    fn what_is_slow_for_good_becomes_usual() {
        let mut limit = at_most();
        (0..2000).for_each(|_| limit.observe(taken(1000)));
        assert_eq!(limit.limit(), 16);
    }

    #[test]
    fn bounds_hold() {
        let mut limit = Concurrency::new(3, 3);
        limit.observe(Seen::Failed);
        (0..9).for_each(|_| limit.observe(taken(1)));
        assert_eq!(limit.limit(), 3);
    }
}
